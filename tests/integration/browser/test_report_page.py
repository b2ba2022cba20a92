"""The report in a real browser: Chromium, from file://, at the width of a desktop and of a phone.

The tests open the report of run directories that they write, and of the real ones in runs/: countdown-tiny and its two
controls, all seeds (make train-countdown-tiny SEED=1 and so on). Without these, their tests are skipped.
"""

import os
import shutil
from pathlib import Path

import pytest
from repository import ROOT
from run_writer import write_run

from mini_r1.report.page import write_page
from mini_r1.report.runs import group_runs, seed_folders

pytestmark = pytest.mark.browser
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip
HOSTILE = "</think><answer></script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'></answer>"
LONG = "</think><answer>1</answer>" + "unbroken" * 300 + "the-very-end"
WIDTHS = [1280, 390]
WORDS = {"written": "alternatively", "trained": "fails"}  # in some samples, but not in all
SHOWN = "const shown = [...document.querySelectorAll('.plot svg')].filter((one) => one.checkVisibility());"
EMPTY = """() => { SHOWN
  const seen = (one) => one.getBoundingClientRect().width + one.getBoundingClientRect().height > 1;
  const drawn = (svg) => [...svg.querySelectorAll("[style*='#']")].filter(seen); // in a colour that is not the page's
  return shown.filter((svg) => drawn(svg).length === 0).map((svg) => svg.textContent);
}""".replace("SHOWN", SHOWN)
CROWDED = """() => { SHOWN
  const faults = [];
  for (const svg of shown) {
    const edge = svg.getBoundingClientRect(), scale = edge.width / svg.viewBox.baseVal.width;
    const texts = [...svg.querySelectorAll("text")];
    for (const one of texts) {
      const box = one.getBoundingClientRect(), size = parseFloat(getComputedStyle(one).fontSize) * scale;
      if (box.left < edge.left - 1 || box.right > edge.right + 1) faults.push(`cut off at a side: ${one.textContent}`);
      if (box.top < edge.top - 1 || box.bottom > edge.bottom + 1) faults.push(`cut off: ${one.textContent}`);
      if (size < 7) faults.push(`${size} pixels: ${one.textContent}`);
      for (const other of texts) {
        const place = other.getBoundingClientRect();
        const across = Math.min(box.right, place.right) - Math.max(box.left, place.left);
        const down = Math.min(box.bottom, place.bottom) - Math.max(box.top, place.top);
        const slanted = one.hasAttribute("transform") && other.hasAttribute("transform"); // only their boxes meet
        if (one !== other && !slanted && across > 1 && down > 4)
          faults.push(`${one.textContent} on ${other.textContent}`);
      }
    }
  }
  return faults;
}""".replace("SHOWN", SHOWN)
PATIENCE = 60_000  # milliseconds; a busy machine draws slowly


