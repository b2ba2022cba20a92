"""What a check says of recipes that are right: everything it should, and that it changes nothing."""

import importlib.metadata
import json

import pytest
from broken import CPU, GPU, LARGE, LORA, MINE, Place
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from repository import ROOT
from shipped import RUNS

from mini_r1.config.recipe import resolve, write_resolved
from mini_r1.config.run_config import check
from mini_r1.launch.check import preflight
from mini_r1.launch.check_machine import SUPPORTED
from mini_r1.launch.plan import Machines
from mini_r1.run import checkpoints


@pytest.fixture
def place(tmp_path, monkeypatch, capsys, run_script, tiny_model_dir) -> Place:
    return Place(tmp_path, monkeypatch, capsys, run_script, tiny_model_dir)


def texts(found, level: str) -> list[str]:
    return [finding.text for finding in found.findings if finding.level == level]


def found_in(place: Place, text: str, **how):
    """A preflight as a launch makes it."""
    return preflight(["--config", place.write(text)], **how)


@pytest.mark.parametrize("name", [name for name in RUNS if "/" not in name])
def test_shipped_recipes_pass_with_eight_gpus_assumed(name, monkeypatch, capsys, run_script, tmp_path):
    """But for those of all weights on one GPU, which name what to change for several."""
    monkeypatch.chdir(ROOT)
    path, stage = RUNS[name]
    chosen = ["--stage", stage["stage"]] if stage else []
    gpus = 1 if name.startswith("gsm8k-reinforce-lite") else 8
    one_task = "tiny" in name and "tasks" not in resolve(path, stage).values
    fewer = ["--task_args", '{"n": 300}'] if one_task else []
    elsewhere = ["--output_dir", tmp_path / "run"]  # where the recipe says, there may be a run of it
    with pytest.raises(SystemExit) as stopped:
        run_script("check.py", "--config", path.relative_to(ROOT), *chosen, "--gpus", gpus, *fewer, *elsewhere)
    said = capsys.readouterr()
    assert (stopped.value.code, said.err) == (0, "")
    assert f"--- {path.relative_to(ROOT)}, resolved\n" in said.out
    if name.endswith("-base"):
        return
    assert "ok: packages: torch 2." in said.out
    if "tiny" not in name:  # what is on the hub cannot be reached from here, and is no reason to fail
        assert f"note: {gpus} GPUs of " in said.out
        assert "ok: memory: " in said.out or name.endswith("-rm")
        assert "warning: " in said.out and " is not reachable from here" in said.out


def test_a_reward_model_is_looked_at_like_any_other(place):
    """All but its pairs, and its memory."""
    status, errors, said = place.check("extends: r1-helpful-rm.yaml\noutput_dir: out", "--gpus", 8, "--run", "reward")
    assert (status, errors) == (0, [])
    for words in (
        "ok: model: 1,543,714,304 parameters",
        "ok: packages: torch 2.",
        "ok: disk: 3 checkpoints of 20.1 GiB",
    ):
        assert any(line.startswith(words) for line in said), words
    assert "note: the memory that a reward model takes in training is not estimated" in said
    status, errors, _ = place.check(
        "extends: r1-helpful-rm.yaml\nmodel_name_or_path: ./none", "--run", "reward", "--gpus", 8
    )
    assert status == 2 and errors == [f"error: {MINE}model_name_or_path: there is no folder ./none"]


def test_what_is_right(place):
    status, errors, said = place.check(CPU)
    assert (status, errors) == (0, [])
    assert "ok: prompts: 300, the longest has 34 tokens; 0 over max_prompt_tokens are dropped" in said
    assert (
        "ok: batch: optimizer step: processes 1 x per-device 128 x accumulation 1 = 128 completions = 16 prompts x 8"
        in said
    )
    assert any(line.startswith("ok: batch: run: 80 optimizer steps = ") for line in said)
    assert "ok: model: 152,256 parameters, 512 positions" in said
    assert any(line.startswith("ok: disk: 3 checkpoints of 1.7 MiB and the model of 0.6 MiB, ") for line in said)
    assert "ok: run directory: out, new" in said
    prompt = said.index("--- one prompt")
    assert "Combine the numbers [" in said[prompt + 4] and "Let me solve this step by step." in said[prompt:]
    assert (
        said.index("equation_reward: gold 1.0, empty 0.0") > said.index("format_reward: gold 1.0, empty 0.0") > prompt
    )
    assert said.index("--- recipes/mine.yaml, resolved") > prompt


