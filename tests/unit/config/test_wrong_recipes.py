"""Whatever is wrong with a recipe ends in one line that says which file, which key, and what to do; no traceback."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

GRPO, SFT, PIPELINE, BUILD = "run_r1_grpo.py", "run_sft.py", "run_pipeline.py", "build_model.py"
MINE = "recipes/mine.yaml: "
STAGE = "stages:\n  - {{name: base, run: {run}, recipe: ../countdown-tiny-base.yaml{more}}}\n"


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A working directory with the shipped recipes, and data in which one row lacks a column."""
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").write_text('{"nums": [1, 2], "target": 3}\n{"nums": [1, 3]}\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(home: Path, text: str, model: Path | str = "unused", name: str = "recipes/mine.yaml") -> str:
    if not text.startswith(("stages:", "extends:", "- ")):
        # JSON is YAML; what the case gives comes last, so that it may not repeat these keys
        head = {"extends": "countdown-tiny.yaml", "model_name_or_path": str(model), "output_dir": "out"}
        text = "".join(f'{key}: "{value}"\n' for key, value in head.items() if f"{key}:" not in text) + text
    path = home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def error_of(run_script, capsys, script: str, *words: str) -> str:
    """The one line on stderr of a script that must end with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run_script(script, *words)
    said = capsys.readouterr().err
    assert stopped.value.code == 2, said
    assert said.count("\n") == 1 and said.startswith("error: "), said
    return said.removeprefix("error: ").rstrip("\n")


# recipe text, the beginning of the message: file and key, and the remedy that it must hold
BEFORE_THE_MODEL = {
    "typo in a key": ("learning_rte: 1.0e-4", MINE + "learning_rte: ", "did you mean learning_rate?"),
    "key of early 2025": ("max_prompt_length: 256", MINE + "max_prompt_length: ", "use max_prompt_tokens"),
    "wrong type": ("max_steps: many", MINE + 'max_steps: got "many", ', "expected a whole number"),
    "wrong type in a list": ("difficulty: [3, four]", MINE + "difficulty: got", "expected a list of whole numbers"),
    "wrong choice": ("lr_scheduler_type: cosin", MINE + "lr_scheduler_type: got", "did you mean cosine?"),
    "unknown task": ("task: countdwn", MINE + "task: ", "did you mean countdown?"),
    "no task": ("task: null", MINE + "task: ", "choose one of: chat, code, countdown"),
    "unknown reward": ("reward_funcs: [equaton_reward]", MINE + "reward_funcs: ", "did you mean equation_reward?"),
    "reward of another task": (
        "task: gsm8k\ntask_args: null",
        "recipes/tiny/countdown-tiny.yaml: stage rl: reward_funcs: equation_reward needs the columns nums, target,",
        "its own reward is number_reward",
    ),
    "argument of a reward": (
        "reward_funcs: [format_reward, {name: soft_overlong, max_completion_len: 256, soft_punish_cach: 64}]",
        MINE + "reward_funcs: soft_overlong takes no argument 'soft_punish_cach'",
        "did you mean soft_punish_cache?",
    ),
    "neither reward nor map": (
        "reward_funcs: [format_reward, 3]",
        MINE + 'reward_funcs: got ["format_reward", 3], ',
        "map",
    ),
    "values of another reward": ("reward_values: {x: [1, 0, 0]}", MINE + "reward_values: ", "which has: format_reward"),
    "unknown template": ("prompt_template: mini_r", MINE + "prompt_template: ", "did you mean mini_r1?"),
    "batch that does not divide": (
        "per_device_train_batch_size: 128\nnum_generations: 7",
        MINE + "num_generations: ",
        "per_device_train_batch_size 126",
    ),
    "evaluation batch": (
        "per_device_eval_batch_size: 9\nnum_generations_eval: 8",
        MINE + "per_device_eval_batch_size: ",
        "use 8 or 16",
    ),
    "YAML syntax": ("reward_funcs: [a", MINE + "line 4, column 17: ", "expected ',' or ']'"),
    "key given twice": ("seed: 1\nseed: 2", MINE + "line 5, column 1: ", "the key seed appears twice"),
    "no map": ("- a\n- b", MINE, "expected a map of keys to values"),
    "extends nothing there": ("extends: countdown-tni.yaml", MINE + "extends: ", "did you mean countdown-tiny.yaml?"),
    "extends itself": (
        "extends: mine.yaml",
        MINE + "extends: goes in a circle",
        "recipes/mine.yaml -> recipes/mine.yaml",
    ),
    "no cold start": (
        "model_name_or_path: runs/nothing-sft-s42",
        MINE + "model_name_or_path: there is no folder runs/nothing-sft-s42",
        "first run: make train-nothing",
    ),
    "no model": ("model_name_or_path: null", MINE + "model_name_or_path: ", "name a hub id or a local folder"),
    "checkpoint not there": (
        "model_name_or_path: x\nresume_from_checkpoint: out/checkpoint-7",
        MINE + "resume_from_checkpoint: out/checkpoint-7",
        "leave it out",
    ),
}


@pytest.mark.parametrize(("text", "start", "remedy"), BEFORE_THE_MODEL.values(), ids=BEFORE_THE_MODEL)
def test_before_the_model_is_looked_at(home, run_script, capsys, text, start, remedy):
    error = error_of(run_script, capsys, GRPO, "--config", write(home, text))
    assert error.startswith(start)
    assert remedy in error


WITH_A_MODEL = {
    "dataset file missing": (
        "dataset_id_or_path: data/none.parquet",
        MINE + "dataset_id_or_path: there is no file or folder data/none.parquet",
        "without this key the task generates",
    ),
    "column missing": (
        "dataset_id_or_path: data/rows.jsonl",
        MINE + "dataset_id_or_path: row 1 of data/rows.jsonl (split train): column 'target' ",
        "set skip_bad_rows: true",
    ),
    "split missing": (
        "dataset_id_or_path: data\ndataset_train_split: training",
        MINE + "dataset_id_or_path: data has no .parquet, .jsonl, .json, .csv file whose name begins with 'training'",
        "there is rows.jsonl",
    ),
    "generator setting": ("task_args: {numbrs: [1, 9]}", MINE + "task_args: 'numbrs'", "it knows n, seed, count, "),
    "prompts too long": ("max_prompt_tokens: 8\ntask_args: {n: 300}", MINE + "max_prompt_tokens: all 2", "raise it"),
    "share": ("test_fraction: 10", MINE + "test_fraction: got 10, expected a number", "of at least 0 and below 1"),
    "too few rows": (
        "max_train_rows: 3\nper_device_train_batch_size: 128",
        MINE + "3 training rows do not fill one rollout",
        "use more rows or a smaller",
    ),
}


@pytest.mark.parametrize(("text", "start", "remedy"), WITH_A_MODEL.values(), ids=WITH_A_MODEL)
def test_once_the_tokenizer_is_there(home, run_script, capsys, tiny_model_dir, text, start, remedy):
    error = error_of(run_script, capsys, GRPO, "--config", write(home, text, tiny_model_dir))
    assert error.startswith(start)
    assert remedy in error


def test_another_recipe_in_the_same_folder(home, run_script, capsys, tiny_model_dir):
    recipe = write(home, "dataset_id_or_path: none.parquet\nlearning_rate: 0.5", tiny_model_dir)
    error_of(run_script, capsys, GRPO, "--config", recipe)
    (home / "out" / "summary.json").write_text("{}")  # as if it had ended well
    error = error_of(run_script, capsys, GRPO, "--config", recipe, "--learning_rate", "0.25")
    assert error.startswith(MINE + "output_dir: out holds a run of another recipe (learning_rate: 0.5 -> 0.25)")
    assert "--overwrite_output_dir true" in error


@pytest.mark.parametrize(
    ("script", "words", "start", "remedy"),
    [
        (GRPO, ["--config", "recipes/countdown-tny.yaml"], "recipes/countdown-tny.yaml: ", "mean countdown-tiny.yaml?"),
        (GRPO, [], "command line: --config is missing", "--config recipes/NAME.yaml"),
        (
            GRPO,
            ["--config", "recipes/countdown-tiny.yaml", "--max_stps", "3"],
            "command line: max_stps: ",
            "did you mean max_steps?",
        ),
        (
            GRPO,
            [
                "--config",
                "recipes/countdown-tiny.yaml",
                "--reward_funcs",
                '["format_reward", {"name": "soft_overlong"}]',
            ],
            "command line: reward_funcs: soft_overlong needs max_completion_len and soft_punish_cache",
            "such as {name: soft_overlong, max_completion_len: 1024, soft_punish_cache: 128}",
        ),
        (
            SFT,
            ["--config", "recipes/countdown-tiny-sft.yaml", "--num_generations", "8"],
            "command line: num_generations: ",
            "did you mean num_generations_eval?",
        ),
        (
            SFT,
            ["--config", "recipes/countdown-tiny-sft.yaml", "--model_name_or_path", "runs/nothing-base-s42"],
            "command line: model_name_or_path: there is no folder runs/nothing-base-s42",
            "first run: make train-nothing",
        ),
        (
            BUILD,
            ["--config", "recipes/countdown-tiny-base.yaml", "--task_args", '{"operators": "x"}'],
            "command line: task_args: ",
            "operators must be some of +-*/",
        ),
        (
            PIPELINE,
            ["--config", "recipes/pipelines/countdown-tiny.yaml", "--max_steps", "3"],
            "command line: max_steps: ",
            "set in its recipe",
        ),
    ],
)
def test_flags_and_files(home, run_script, capsys, script, words, start, remedy):
    error = error_of(run_script, capsys, script, *words)
    assert error.startswith(start)
    assert remedy in error


def test_trace_phases(home, run_script, capsys, tiny_model_dir):
    text = f"extends: countdown-tiny-sft.yaml\nmodel_name_or_path: {tiny_model_dir}\noutput_dir: out\n"
    recipe = write(home, text + "trace_phases: [{share: 0.5, limit: 99}]")
    error = error_of(run_script, capsys, SFT, "--config", recipe)
    assert error == MINE + "trace_phases: every phase needs a `share`, and the shares must add up to 1"


PIPELINES = {
    "unknown kind": (STAGE.format(run="grpo", more=""), "run: got 'grpo'", "did you mean r1_grpo?"),
    "unknown init_from": (
        STAGE.format(run="build_model", more="")
        + "  - {name: rl, run: r1_grpo, recipe: ../countdown-tiny.yaml, init_from: bse}\n",
        "init_from: no earlier stage 'bse'",
        "there is base",
    ),
    "init_from in the first stage": (
        STAGE.format(run="build_model", more=", init_from: base"),
        "init_from: no earlier stage 'base'",
        "there is none",
    ),
    "unknown key": (STAGE.format(run="build_model", more=", from: x"), "from: unknown key of a stage", ""),
    "recipe missing": ("stages: [{name: base, run: build_model}]", "recipe: stage 1 needs a text", "here"),
    "no stages": ("stages: []", "stages: ", "a pipeline needs a list of stages: [{name, run, recipe}, ...]"),
}


@pytest.mark.parametrize(("text", "start", "remedy"), PIPELINES.values(), ids=PIPELINES)
def test_pipelines(home, run_script, capsys, text, start, remedy):
    path = write(home, text, name="recipes/pipelines/mine.yaml")
    error = error_of(run_script, capsys, PIPELINE, "--config", path)
    assert error.startswith(f"{path}: {start}")
    assert remedy in error


def test_a_pipeline_checks_every_recipe_before_the_first_stage(home, run_script, capsys):
    write(home, "learning_rte: 1.0e-4")
    text = STAGE.format(run="build_model", more="") + "  - {name: rl, run: r1_grpo, recipe: ../mine.yaml}\n"
    path = write(home, text, name="recipes/pipelines/mine.yaml")
    error = error_of(run_script, capsys, PIPELINE, "--config", path)
    assert error.startswith(MINE + "learning_rte: unknown key; did you mean learning_rate?")
    assert not (home / "runs").exists()


def test_in_a_process_of_its_own(home, tiny_model_dir):
    recipe = write(home, "dataset_id_or_path: data/rows.jsonl", tiny_model_dir)
    words = [sys.executable, str(ROOT / "scripts" / GRPO), "--config", recipe]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == (
        "error: recipes/mine.yaml: dataset_id_or_path: row 1 of data/rows.jsonl (split train): column 'target' is "
        "missing; its columns are nums (see dataset_columns); mend it or set skip_bad_rows: true\n"
    )
