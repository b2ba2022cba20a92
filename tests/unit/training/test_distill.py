"""On-policy distillation: what the loss is, whom it moves, how a run goes on, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from small_trainer import SIZES
from transformers import AutoModelForCausalLM
from trl import DistillationConfig

from mini_r1 import tasks
from mini_r1.data.prompts import get_template, prompt_ids, render
from mini_r1.run.tiny_model import build_model
from mini_r1.training.sft_and_distill import R1DistillationTrainer

RECIPE = """
seed: 1
output_dir: runs/{recipe}-s{seed}
task: countdown
task_args: {n: 80, seed: 0, count: [3], numbers: [1, 12], target: [1, 99], in_order: true}
max_prompt_tokens: 64
max_eval_rows: 4
model_name_or_path: ./student
teacher_model_name_or_path: ./teacher-s{seed}
use_cpu: true
bf16: false
dtype: float32
gradient_checkpointing: false
report_to: none
per_device_train_batch_size: 8
gradient_accumulation_steps: 2
per_device_eval_batch_size: 8
num_generations_eval: 2
max_completion_length: 8
max_steps: 8
save_steps: 2
save_total_limit: 3
logging_steps: 1
learning_rate: 0.003
"""


def save_model(folder: Path, tokenizer, seed: int, sharp: float = 1.0, **sizes) -> None:
    """Random weights; with a larger `sharp` the distribution is further from uniform."""
    model = build_model(tokenizer, seed=seed, **SIZES | sizes)
    model.get_input_embeddings().weight.data *= sharp  # the head's, too: they are tied
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def home(tiny_tokenizer, tmp_path_factory) -> Path:
    top = tmp_path_factory.mktemp("distill")
    save_model(top / "student", tiny_tokenizer, 0)
    save_model(top / "teacher-s1", tiny_tokenizer, 1, sharp=8.0, hidden_size=64, num_hidden_layers=2)
    (top / "small.yaml").write_text(RECIPE)
    return top


@pytest.fixture
def prompts(tiny_rows, tiny_tokenizer) -> list[str]:
    task, template = tasks.get("countdown"), get_template("mini_r1")
    return [render(template, task, row, tiny_tokenizer).text for row in tiny_rows]


@pytest.fixture
def build(home, prompts, tiny_tokenizer, tmp_path):
    """`build(...)`: a trainer on the first 64 prompts; `settings` go over its `DistillationConfig`."""

    def build(**settings) -> R1DistillationTrainer:
        values = {
            "output_dir": str(tmp_path / "run"), "report_to": "none", "use_cpu": True, "bf16": False, "seed": 1,
            "gradient_checkpointing": False, "per_device_train_batch_size": 16, "max_completion_length": 8,
            "max_steps": 40, "save_strategy": "no", "learning_rate": 3e-3, "disable_tqdm": True, "logging_steps": 1,
        }  # fmt: skip
        return R1DistillationTrainer(
            model=str(home / "student"),
            teacher_model=str(home / "teacher-s1"),
            args=DistillationConfig(**values | settings),
            train_dataset=Dataset.from_dict({"prompt": prompts[:64]}),
            processing_class=tiny_tokenizer,
        )

    return build


def divergence(model, teacher, ids, mask, temperature: float = 1.0) -> torch.Tensor:
    """KL(student || teacher) for each next token, shape (sequences, tokens - 1), from whole logits."""
    given = {"input_ids": ids, "attention_mask": mask}
    ours, theirs = ((each(**given).logits[:, :-1] / temperature).log_softmax(-1) for each in (model, teacher))
    return (ours.exp() * (ours - theirs)).sum(-1)


def test_the_student_moves_towards_the_teacher_and_the_teacher_stays(build, home, prompts, tiny_tokenizer):
    trainer = build()
    teacher = AutoModelForCausalLM.from_pretrained(home / "teacher-s1", dtype=torch.float32)
    held = tiny_tokenizer(prompts[200:216], return_tensors="pt", padding=True)
    places = held["attention_mask"][:, 1:].bool()

    @torch.no_grad()
    def apart() -> tuple[float, float]:
        """At the last token of the prompt, where the answer begins, and on the student's own held-out answers."""
        first = divergence(trainer.model, teacher, held["input_ids"], held["attention_mask"])[:, -1].mean()
        torch.manual_seed(0)
        ids = trainer.model.generate(**held, max_new_tokens=8, min_new_tokens=8, do_sample=True, top_k=0)
        mask = torch.cat([held["attention_mask"], torch.ones(16, 8, dtype=torch.long)], 1)
        own = divergence(trainer.model, teacher, ids, mask)[:, places.shape[1] :].mean()
        return first.item(), own.item()

    before = apart()
    trainer.train()
    after = apart()
    assert after[0] < 0.7 * before[0] and after[1] < 0.7 * before[1], (before, after)
    kept, loaded = trainer.teacher_model.state_dict(), teacher.state_dict()
    assert all(torch.equal(kept[name], loaded[name]) for name in loaded)
    assert all(weight.grad is None for weight in trainer.teacher_model.parameters())


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_loss_is_the_mean_over_the_completions_with_their_end(build, home, prompts, tiny_tokenizer, accumulation):
    eos = tiny_tokenizer.eos_token_id
    trainer = build(
        max_steps=1,
        temperature=0.7,
        per_device_train_batch_size=16 // accumulation,
        gradient_accumulation_steps=accumulation,
        generation_kwargs={"sequence_bias": [[[eos], 3.0]]},  # so that some end, and some are cut off
    )
    teacher = AutoModelForCausalLM.from_pretrained(home / "teacher-s1", dtype=torch.float32)
    student = AutoModelForCausalLM.from_pretrained(home / "student", dtype=torch.float32)
    seen, inner = [], trainer._compute_loss
    trainer._compute_loss = lambda model, inputs, items: seen.append(inputs) or inner(model, inputs, items)
    trainer.train()
    assert len(seen) == accumulation

    asked, ended, total, count = [], 0, 0.0, 0
    for inputs in seen:
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
        with torch.no_grad():
            each = divergence(student, teacher, ids, mask, 0.7)
        for row, length in enumerate(inputs["completion_mask"].sum(1).tolist()):
            completion = inputs["completion_ids"][row].tolist()
            assert eos not in completion[: length - 1] and (completion[length - 1] == eos or length == 8)
            ended += completion[length - 1] == eos
            start = inputs["prompt_ids"].shape[1] - 1  # the prompt's last token says what the first one should be
            total, count = total + each[row, start : start + length].sum().item(), count + length
            asked.append(inputs["prompt_ids"][row][inputs["prompt_mask"][row].bool()].tolist())
    assert 0 < ended < 16
    assert trainer.state.log_history[0]["loss"] == pytest.approx(total / count, rel=1e-4)
    own = prompt_ids(prompts[:64], tiny_tokenizer)
    assert len(asked) == 16 and all(ids in own for ids in asked), "TRL makes other token ids of a prompt"