# what is no error: (recipe, flags, the beginning of a line, words in it)
LESS = {
    "LoRA on bf16": (
        LORA + "accelerate_config: null\nmax_steps: 100\nsteps_per_generation: 16\nsave_steps: 24",
        "--gpus 8",
        "warning: recipes/countdown.yaml: dtype: LoRA on a half-precision base: each of the 50 weight syncs",
        "TRL issue 6688",
    ),
    "LoRA on fp32": (
        LORA + "accelerate_config: null\ndtype: float32",
        "--gpus 8",
        f"note: {MINE}dtype: the base takes 4 bytes",
        "drifts",
    ),
    "all weights in bf16": (
        GPU + "accelerate_config: null",
        "--gpus 8",
        "warning: recipes/countdown.yaml: dtype: all weights are trained in half precision",
        "steps of learning_rate 5e-07 mostly round away; use float32",
    ),
    "half precision on a CPU": (
        CPU + "bf16: true",
        "",
        f"warning: {MINE}bf16: half precision is slower",
        "bf16: false",
    ),
    "vLLM awake": (
        GPU + "vllm_mode: colocate",
        "--gpus 7",
        "note: recipes/mine.yaml: vllm_enable_sleep_mode: vLLM keeps its 30% of each GPU",
        "with true it lets go of it",
    ),
    "server for all": (
        GPU + "vllm_server_host: 0.0.0.0",
        "--gpus 8",
        f"warning: {MINE}vllm_server_host: whoever reaches 0.0.0.0",
        "use 127.0.0.1",
    ),
    "fewer GPUs": (GPU, "--gpus 4", "note: written for 7 training processes, running on 2", "the batch stays 448"),
    "a CPU instead": (
        GPU + "num_processes: null\nmax_steps: 2",
        "--gpus 0",
        "ok: batch: optimizer step: processes 1 x per-device 8 x accumulation 8 = 64 completions",
        "",
    ),
    "GPUs of unknown size": (LARGE + "gpu_gib: null", "--gpus 8", f"note: {MINE}gpu_gib: ", "GiB a GPU are needed"),
    "many long prompts": (
        CPU + "max_prompt_tokens: 32",
        "",
        f"warning: {MINE}max_prompt_tokens: ",
        "prompts are longer than 32 tokens and are dropped; 34 keeps them all",
    ),
    "disk of another machine": (
        LARGE,
        "--gpus 8",
        "warning: recipes/mine.yaml: output_dir: 3 checkpoints of",
        "larger disk",
    ),
    "a run moved aside": (
        CPU + "output_dir: data\noverwrite_output_dir: true",
        "",
        f"note: {MINE}overwrite_output_dir: data will be moved aside",
        "not deleted",
    ),
    "hub out of reach": (
        GPU + "dataset_id_or_path: owner/rows",
        "--gpus 8",
        f"warning: {MINE}dataset_id_or_path: owner/rows is not reachable from here",
        "not in the local cache",
    ),
    "size unknown": (
        GPU + "model_name_or_path: owner/qwen2.5",
        "--gpus 8",
        f"note: {MINE}model_name_or_path: the size of owner/qwen2.5 is not known here",
        "memory and disk are not checked",
    ),
    "model of an earlier stage": (
        "extends: countdown-tiny.yaml",
        "",
        "warning: recipes/tiny/countdown-tiny.yaml: stage rl: model_name_or_path: runs/countdown-tiny-sft-s42 is not",
        "recipes/tiny/countdown-tiny.yaml makes it (make train-countdown-tiny)",
    ),
    "size of what an earlier stage will make": (
        "extends: countdown.yaml\nmodel_name_or_path: runs/knights-knaves-s42\nuse_vllm: false",
        "--gpus 8",
        "ok: model: 7,615,616,512 parameters, from our table of sizes",
        "",
    ),
    "reward model of an earlier stage": (
        CPU + "reward_funcs: [{name: kind, reward_model: runs/r1-helpful-rm-s42}]",
        "",
        f"warning: {MINE}reward_funcs: kind: runs/r1-helpful-rm-s42 is not there yet",
        "recipes/pipelines/r1.yaml makes it",
    ),
}


