"""docs/mistakes.md says what is said of fifty mistakes: each is made here, and its line is the one on the page."""

import json
import re
import shutil
import sys
from collections.abc import Callable

import pytest
from broken import CPU, Place
from repository import ROOT
from scripted_server import Scripted, hurry

PAGE = ROOT / "docs" / "mistakes.md"
ROWS = [
    {"problem": "Tom has 2 hens.", "solution": "#### 2"},
    {"problem": "Ann has 3 pigs.", "solution": "#### 3"},
]
WORDS = (
    CPU.replace("countdown", "gsm8k").replace("task_args: {n: 300}\n", "task_args: null\ntest_fraction: 0.5\n")
    + "max_prompt_tokens: 400\n"
)
SFT = (
    "run: sft\nextends: _base/sft.yaml\nmodel_name_or_path: {model}\noutput_dir: out\ntask: null\n"
    "use_cpu: true\nbf16: false\nlearning_rate: 1.0e-4\nper_device_train_batch_size: 2\nmax_completion_length: 64\n"
)
REWARDS = """
def raises(completions, **kwargs):
    return [1 / len(text) for text in completions]

def one_less(completions, **kwargs):
    return [1.0] * (len(completions) - 1)

def text(completions, **kwargs):
    return ["1.0"] * len(completions)

def not_a_number(completions, **kwargs):
    return [float("nan")] * len(completions)

def infinite(completions, **kwargs):
    return [float("inf")] * len(completions)

def nothing(completions, **kwargs):
    return None

def wants_solution(completions, solution, **kwargs):
    return [0.0] * len(completions)

def takes_one_column(completions):
    return [0.0] * len(completions)

LIMIT = 3
"""


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def data(text: str, more: str = "", name: str = "rows.jsonl") -> tuple[str, dict[str, str | bytes]]:
    """A recipe on a data file of one's own, and the file."""
    columns = "" if "dataset_columns" in more else "dataset_columns: {question: problem, answer: solution}\n"
    return WORDS + f"dataset_id_or_path: {name}\n{columns}{more}", {name: text}


def supervised(*rows: object) -> tuple[str, dict[str, str | bytes]]:
    return SFT + "sft_datasets: [{path: talks.jsonl}]\n", {"talks.jsonl": lines(*rows)}


def reward(name: str) -> tuple[str, dict[str, str | bytes]]:
    return CPU + f"reward_funcs: [format_reward, {name}]\n", {"my_rewards.py": REWARDS}


def value(line: str) -> tuple[str, dict[str, str | bytes]]:
    return CPU + line + "\n", {}


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
HUMAN = {"from": "human", "value": "Hi"}

# What is wrong -> (recipe, its files), in the order of the page; a title starts a table.
MISTAKES: dict[str, dict[str, tuple[str, dict[str, str | bytes]]]] = {
    "Values": {
        "`learning_rte: 1.0e-4`": value("learning_rte: 1.0e-4"),
        "`learning_rate: \"1e-4\"`, a text": value('learning_rate: "1e-4"'),
        "`learning_rate: true`": value("learning_rate: true"),
        "`learning_rate: .nan`": value("learning_rate: .nan"),
        "`learning_rate: -1.0e-6`": value("learning_rate: -1.0e-6"),
        "`max_steps: 2.5`": value("max_steps: 2.5"),
        "`temperature: 0`": value("temperature: 0"),
        "`num_generations: 1`": value("num_generations: 1"),
        "`num_generations: 9`": value("num_generations: 9"),
        "`loss_type: gspo`": value("loss_type: gspo"),
        "`beta: no`": value("beta: no"),
        "`beta:` twice": (CPU + "beta: 0.1\n'beta': 0.2\n", {}),
        "a tab before a key": (CPU + "\tbeta: 0.1\n", {}),
        "`max_completion_length: 100000`": value("max_completion_length: 100000"),
        "`output_dir: mine.txt`, a file": (CPU + "output_dir: mine.txt\n", {"mine.txt": "notes"}),
    },
    "Prompts": {
        "`prompt_template: mini_r2`": value("prompt_template: mini_r2"),
        "a map with `sytem:`": value("prompt_template: {base: mini_r1, sytem: Think.}"),
        "a map without `{question}`": value("prompt_template: {base: mini_r1, user: 'Solve it.'}"),
        "a prefill that closes the thinking": value("prompt_template: {base: mini_r1, prefill: '<think></think>'}"),
        "a variable that the model's chat template lacks": value("chat_template_kwargs: {enable_thinkin: true}"),
    },
    "Data": {
        "no such file": (WORDS + "dataset_id_or_path: rows.jsonl\n", {}),
        "an empty file": data(""),
        "`.xlsx`": data("PK", name="rows.xlsx"),
        "a column is called otherwise": data(lines(*ROWS), "dataset_columns: null\n"),
        "`dataset_columns: {question: problm}`": data(lines(*ROWS), "dataset_columns: {question: problm}\n"),
        "`dataset_columns: {qestion: problem}`": data(lines(*ROWS), "dataset_columns: {qestion: problem}\n"),
        "a gold that is no number": data(lines(*ROWS, {"problem": "How old?", "solution": "#### old"})),
        "a gold that is missing": data(lines(*ROWS, {"problem": "How old?", "solution": None})),
        "a line cut in half": data(lines(*ROWS) + '{"problem": "Ho'),
        "a parquet file that is none": data("PAR", name="rows.parquet"),
        "a Git LFS pointer in place of the data": data(POINTER, name="rows.parquet"),
        "a folder without a file of the split": (
            WORDS + "dataset_id_or_path: mine\n", {"mine/other.jsonl": lines(*ROWS)},
        ),
        "the third of three shards is missing": (
            WORDS + "dataset_id_or_path: mine\n",
            {f"mine/train-0000{i}-of-00003.jsonl": lines(*ROWS) for i in (0, 1)},
        ),
        "one problem, and half of it to hold out": data(lines(ROWS[0])),
    },
    "Supervised data": {
        "two user turns in a row": supervised({"messages": [{"role": "user", "content": "Hi"}] * 2}),
        "a turn without content": supervised(
            {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "Hi"}]}
        ),
        "ShareGPT with a role `bot`": supervised({"conversations": [HUMAN, {"from": "bot", "value": "Hi"}]}),
        "rows of no known form": supervised({"text": "Once upon a time"}),
    },
    "Rewards": {
        "`equation_rewad`": value("reward_funcs: [format_reward, equation_rewad]"),
        "no such module": value("reward_funcs: [format_reward, my_lab.f]"),
        "no such function": reward("my_rewards.rases"),
        "it is no function": reward("my_rewards.LIMIT"),
        "it raises for an empty answer": reward("my_rewards.raises"),
        "it returns one too few": reward("my_rewards.one_less"),
        "it returns texts": reward("my_rewards.text"),
        "it returns NaN": reward("my_rewards.not_a_number"),
        "it returns infinity": reward("my_rewards.infinite"),
        "it returns None for the whole batch": reward("my_rewards.nothing"),
        "it wants a column that the task lacks": reward("my_rewards.wants_solution"),
        "it has no `**kwargs`": reward("my_rewards.takes_one_column"),
    },
    "Models": {
        "no such folder": value("model_name_or_path: runs/mine"),
        "a folder without weights": (CPU + "model_name_or_path: bare\n", {"bare/": ""}),
        "weights that are a Git LFS pointer": (
            CPU + "model_name_or_path: bare\n", {"bare/": "", "bare/model.safetensors": POINTER},
        ),
        "`config.json` is cut in half": (
            CPU + "model_name_or_path: bare\n", {"bare/": "model.safetensors", "bare/config.json": '{"model_type": '},
        ),
        "an adapter whose base is not there": (
            CPU + "model_name_or_path: lora\n",
            {"lora/adapter_config.json": '{"peft_type": "LORA", "base_model_name_or_path": "runs/base"}',
             "lora/adapter_model.safetensors": ""},
        ),
    },
}  # fmt: skip


