"""scripts/generate.py keeps correct and readable samples, also when it is killed; run_sft.py learns from them."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from repository import ROOT
from small_home import small_home, training_rows

from mini_r1 import tasks
from mini_r1.evaluation import sampling_run
from mini_r1.evaluation.signals import read_signals
from mini_r1.rewards import Verdict, equation_verdict, format_verdict


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return small_home(tmp_path_factory)


class Scripted:
    """A `Sampler` that answers most problems rightly, and each in all the ways that are to be left out.

    Attributes:
        asked: the numbers of all problems so far.
    """

    def __init__(self, rows: list[dict], stop_after: int | None = None):
        self.rows, self.stop_after, self.asked = rows, stop_after, []
        self.sampling, self.model = None, "scripted"

    def sample(self, prompts):
        from mini_r1.evaluation.sampler import Completion

        for number in prompts:
            if self.stop_after is not None and len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            gold = tasks.get("countdown").gold_answer(self.rows[number])
            thoughts = ["hm", "hm", "well", "```x```", "一 二 三 四 五 六 so it is one two three four", "no"]
            answers = [f"{thought}</think>\n<answer>{gold}</answer>" for thought in thoughts[:5]]
            texts = [*answers, f"no</think>\n<answer>{gold} + 1</answer>", f"bare</think><answer>{gold}"]
            if number % 5 == 0:  # a problem that is never solved
                texts = ["no</think>\n<answer>1</answer>"] * 7
            self.asked.append(number)
            yield {number: [Completion(text, 5 + i, i == 6) for i, text in enumerate(texts)]}


@pytest.fixture
def generate(home, run_script, small_model_dir, monkeypatch, capsys):
    """`generate(sampler, ...)`: the script in this process, asking `sampler`; gives what it printed."""

    def generate(sampler, *words) -> str:
        monkeypatch.setattr(sampling_run, "make_sampler", lambda *args: sampler)
        capsys.readouterr()
        run_script("generate.py", "--config", "recipes/small.yaml", "--model_name_or_path", small_model_dir, *words)
        return capsys.readouterr().out

    monkeypatch.chdir(home)
    return generate


def test_what_is_kept_is_right_and_readable(home, generate):
    rows, held_out = training_rows(home)
    output = generate(Scripted(rows), "--output_dir", "runs/whole", "--keep_per_problem", "2")
    kept = pq.read_table(home / "runs/whole/dataset/train.parquet").to_pylist()
    task, solved = tasks.get("countdown"), [number for number in range(len(rows)) if number % 5]
    assert len(kept) == 2 * len(solved)
    reserved = {task.key(row) for row in held_out}
    for one in kept:
        row = task.parse_row(json.loads(one["row"]))
        assert task.key(row) not in reserved
        *asked, answer = one["messages"]
        assert [turn["role"] for turn in asked] == ["system", "user"] and answer["role"] == "assistant"
        assert str(row["target"]) in asked[-1]["content"]
        text = answer["content"].partition("\n")[2]  # behind the prefill's first line
        assert equation_verdict(text, row["nums"], row["target"]) is Verdict.CORRECT
        assert format_verdict(text) is Verdict.CORRECT
        assert not read_signals(text).mixed_languages and "```" not in text
    every = pq.read_table(home / "runs/whole/generated/samples.parquet").to_pylist()
    assert len(every) == 7 * len(rows)
    assert [one["left_out"] for one in every if one["problem"] == 1] == [
        None, "duplicate", None, "code_block", "mixed_languages", "wrong", "cut_off",
    ]  # fmt: skip
    summary = json.loads((home / "runs/whole/summary.json").read_text())["generated"]
    assert summary["kept"] == len(kept) and summary["problems_kept"] == len(solved)
    assert summary["samples"] - summary["kept"] == sum(summary["left_out"].values())
    assert f"kept {len(kept)} of {len(every)} samples" in output
    card = (home / "runs/whole/dataset/README.md").read_text()
    assert f"{len(kept)} conversations" in card and " mixed_languages" in card
    assert "nothing to do" in generate(None, "--output_dir", "runs/whole", "--keep_per_problem", "2")


def test_cut_off_it_asks_no_problem_twice(home, generate):
    rows, _ = training_rows(home)
    whole, first, second = Scripted(rows), Scripted(rows, stop_after=9), Scripted(rows)
    generate(whole, "--output_dir", "runs/straight")
    with pytest.raises(KeyboardInterrupt):
        generate(first, "--output_dir", "runs/cut")
    assert not (home / "runs/cut/dataset").exists()
    generate(second, "--output_dir", "runs/cut")
    assert sorted(first.asked + second.asked) == sorted(whole.asked) == list(range(len(rows)))
    for name in ("generated/samples.parquet", "dataset/train.parquet"):
        assert pq.read_table(home / "runs/cut" / name) == pq.read_table(home / "runs/straight" / name)
    assert not list((home / "runs/cut").glob("**/*.jsonl"))


def test_nothing_kept_is_said(home, generate, capsys):
    rows, _ = training_rows(home)
    with pytest.raises(SystemExit, match="2"):
        generate(Scripted(rows), "--output_dir", "runs/none", "--filters", '{"tokens": 1}')
    error = capsys.readouterr().err
    assert "filters: none of" in error and "tokens" in error and "turn a filter off" in error
    assert not (home / "runs/none/summary.json").exists()
    again = Scripted(rows)
    assert "kept" in generate(again, "--output_dir", "runs/none", "--filters", '{"tokens": 9}')
    assert again.asked == [], "what was sampled is chosen from anew"
    with pytest.raises(SystemExit, match="2"):
        generate(again, "--output_dir", "runs/none", "--filters", '{"tokens": 8}')
    assert "holds a run of another recipe (filters:" in capsys.readouterr().err, "finished, it is what it says"


def test_the_real_sampler_draws_num_generations(home, run_script, small_model_dir, monkeypatch, capsys):
    """A random policy, so nothing is kept; all of its samples are there to be looked at."""
    monkeypatch.chdir(home)
    words = ("--config", "recipes/small.yaml", "--model_name_or_path", small_model_dir, "--output_dir", "runs/real")
    with pytest.raises(SystemExit, match="2"):
        run_script("generate.py", *words, "--num_generations_eval", "2")
    rows, _ = training_rows(home)
    assert f"none of {4 * len(rows)} samples is kept" in capsys.readouterr().err
    every = pq.read_table(home / "runs/real/generated/samples.parquet").to_pylist()
    assert len(every) == 4 * len(rows) and {one["left_out"] for one in every} <= {"wrong", "cut_off"}


def test_supervised_training_learns_from_it(home, generate, run_script, tiny_model_dir, capsys):
    rows, _ = training_rows(home)
    generate(Scripted(rows), "--output_dir", "runs/data", "--balance_difficulty", "true")
    (home / "recipes/sft.yaml").write_text(
        f"extends: {ROOT}/recipes/countdown-tiny-samples-sft.yaml\nmodel_name_or_path: {tiny_model_dir}\n"
        f"task_args: {{n: 60, seed: 0, count: [3], numbers: [1, 9], in_order: true}}\ntest_fraction: 0.3\n"
        "sft_datasets: [{path: runs/data/dataset}]\nmax_prompt_tokens: 128\nreport_to: none\nmax_eval_rows: 2\n"
        "per_device_train_batch_size: 8\nmax_completion_length: 16\n"
    )
    run_script("run_sft.py", "--config", "recipes/sft.yaml", "--output_dir", "runs/learned")
    kept = len(pq.read_table(home / "runs/data/dataset/train.parquet"))
    assert f"{kept} conversations, 0 left out" in capsys.readouterr().out
    state = json.loads((home / "runs/learned/trainer_state.json").read_text())
    assert state["global_step"] == 2 * -(-kept // 8)