def test_traces_are_tried(place):
    sft = CPU.replace("countdown-tiny.yaml", "countdown-tiny-sft.yaml")
    status, errors, said = place.check(sft)
    assert (status, errors) == (0, []) and any(line.startswith("ok: data: traces, such as ") for line in said)
    status, errors, _ = place.check(sft + "trace_phases: [{share: 1, limt: 9}]")
    assert status == 2
    assert errors == [
        f"error: {MINE}trace_phases: 'limt' is no setting of trace; it knows operators, limit, give_up, pushed, "
        "break_format, mixed, summary"
    ]


def test_a_reward_that_does_not_pay_the_gold_is_refused(place, monkeypatch):
    monkeypatch.setattr("mini_r1.tasks.countdown.gold_answer", lambda row: "1 + 1")
    (error,) = place.errors(CPU)
    assert "reward_funcs: equation_reward gives 0.0 for the right answer" in error and "nothing is learned" in error


def test_zero3_is_refused_for_a_reward_model(place):
    text = GPU + "reward_funcs: [{name: kind, reward_model: runs/r1-helpful-rm-s42}]\naccelerate_config: zero3"
    status, errors, _ = place.check(text, "--gpus", 8)
    assert status == 2 and any("accelerate_config: kind: ZeRO-3 would split the model" in line for line in errors)


@pytest.mark.parametrize(("text", "flags", "start", "words"), LESS.values(), ids=LESS)
def test_what_is_no_error(place, text, flags, start, words):
    status, errors, said = place.check(text, *flags.split())
    assert (status, errors) == (0, [])
    assert [line for line in said if line.startswith(start) and words in line], "\n".join(said)


def test_memory_that_just_fits_or_does_not(place):
    notes = texts(found_in(place, LARGE + "gpu_gib: null", gpus=8, assume_gpus=True), "note")
    (needed,) = [float(text.split()[2]) for text in notes if "GiB a GPU are needed" in text]
    cases = (
        (0.97, "error", "memory: it takes"),
        (1.03, "warning", "memory is tight: it takes"),
        (1.2, "ok", "memory: "),
    )
    for share, level, start in cases:
        found = found_in(place, LARGE + f"gpu_gib: {needed * share:.2f}", gpus=8, assume_gpus=True)
        (line,) = [text for text in texts(found, level) if start in text]
        assert level == "ok" or "use per_device_" in line


def test_errors_come_first_then_warnings(place):
    found = found_in(place, GPU + "reward_funcs: [no]\nvllm_server_host: 0.0.0.0", gpus=8, assume_gpus=True)
    levels = [finding.level for finding in found.findings]
    assert levels == sorted(levels, key=["error", "warning", "note", "ok"].index)
    assert {"error", "warning", "note", "ok"} == set(levels)


def test_a_launch_needs_what_a_check_only_warns_of(place):
    text = GPU + "dataset_id_or_path: owner/rows\nmodel_name_or_path: owner/qwen2.5"
    found = found_in(place, text, gpus=8)
    assert [text.partition("; ")[0] for text in texts(found, "error")] == [
        "command line: --gpus: 8 asked for, none visible here",
        MINE + "dataset_id_or_path: owner/rows is not reachable from here, and not in the local cache",
        MINE
        + "model_name_or_path: owner/qwen2.5 is not reachable from here, and its tokenizer is not in the local cache",
    ]
    (error,) = texts(found_in(place, "extends: countdown-tiny.yaml"), "error")
    assert "there is no folder runs/countdown-tiny-sft-s42; first run: make train-countdown-tiny" in error


