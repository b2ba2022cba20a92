"""What the pages in docs/ and the README show is what the code does."""

import re

import pytest
import yaml
from attacked import attacks
from repository import ROOT

from configs import config_of
from mini_r1 import tasks
from mini_r1.config.keys import check_values
from mini_r1.config.schema import keys_of_kind
from mini_r1.data.mixture import load_part_rewards, read_parts
from mini_r1.data.prompts import TEMPLATES
from mini_r1.data.reward_loader import load_rewards
from mini_r1.rewards.code import LIMITS, PROGRAM_CAP
from mini_r1.rewards.format import SUMMARY_CAP, SUMMARY_WORDS
from mini_r1.tasks.code import NUMBERS, WORDS

PAGE = (ROOT / "docs" / "tasks-and-rewards.md").read_text(encoding="utf-8")
FIRST, REINFORCE_LITE, LOGIC_RL, SHAPING, MIXED, JUDGED, _JUDGE, CODE, READABLE = (
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
)


def scores(recipe: dict, task: str, texts: list[str], **gold) -> list[list[float]]:
    columns = {name: [value] * len(texts) for name, value in gold.items()}
    made = load_rewards(
        recipe["reward_funcs"], recipe.get("reward_values"), recipe.get("require_format"), tasks.get(task)
    )
    return [reward(completions=texts, **columns) for reward in made]


def test_every_key_is_one():
    for block in (FIRST, REINFORCE_LITE, LOGIC_RL, SHAPING, MIXED, JUDGED, CODE, READABLE):
        check_values(block, {}, keys_of_kind("r1_grpo"))


def test_reinforce_lite():
    texts = ["<think>hm</think><answer>72</answer>", "<think>hm</think><answer>7</answer>", "72"]
    assert scores(REINFORCE_LITE, "gsm8k", texts, answer="72") == [[1, -1, -1]]


def test_logic_rl():
    """arXiv:2502.14768: format 1 or -1; answer 2 where right, -1.5 where wrong, -2 where it cannot be read."""
    right, wrong = "(1) Zoey is a knight\n(2) Noah is a knave", "(1) Zoey is a knave\n(2) Noah is a knave"
    texts = [
        f"<think>hm</think><answer>{right}</answer>",
        f"<think>hm</think><answer>{wrong}</answer>",
        "<think>hm</think><answer>no idea</answer>",
        f"<think>hm</think><answer>{right}</answer> Good luck!",  # right, but not in the format
        "",
    ]
    given = scores(LOGIC_RL, "knights_knaves", texts, names=["Zoey", "Noah"], roles=["knight", "knave"])
    assert given == [[1, 1, 1, -1, -1], [2, -1.5, -2, -2, -2]]


def test_several_tasks():
    parts = read_parts(config_of(MIXED).args)
    assert [(part.name, part.weight, part.args.prompt_template) for part in parts] == [
        ("countdown", 2, "mini_r1"),
        ("gsm8k", 1, "r1_zero"),
    ]
    rewards = {reward.__name__: reward for reward in load_part_rewards(parts)}
    assert list(rewards) == ["format_reward", "equation_reward", "number_reward"]
    columns = {"nums": [[1, 2], None], "target": [3, None], "answer": [None, "72"]}
    columns["rewards"] = [part.rewards for part in parts]
    texts = ["<think>hm</think><answer>1 + 2</answer>", "<think>hm</think><answer>72</answer>"]
    assert rewards["equation_reward"](completions=texts, **columns) == [2, None]
    assert rewards["number_reward"](completions=texts, **columns) == [None, 1]


def test_reward_models():
    helpful, harmless = load_rewards(JUDGED["reward_funcs"], task_module=tasks.get("gsm8k"))
    assert (helpful.__name__, helpful.judge) == ("helpfulness", "models/helpful")
    assert (harmless.__name__, harmless.judge) == ("harmlessness", "models/harmless")


