"""scripts/run_reward.py: a reward model from preference pairs, which a recipe can then use as a reward."""

import json
from pathlib import Path

import pytest
from small_trainer import SIZES

from mini_r1.config.arguments import RewardArguments
from mini_r1.config.kinds import dataclass_types
from mini_r1.config.recipe import fill_placeholders
from mini_r1.data.preferences import load_pairs, to_pair
from mini_r1.data.problems import load_rows
from mini_r1.data.reward_loader import load_rewards
from mini_r1.run.tiny_model import build_model
from mini_r1.tasks import gsm8k

KIND, CURT = ("It is {}, thank you.", "Thank you, it is {}."), ("No idea, {} or so.", "I say {} and no more.")
SETTINGS = (
    "use_cpu: true\nbf16: false\ndtype: float32\ngradient_checkpointing: false\nreport_to: none\nseed: 1\n"
    "per_device_train_batch_size: 16\nlearning_rate: 0.003\nmax_steps: 36\nsave_steps: 12\nlogging_steps: 12\n"
    "test_fraction: 0.2\npart: summary\noutput_dir: runs/{recipe}-s{seed}\n"
)


def rows(n: int) -> list[dict]:
    """Of each kind two wordings, so that random weights do not tell them apart; the last pair's summaries are equal."""
    found = []
    for number, row in enumerate(gsm8k.generate(n, seed=0, steps=[2], largest=40, prices=False)):
        said = {"chosen": KIND[number % 2].format(number % 40), "rejected": CURT[number // 2 % 2].format(number % 40)}
        turns = {
            side: [{"role": "assistant", "content": f"<think>hm {number % 7}</think> {text}"}]
            for side, text in said.items()
        }
        found.append({"prompt": [{"role": "user", "content": row["question"]}], **turns})
    said = found[0]["chosen"][0]["content"]
    return [*found, {**found[0], "rejected": [{"role": "assistant", "content": said.replace("hm", "no")}]}]


@pytest.fixture(scope="module")
def home(mixed_tokenizer, tmp_path_factory) -> Path:
    top = tmp_path_factory.mktemp("home")
    build_model(mixed_tokenizer, seed=0, **SIZES | {"max_position_embeddings": 512}).save_pretrained(top / "model")
    mixed_tokenizer.save_pretrained(top / "model")
    (top / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(240)))
    (top / "polite.yaml").write_text(
        f"model_name_or_path: ./model\npreference_datasets: [{{path: pairs.jsonl}}]\n{SETTINGS}"
    )
    return top


@pytest.fixture
def train(home, run_script, monkeypatch, capsys):
    """`train(*words)`: the script in this process; gives what it printed."""
    monkeypatch.chdir(home)

    def train(*words) -> str:
        run_script("run_reward.py", "--config", "polite.yaml", *words)
        return capsys.readouterr().out

    return train


def test_it_learns_is_skipped_goes_on_and_serves_as_a_reward(train, home):
    said = train()
    folder = home / "runs/polite-s1"
    found = json.loads((folder / "summary.json").read_text())
    assert found["accuracy"]["after"] >= 0.95
    assert found["left_out"]["whose parts are equal"] == 1 and "held-out pairs in the right order" in said
    assert "A reward model, trained by the recipe" in (folder / "README.md").read_text()
    assert "is finished, nothing to do" in train()

    values = {"seed": 1, "reward_funcs": [{"name": "nice", "reward_model": "runs/polite-s{seed}", "part": "summary"}]}
    fill_placeholders(values, "rl", {"reward_funcs": "rl.yaml"})
    (reward,) = load_rewards(values["reward_funcs"], task_module=gsm8k)
    assert reward.unavailable() is None
    columns = {"question": ["How many?"] * 2, "prefill": ["<think>"] * 2}
    kind, curt = reward(completions=[f"hm</think>{text[0].format(7)}" for text in (KIND, CURT)], **columns)
    other, _ = reward(completions=[f"{CURT[0]}</think>{KIND[0].format(7)}", ""], **columns)
    assert kind > curt and other == pytest.approx(kind, abs=1e-4)

    (folder / "summary.json").unlink()  # as if it had been killed in the end
    assert "resuming from runs/polite-s1/checkpoint-36" in train()
    again = json.loads((folder / "summary.json").read_text())
    assert again["accuracy"] == found["accuracy"]


OWN = (
    "--preference_datasets", "null", "--task", "gsm8k", "--prompt_template", "readable", "--num_pairs", "200",
    "--task_args", '{"n": 300, "steps": [2], "largest": 40, "prices": false, "templates": "train"}',
)  # fmt: skip


@pytest.mark.parametrize("worse", ["rejected", "chosen"])
def test_a_task_writes_the_pairs_and_either_side_can_be_the_better(train, home, worse):
    said = train(*OWN, f"--{worse}_trace_args", '{"give_up": 1}', "--output_dir", f"runs/{worse}")
    found = json.loads((home / f"runs/{worse}/summary.json").read_text())
    assert found["pairs"] > 150 and found["accuracy"]["n"] > 40 and "held out" in said
    assert found["accuracy"]["after"] >= 0.95  # of both, though one of the two is what random weights like
    assert "the task `gsm8k`, which wrote them" in (home / f"runs/{worse}/README.md").read_text()


def test_the_problems_that_a_task_holds_out_are_held_out(mixed_tokenizer):
    args = RewardArguments(task="gsm8k", task_args={"n": 200}, num_pairs=50, test_fraction=0.2,
                           prompt_template="readable", rejected_trace_args={"give_up": 1})  # fmt: skip
    pairs, problems = load_pairs(args, mixed_tokenizer, seed=1, max_length=None), load_rows(args, gsm8k)
    asked = {pair["chosen"][0]["content"] for pair in pairs.test}
    assert asked <= {row["question"] for row in problems.test} and len(pairs.test) > 20
    assert {pair["chosen"][0]["content"] for pair in pairs.train} <= {row["question"] for row in problems.train}
    same = load_pairs(args, mixed_tokenizer, seed=1, max_length=None)
    assert same == pairs and load_pairs(args, mixed_tokenizer, seed=2, max_length=None) != pairs


def test_a_dry_run_shows_a_pair_and_trains_nothing(train, home):
    said = train("--dry_run", "true", "--output_dir", "runs/dry")
    assert "thank you" in said.lower() and "<think>" not in said and not list((home / "runs/dry").glob("*.safetensors"))


WRONG = {
    "no data": (["--preference_datasets", "null"], "preference_datasets: must be a list"),
    "no file": (["--preference_datasets", '[{"path": "./none.jsonl"}]'], "preference_datasets: there is no file"),
    "key": (["--preference_datasets", '[{"path": "pairs.jsonl", "weight": 1}]'], "weight: unknown key"),
    "part": (["--part", "answer"], 'part: got "answer", expected one of summary, response'),
    "lora": (["--use_peft", "true"], "use_peft: a reward model is loaded whole"),
    "no pairs": (
        ["--preference_datasets", '[{"path": "messages.jsonl"}]'],
        "preference_datasets: row 0 of messages.jsonl: needs chosen",
    ),
    "twice": (["--task", "gsm8k"], "preference_datasets: given together with task"),
    "tasks": (["--tasks", '[{"task": "gsm8k"}]'], "tasks: a reward model learns from one task's pairs"),
    "same sides": ([*OWN], "rejected_trace_args: is what chosen_trace_args is"),
    "no traces": (["--preference_datasets", "null", "--task", "math"], "task: tasks/math.py has no trace writer"),
    "no task": (["--num_pairs", "9"], "num_pairs: is about a task that writes the pairs"),
    "setting": (
        [*OWN, "--rejected_trace_args", '{"rude": 1, "x": 1}'],
        "rejected_trace_args: 'rude' is no setting",
    ),
    "length": (["--max_length", "3"], "no pairs are left to train on"),
}


@pytest.mark.parametrize("words, expected", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line(train, home, capsys, words, expected):
    (home / "messages.jsonl").write_text('{"messages": []}\n')
    with pytest.raises(SystemExit) as caught:
        train("--output_dir", "runs/wrong", *words)
    said = capsys.readouterr().err
    assert caught.value.code == 2 and expected in said and said.strip().count("\n") == 0


@pytest.mark.parametrize(
    "text, summary", [("Yes.", "Yes."), ("<think>a</think> Yes.", "Yes."), ("<think>never closed", "")]
)
def test_what_is_learned_from_is_what_is_judged(text, summary):
    row = {"prompt": "Is it?", "chosen": text, "rejected": "x"}
    assert to_pair(row, "summary")["chosen"][-1]["content"] == summary
    assert to_pair(row, "response")["chosen"][-1]["content"] == text


def test_the_judges_of_tasks_take_placeholders():
    entry = {"task": "gsm8k", "reward_funcs": ["format_reward", {"name": "a", "reward_model": "runs/{recipe}-s{seed}"}]}
    values = {"seed": 3, "tasks": [entry]}
    fill_placeholders(values, "both", {"tasks": "both.yaml"})
    assert values["tasks"][0]["reward_funcs"][1]["reward_model"] == "runs/both-s3" and "{seed}" in str(entry)


def test_the_parts_are_those_of_the_reward():
    from mini_r1.data.reward_model import PARTS

    own = dataclass_types("reward")[0]
    assert own.__dataclass_fields__["part"].metadata["choices"] == PARTS