def test_what_a_launch_gets(place):
    found = found_in(place, GPU, gpus=5, assume_gpus=True)
    assert not found.failed
    assert (found.plan.processes, found.plan.accumulation, found.batch.completions_per_step) == (4, 14, 448)
    assert found.config.gradient_accumulation_steps == 14
    assert 30 < found.longest_prompt <= 40
    unknown = found_in(place, GPU + "model_name_or_path: owner/qwen2.5", gpus=8, assume_gpus=True)
    assert unknown.longest_prompt == 256  # max_prompt_tokens: longer ones are dropped


def test_by_hand_on_so_many_processes(place):
    found = found_in(place, GPU, processes=2)
    assert not found.failed
    assert (found.plan.processes, found.batch.completions_per_step) == (2, 128)
    assert "recipes/countdown.yaml: num_processes: the batch was written for 7, and there are 2" in texts(found, "note")


def test_the_server_of_a_run_on_other_machines(place):
    found = found_in(place, GPU + "vllm_server_port: 8000", gpus=1, assume_gpus=True, machines=Machines("server"))
    assert not found.failed
    assert found.plan.server_gpus == ("0",) and found.plan.trainer_gpus == ()
    assert 30 < found.longest_prompt <= 40


def test_run_directory(place):
    """A check says what a launch would make of it, and changes nothing there."""
    recipe = check("r1_grpo", resolve(place.write(CPU))).recipe
    folder = place.folder / "out"
    write_resolved(recipe, folder)
    (folder / "manifest.json").write_text(json.dumps({"hardware": {"processes": 1}}))
    (folder / "before.json").write_text("{}")
    for step in (20, 40, 60):
        (folder / f"checkpoint-{step}").mkdir()
        checkpoints.mark(folder / f"checkpoint-{step}", seconds=1.0)
    (folder / "checkpoint-60" / "whole.json").unlink()  # cut off while it was saved
    before = sorted(file.relative_to(folder) for file in folder.rglob("*"))
    assert f"{MINE}output_dir: out holds a run: it goes on from step 40" in texts(found_in(place, CPU), "note")
    (folder / "summary.json").write_text("{}")
    assert f"{MINE}output_dir: out is finished: nothing would be done" in texts(found_in(place, CPU), "note")
    (folder / "summary.json").unlink()
    assert sorted(file.relative_to(folder) for file in folder.rglob("*")) == before


def test_supported_versions_are_those_that_trl_and_transformers_declare():
    declared = [Requirement(text) for name in ("trl", "transformers") for text in importlib.metadata.requires(name)]
    ranges = {}
    for wanted in declared:
        ranges.setdefault(wanted.name, []).append(wanted.specifier)
    for name in SUPPORTED.keys() - {"trl", "transformers"}:
        assert SpecifierSet(SUPPORTED[name]) in ranges[name], name
    for name in ("trl", "transformers"):
        assert importlib.metadata.version(name) in SpecifierSet(SUPPORTED[name])


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("top_p: 0.9\n", "top_p"),
        ("top_k: 50\n", "top_k"),
        ("min_p: 0.05\n", "min_p"),
        ("top_p: 0.9\nvllm_importance_sampling_correction: false\n", None),
        ("top_p: 1.0\ntop_k: -1\nmin_p: 0.0\n", None),
        ("top_p: 0.9\nuse_vllm: false\n", None),
    ],
)
def test_filtered_sampling_biases_the_importance_ratios(place, lines, key):
    on = "" if "correction" in lines else "vllm_importance_sampling_correction: true\n"  # the recipe has it off
    found = found_in(place, GPU + "vllm_mode: colocate\n" + on + lines, gpus=2, assume_gpus=True)
    said = [finding.text for finding in found.findings if "importance ratios are biased" in finding.text]
    assert len(said) == (key is not None) and (key is None or f"{key}: sampling is filtered ({key})" in said[0])
