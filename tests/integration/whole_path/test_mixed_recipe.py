"""A recipe with `tasks` through the scripts: checked, built, trained, measured; and what is wrong with one."""

import json

import pytest
import yaml
from broken import CPU, MINE, Place
from mixed import SETTINGS
from repository import run_in_process

ENTRIES = [
    {"task": "countdown", "weight": 3, "task_args": SETTINGS["countdown"], "trace_args": {"limit": 99}},
    {"task": "gsm8k", "task_args": SETTINGS["gsm8k"]},
]
BASE = {
    "seed": 1, "output_dir": "base", "test_fraction": 0.2, "tasks": ENTRIES,
    "model_sizes": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
                    "num_key_value_heads": 2, "max_position_embeddings": 256},
}  # fmt: skip


def trained(**changes) -> list[dict]:
    """The entries of a run, the second one's changed."""
    first = {key: value for key, value in ENTRIES[0].items() if key != "trace_args"}
    second = {**ENTRIES[1], "reward_funcs": ["format_reward", "number_reward"], **changes}
    return [first, {key: value for key, value in second.items() if value is not None}]


def mine(entries: list[dict] | None = None, more: str = "") -> str:
    """The tiny Countdown recipe, made a mixture."""
    text = CPU + "task: null\ntask_args: null\ntest_fraction: 0.2\nmax_prompt_tokens: 128\n"
    return (
        text
        + "max_steps: 2\nsave_steps: 2\nnum_generations_eval: 2\n"
        + (f"max_completion_length: 8\nmax_eval_rows: 4\ntasks: {json.dumps(entries or trained())}\n{more}")
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model whose tokenizer is made for both tasks."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE | {"output_dir": str(folder / "model")}))
    run_in_process("build_model.py", "--config", folder / "base.yaml")
    return folder / "model"


@pytest.fixture
def place(tmp_path, monkeypatch, capsys, run_script, base) -> Place:
    return Place(tmp_path, monkeypatch, capsys, run_script, base)


def test_check_says_it_of_each_task(place):
    status, errors, said = place.check(mine())
    assert (status, errors) == (0, [])
    for start in ("ok: data: countdown: ", "ok: data: gsm8k: ", "ok: prompts: countdown: ", "ok: prompts: gsm8k: "):
        assert any(line.startswith(start) for line in said), start
    assert "equation_reward: gold 1.0, empty 0.0" in said and "number_reward: gold 1.0, empty 0.0" in said
    assert len([line for line in said if line == "format_reward: gold 1.0, empty 0.0"]) == 2
    rows = [int(line.split()[3]) for line in said if line.startswith("ok: data")]
    assert any(line.endswith(f"({sum(rows)} rows)") for line in said), "the batch is planned for all rows"


def test_check_asks_no_reward_model(place):
    judge = {"name": "kind", "reward_model": "./judge", "part": "summary"}
    (place.folder / "judge").mkdir()
    (place.folder / "judge" / "config.json").write_text('{"model_type": "qwen2", "id2label": {"0": "score"}}')
    status, errors, said = place.check(mine(trained(reward_funcs=["number_reward", judge])))
    assert (status, errors) == (0, []) and "kind: ./judge is not asked in a check" in said


def test_check_of_an_evaluation_leaves_out_a_task_without_held_out_problems(place):
    entries = trained(test_fraction=0, task_args={**SETTINGS["gsm8k"], "templates": "train"})
    status, errors, said = place.check(mine(entries), "--run", "evaluate")
    assert (status, errors) == (0, [])
    assert [line.split(":")[2] for line in said if line.startswith("ok: prompts")] == [" countdown"]


BROKEN = {  # entries, what else, how the line begins: file and key, the remedy that it must hold
    "unknown task": (trained(task="gsm"), "", MINE + "tasks: there is no task 'gsm'", "did you mean gsm8k?"),
    "unknown key": (trained(wieght=2), "", MINE + "tasks: gsm8k: wieght: unknown key", "did you mean weight?"),
    "no list": ("countdown", "", MINE + 'tasks: got "countdown"', "expected a list of maps or null"),
    "names": (["countdown"], "", MINE + 'tasks: got ["countdown"]', "expected a list of maps or null"),
    "task beside tasks": (trained(), "task: gsm8k", MINE + "task: given together with tasks", "leave one of the two"),
    "its problems at the top": (trained(), "task_args: {n: 9}", MINE + "task_args: is about one", "an entry of tasks"),
    "rewards of the top level": (
        trained(reward_funcs=None), "",
        MINE + "tasks: gsm8k: reward_funcs: equation_reward needs the columns nums, target", "its own reward is"),
    "weights of other rewards": (
        trained(), "reward_weights: [1, 1]", MINE + "reward_weights: 2 weights for 3 rewards", "give one for each"),
    "bad row": (
        trained(task="countdown", task_args=None, dataset_id_or_path="data/rows.jsonl", reward_funcs=None)[1:], "",
        MINE + "tasks: countdown: dataset_id_or_path: row 1 of data/rows.jsonl", "set skip_bad_rows: true"),
    "no reward model": (
        trained(reward_funcs=[{"name": "kind", "reward_model": "./nowhere"}]), "",
        MINE + "tasks: gsm8k: reward_funcs: kind: ./nowhere is no model folder", "name one, or a hub id"),
    "its prompts": (trained(max_prompt_tokens=9), "", MINE + "tasks: gsm8k: max_prompt_tokens: all ", "raise it to "),
    "no share": (trained(weight=0.001), "", MINE + "tasks: gsm8k: a weight of 0.001 is not one of", "raise it"),
}  # fmt: skip


@pytest.mark.parametrize("entries, more, where, remedy", BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_told_once(place, entries, more, where, remedy):
    (said,) = place.errors(mine(entries, more))
    assert said.startswith(where) and remedy in said[len(where) :]


def test_the_script_refuses_it_in_the_same_words(place, run_script, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_script("run_r1_grpo.py", "--config", place.write(mine(trained(max_prompt_tokens=9))))
    errors = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and "tasks: gsm8k: max_prompt_tokens: all " in errors[-1]


def test_a_cold_start_on_both(tmp_path, monkeypatch, run_script, base, capsys):
    """Supervised training of one model on both tasks, which is measured on each; then conversations of both."""
    monkeypatch.chdir(tmp_path)
    recipe = {
        "model_name_or_path": str(base), "output_dir": "sft", "report_to": "none", "use_cpu": True, "bf16": False,
        "gradient_checkpointing": False, "seed": 1, "test_fraction": 0.2, "num_traces": 64, "max_prompt_tokens": 128,
        "tasks": trained(reward_funcs=None), "per_device_train_batch_size": 16, "num_train_epochs": 1,
        "max_eval_rows": 4, "num_generations_eval": 2, "max_completion_length": 8, "save_strategy": "no",
        "train_sampling_strategy": "sequential",
    }  # fmt: skip
    (tmp_path / "both-sft.yaml").write_text(yaml.safe_dump(recipe))
    run_script("run_sft.py", "--config", "both-sft.yaml")
    said = capsys.readouterr().out
    assert "64 traces; " in said and "gsm8k" in said.partition("pass@1")[2]
    summary = json.loads((tmp_path / "sft" / "summary.json").read_text())
    assert {task: found["n"] for task, found in summary["after"]["by_task"].items()} == {"countdown": 4, "gsm8k": 4}


def test_trained_and_measured(place, run_script, capsys):
    """GRPO and an evaluation of what came out: the same held-out problems, by task."""
    config = place.write(mine())
    run_script("run_r1_grpo.py", "--config", config)
    said = capsys.readouterr().out
    assert "countdown: 24 of 32 prompts, " in said and "gsm8k: 8 of 32 prompts, " in said
    summary = json.loads((place.folder / "out" / "summary.json").read_text())
    numbers = {task: found["n"] for task, found in summary["after"]["by_task"].items()}
    assert numbers == {"countdown": 4, "gsm8k": 4}
    for line in (place.folder / "out" / "metrics.jsonl").read_text().splitlines():
        assert json.loads(line)["mixture/countdown"] == 0.75
    run_script("evaluate.py", "--config", config, "--model_name_or_path", "out", "--output_dir", "measured")
    measured = json.loads((place.folder / "measured" / "summary.json").read_text())
    assert {task: found["n"] for task, found in measured["after"]["by_task"].items()} == numbers