def test_arguments_and_shaping(tmp_path, monkeypatch):
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "my_module.py").write_text("def my_reward(completions, **kwargs):\n    return [0.5]\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = load_rewards(SHAPING["reward_funcs"], task_module=tasks.get("countdown"))
    assert [reward.__name__ for reward in made] == [
        "equation_reward", "soft_overlong", "repetition_penalty", "language_consistency_reward", "my_reward",
    ]  # fmt: skip
    text = "<think>这是 two words</think><answer>1 + 2</answer>"
    row = {"completions": [text], "completion_ids": [[1, 2] * 500], "nums": [[1, 2]], "target": [3]}
    right, overlong, repeated, language, own = (reward(**row)[0] for reward in made)
    assert (right, own, language) == (1.0, 0.5, 0.5)
    assert -1 < overlong < 0 and -0.5 <= repeated < -0.49


@pytest.mark.parametrize("name", tasks.names())
def test_tasks_are_on_the_page(name):
    task = tasks.get(name)
    assert f"| `{name}` | {task.HUB_ID}" in PAGE and f"`{task.REWARD}`" in PAGE


def test_templates_and_corpus_are_on_the_page():
    assert all(f"`{name}`" in PAGE for name in TEMPLATES)
    cases = sum(len(file.read_text().splitlines()) for file in (ROOT / "rewards" / "corpus").glob("*.jsonl"))
    assert f"{cases} completions" in PAGE


def test_the_readable_form():
    made = load_rewards(
        READABLE["reward_funcs"], task_module=tasks.get("countdown"), template=TEMPLATES[READABLE["prompt_template"]]
    )
    example = PAGE[PAGE.index("<think>4 + 9") :].partition("\n```")[0]
    row = {"completions": [example], "nums": [[4, 9, 8, 2]], "target": [19]}
    assert [reward(**row) for reward in made] == [[1.0], [1.0], [1.0]]
    assert f"it has {SUMMARY_WORDS} words or more" in PAGE and f"{SUMMARY_CAP:,}\ncharacters" in PAGE


def test_running_programs():
    """Limits, sizes and counts on the page are those in force."""
    assert load_rewards(CODE["reward_funcs"], task_module=tasks.get(CODE["task"]))
    limits = LIMITS
    for text in (
        f"{limits.cpu_seconds} s of CPU, {limits.wall_seconds:g} s in all",
        f"{limits.threads} threads and {limits.files} open files",
        f"{PROGRAM_CAP:,} characters",
        f"{len(attacks())} attacks",
        f"{len(NUMBERS.steps + WORDS.steps)} steps and {len(NUMBERS.ends + WORDS.ends)} ends",
    ):
        assert text in " ".join(PAGE.split()), text
    assert (limits.memory_bytes, limits.output_bytes) == (2**30, 2**20)


def test_the_launch_page():
    page = (ROOT / "docs" / "launch.md").read_text(encoding="utf-8")
    for block in re.findall(r"```yaml\n(.*?)```", page, re.S):
        check_values(yaml.safe_load(block), {}, keys_of_kind("r1_grpo"))
    table = page[page.index("| `accelerate_config`") : page.index("## The batch stays")]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)} - {"accelerate_config"}
    assert names == {file.stem for file in (ROOT / "configs").glob("*.yaml")}
    assert all((ROOT / file).is_file() for file in re.findall(r"`(configs/[\w.-]+)`", page))


def test_commands_in_the_readme_and_docs_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    plain = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    patterns = tuple(re.findall(r"^([a-z-]+-)%:", makefile, re.M))
    recipes = {file.stem for file in (ROOT / "recipes").rglob("*.yaml")}
    for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"(?:^|`|then )make ([\w-]+)(?![\w<.-])", file.read_text(encoding="utf-8"), re.M):
            prefix = next((prefix for prefix in patterns if target.startswith(prefix)), None)
            known = target in plain or (prefix and target.removeprefix(prefix) in recipes)
            assert known or target in patterns, f"{file.name}: make {target}"