@pytest.fixture
def run(home, run_script, monkeypatch, capsys):
    """`run(*words)`: the script in this process; gives what it printed."""
    monkeypatch.chdir(home)

    def run(*words) -> str:
        run_script("run_distill.py", "--config", "small.yaml", *words)
        return capsys.readouterr().out

    return run


def test_a_run_that_was_cut_off_ends_as_an_uninterrupted_one(run, home):
    said = run()
    folder = home / "runs/small-s1"
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["stage"] == "distill" and summary["before"]["n"] == summary["after"]["n"] > 0
    assert "16 completions = 16 prompts x 1" in said and "step 8/8" in said and "length" in said
    assert (
        "on-policy distillation (arXiv:2306.13649) from the teacher `./teacher-s1`"
        in (folder / "README.md").read_text()
    )
    assert "nothing to do" in run()

    again = home / "runs/again"
    shutil.copytree(folder, again)
    for name in ("summary.json", "model.safetensors", "recipe.yaml"):
        (again / name).unlink()
    shutil.rmtree(again / "checkpoint-8")
    assert "resuming from runs/again/checkpoint-6" in run("--output_dir", "runs/again")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    resumed = json.loads((again / "summary.json").read_text())
    assert [resumed[when] for when in ("before", "after")] == [summary[when] for when in ("before", "after")]
    # the rows fill four steps and a half: checkpoint-6 is in the second pass, whose order TRL draws anew
    losses = [
        [(entry["step"], entry["loss"]) for entry in map(json.loads, (each / "metrics.jsonl").read_text().splitlines())]
        for each in (folder, again)
    ]
    assert losses[0] == losses[1] and len(losses[0]) == 8


def test_a_dry_run_trains_nothing(run, home):
    said = run("--dry_run", "true", "--output_dir", "runs/dry")
    assert "./student learns from ./teacher-s1" in said and said.rstrip().endswith("<think>")
    assert not list((home / "runs/dry").glob("*.safetensors"))


REFUSED = {
    "none": (["--teacher_model_name_or_path", "null"], "is missing; name the model to learn from"),
    "no folder": (["--teacher_model_name_or_path", "./nobody"], "there is no folder ./nobody"),
    "no model": (["--teacher_model_name_or_path", "./runs"], "./runs is not a model folder"),
    "tokenizer": (["--teacher_model_name_or_path", "./stranger"], "another tokenizer than the student"),
    "padding": (["--teacher_model_name_or_path", "./padded"], "its vocabulary is padded to"),
    "end": (["--teacher_model_name_or_path", "./other-end"], "ends its answers with '<|im_start|>'"),
}


@pytest.fixture(scope="module")
def strangers(home, tiny_tokenizer, mixed_tokenizer) -> None:
    """Teachers that the student cannot learn from."""
    (home / "runs").mkdir(exist_ok=True)
    save_model(home / "stranger", mixed_tokenizer, 1)
    for name in ("padded", "other-end"):
        shutil.copytree(home / "teacher-s1", home / name)
    for name, file, change in (
        ("padded", "config.json", {"vocab_size": len(tiny_tokenizer) + 64}),
        ("other-end", "tokenizer_config.json", {"eos_token": "<|im_start|>"}),
    ):
        path = home / name / file
        path.write_text(json.dumps(json.loads(path.read_text()) | change))


@pytest.mark.parametrize("words, expected", REFUSED.values(), ids=REFUSED)
def test_a_teacher_that_cannot_teach_is_refused_in_one_line(strangers, run, capsys, words, expected):
    with pytest.raises(SystemExit) as ended:
        run(*words, "--output_dir", "runs/refused")
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and expected in said and "teacher_model_name_or_path: " in said and "\n" not in said


def test_the_check_looks_at_the_teacher(strangers, home, run_script, monkeypatch, capsys):
    monkeypatch.chdir(home)
    words = ("check.py", "--config", "small.yaml", "--run", "distill")
    with pytest.raises(SystemExit) as ended:
        run_script(*words)
    assert ended.value.code == 0 and "error" not in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        run_script(*words, "--teacher_model_name_or_path", "./stranger")
    assert ended.value.code == 2 and "another tokenizer than the student" in capsys.readouterr().err