# What is wrong with a server -> (flag, the server's script).
SERVERS: dict[str, tuple[str | None, Callable | None]] = {
    "nothing listens": ("http://127.0.0.1:9", None),
    "it is no url": ("my-server", None),
    "it serves no model": (None, lambda path, *_: (200, {"data": []}) if path.endswith("models") else None),
    "it wants a key": (None, lambda *_: (401, {"error": {"message": "no key"}})),
    "it has another tokenizer": (
        None,
        lambda path, body, _: (200, USAGE) if body and body["max_tokens"] == 1 else None,
    ),
    "it is no model server": (None, lambda *_: (200, b"<html>hello</html>")),
}
USAGE = {"choices": [{"index": 0, "text": "x", "finish_reason": "length"}], "usage": {"prompt_tokens": 99}}


@pytest.fixture
def place(tmp_path, monkeypatch, capsys, run_script, tiny_model_dir) -> Place:
    return Place(tmp_path, monkeypatch, capsys, run_script, tiny_model_dir)


def page_rows() -> dict[str, dict[str, str]]:
    """Table of the page -> what is wrong -> what is said."""
    tables: dict[str, dict[str, str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            tables[line.removeprefix("## ")] = {}
        elif found := re.fullmatch(r"\| (.*?) \| `` (.*) `` \|", line):
            tables[list(tables)[-1]][found[1]] = found[2].replace("\\|", "|")
    return tables


def test_the_page_has_these_mistakes_in_this_order():
    on_page = [(table, name) for table, rows in page_rows().items() for name in rows]
    every = {**MISTAKES, "Servers": SERVERS}
    assert on_page == [(table, name) for table, mistakes in every.items() for name in mistakes]


CASES = [pytest.param(table, name, id=f"{table}: {name}") for table, rows in MISTAKES.items() for name in rows]


@pytest.mark.parametrize(("table", "name"), CASES)
def test_a_mistake_is_said_as_on_the_page(table, name, place, monkeypatch):
    monkeypatch.delitem(sys.modules, "my_rewards", raising=False)  # of the mistake before
    recipe, files = MISTAKES[table][name]
    for file, text in files.items():
        path = place.folder / file
        if file.endswith("/"):  # a model folder without its weights, or with those that are named
            shutil.copytree(place.model, path, ignore=lambda _, names, keep=text: {"model.safetensors"} - {keep})
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (error,) = place.errors(recipe)
    assert error.replace(f"{place.folder}/", "").replace(str(place.folder), "FOLDER") == page_rows()[table].get(name)


@pytest.mark.parametrize("name", SERVERS)
def test_a_wrong_server_is_named_as_on_the_page(name, place, run_script, capsys, monkeypatch):
    hurry(monkeypatch)
    url, script = SERVERS[name]
    server = Scripted(script) if script else None
    with pytest.raises(SystemExit) as stopped:
        run_script("evaluate.py", "--config", place.write(CPU + "max_eval_rows: 2\n"), "--server", url or server.url)
    if server:
        server.end()
    assert stopped.value.code == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    said = error.removeprefix("error: ")
    assert (said.replace(server.url, "URL") if server else said) == page_rows()["Servers"].get(name)