@pytest.fixture(scope="module", params=WORDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def report(kind, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs") / "runs"
    if kind == "trained":
        seeds, controls = _trained()
    else:
        seeds = [
            write_run(
                runs / f"two-s{s}", steps=30, per_step=4, seed=s, jump=15, texts=[HOSTILE, LONG],
                tasks=["countdown", "knights_knaves", "gsm8k", "my_lab.tasks.chemistry"],
            )
            for s in (1, 2)
        ]  # fmt: skip
        controls = [write_run(runs / "random-s1", steps=30, per_step=8, learns=False)]
    return write_page(group_runs(seeds, controls), "two", runs / "report")


def _trained() -> tuple[list[Path], list[Path]]:
    """The runs of countdown-tiny in the repository, and those of its controls."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        names = ("countdown-tiny", "countdown-tiny-random-reward", "countdown-tiny-sft-control")
        main, *controls = ([folder.absolute() for folder in seed_folders(name)] for name in names)
    if not main or not all(controls):
        pytest.skip("the tiny run and its controls are not in runs/: make train-countdown-tiny SEED=1, and so on")
    return main, [folder for folders in controls for folder in folders]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert path, "no Chromium: apt install chromium, or set CHROMIUM"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS)
def page(request, browser, report):
    """The open report. After the test, the page must have made no request, and the console must have no complaint."""
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    page.set_default_timeout(PATIENCE)
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else 0)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(report.as_uri(), timeout=PATIENCE)
    yield page
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file://", "data:"))] == []
    assert len([url for url in requests if url.startswith("file://")]) == 1  # the page, and nothing beside it
    assert page.evaluate("window.hacked") is None
    page.close()


def found(page) -> int:
    return int(page.locator("#count").get_attribute("data-found"))


def test_every_chart_is_drawn(page):
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.locator(".plot").count() > 15
    assert page.locator(".plot svg:visible").count() == page.locator(".plot").count()  # one for this width, not both
    assert page.evaluate(EMPTY) == []


def test_labels_of_charts_stand_clear(page):
    """No text of a chart is cut off at its edge, lies on another text, or is too small to read."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    assert page.evaluate(CROWDED) == []


def test_charts_have_the_colours_of_the_scheme(page):
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        chart, text = page.evaluate(
            "[getComputedStyle(document.querySelector('.plot text')).fill, getComputedStyle(document.body).color]"
        )
        assert chart == text
        colours.append(text)
    assert colours[0] != colours[1]


def test_a_chart_tells_its_values(page):
    for chart, says in (("overview-0", "training step 1\n"), ("held-out-0", "pass@1, before\n0.")):
        place = page.locator(f"[data-chart='{chart}'] svg:visible .targets rect").first
        place.scroll_into_view_if_needed()
        place.hover()
        assert page.locator("#values:visible").inner_text().startswith(says)
        box = page.locator("#values").bounding_box()
        assert box["x"] >= 0 and box["y"] >= 0 and box["x"] + box["width"] <= page.viewport_size["width"]
    page.locator("h1").hover()
    assert page.locator("#values").is_hidden()


def test_no_sideways_scrolling_anywhere(page):
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    page.locator("#list .body").last.wait_for(state="attached")
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    wide = "[...document.querySelectorAll('body *')].filter((one) => one.getBoundingClientRect().right > innerWidth + 1"
    assert page.evaluate(wide + " && !one.closest('svg')).map((one) => one.outerHTML.slice(0, 80))") == []


def test_filters_and_sorting(page, kind):
    everything = found(page)
    samples = page.evaluate("JSON.parse(document.getElementById('data').textContent).samples")
    assert everything == len(samples) > 100
    form = page.locator("#filters")

    def expect(wanted) -> None:
        assert found(page) == sum(map(wanted, samples))
        assert 0 < found(page) < everything
        page.get_by_role("button", name="Show all").click()
        page.locator(f"#count[data-found='{everything}']").wait_for()

    form.locator("[name=outcome]").select_option("right")
    assert set(page.locator("#list .badge").all_inner_texts()) == {"right"}
    expect(lambda sample: sample["outcome"] == "right")
    form.locator("[name=difficulty]").select_option("4")
    expect(lambda sample: sample["difficulty"] == 4)
    form.locator("[name=where]").select_option("held-out, after")
    expect(lambda sample: sample["where"] == "held-out, after")
    form.locator("[name=step_low]").fill("10")
    form.locator("[name=step_high]").fill("20")
    expect(lambda sample: sample["step"] is not None and 10 <= sample["step"] <= 20)
    form.locator("[name=reward_high]").fill("0.5")
    expect(lambda sample: sample["total"] is not None and sample["total"] <= 0.5)
    form.locator("[name=word]").fill(WORDS[kind])
    expect(lambda sample: WORDS[kind] in "".join(text for _, text in sample["parts"]).lower())
    for order, pick in (("longest", max), ("shortest", min)):
        form.locator("[name=sort]").select_option(order)
        first = page.locator("#list .sample .meta").nth(1).inner_text()
        assert first == f"{pick(sample['tokens'] for sample in samples)} tokens"


def test_opening_a_sample_shows_all_of_it(page, kind):
    if kind == "trained":
        pytest.skip("looks for a text that was written for it")
    page.locator("[name=word]").fill("the-very-end")
    sample = page.locator("#list .sample").first
    assert sample.locator("pre").count() == 0
    sample.locator("> summary").click()
    sample.locator(".part.answer").wait_for()
    texts = sample.locator("article .part").all_text_contents()
    assert "".join(texts) == "<think>" + LONG
    assert sample.locator(".part.answer").text_content() == "<answer>1</answer>"
    assert sample.locator(".verdict").inner_text().startswith("wrong: ")
    page.locator("[name=word]").fill("window.hacked")
    page.locator("#list .sample > summary").first.click()
    assert "<script>window.hacked = 1</script>" in page.locator("#list article").first.inner_text()


def test_more_samples_are_listed_on_demand(page):
    shown = page.locator("#list .sample").count()
    page.get_by_role("button", name="Show more").click()
    assert page.locator("#list .sample").count() == min(2 * shown, found(page))


def test_size(report):
    assert report.stat().st_size < 10e6
