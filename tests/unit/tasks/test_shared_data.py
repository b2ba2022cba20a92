"""Every row of the real data that lies in ../shared/data: loads, its gold scores 1.0, is split by problem."""

import ast
from collections import Counter

import pyarrow.parquet
import pytest
from repository import ROOT

from mini_r1 import tasks
from mini_r1.config.arguments import RecipeArguments
from mini_r1.data.problems import load_rows
from mini_r1.data.reward_loader import load_rewards
from mini_r1.tasks.knights_knaves import HUB_SHARES

FOLDER = ROOT.parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no shared data on this machine")
SETS = [  # task, folder, rows in each split
    ("countdown", "countdown", {"train": 10_240, "test": 512}),
    ("gsm8k", "gsm8k", {"train": 7_473, "test": 660}),
    ("knights_knaves", "knights_and_knaves/3ppl", {"train": 900, "test": 100}),
    ("knights_knaves", "knights_and_knaves/4ppl", {"train": 900}),
    ("knights_knaves", "knights_and_knaves/5ppl", {"train": 900, "test": 100}),
    ("knights_knaves", "knights_and_knaves/7ppl", {"train": 900, "test": 100}),
]
DIFFICULTIES = {"countdown": {3, 4}, "gsm8k": set(range(1, 10)), "knights_knaves": {3, 4, 5, 7}}


@pytest.fixture(scope="module", params=SETS, ids=lambda one: one[1])
def real(request):
    """(task name, folder, rows by split)."""
    name, folder, _ = request.param
    parse = tasks.get(name).parse_row
    files = sorted((FOLDER / folder).glob("*.parquet"))
    splits = {file.stem: list(map(parse, pyarrow.parquet.read_table(file).to_pylist())) for file in files}
    return name, FOLDER / folder, splits


def test_every_row_is_read(real):
    name, folder, splits = real
    assert {split: len(rows) for split, rows in splits.items()} == next(n for _, f, n in SETS if folder == FOLDER / f)
    assert {row["difficulty"] for rows in splits.values() for row in rows} <= DIFFICULTIES[name]


def test_every_gold_written_as_an_answer_is_right(real):
    name, _, splits = real
    task = tasks.get(name)
    rows = [row for part in splits.values() for row in part]
    (reward,) = load_rewards([task.REWARD], task_module=task)
    completions = [f"<think>solved</think><answer>{task.gold_answer(row)}</answer>" for row in rows]
    scores = reward(completions=completions, **{column: [row[column] for row in rows] for column in rows[0]})
    assert [row for row, score in zip(rows, scores, strict=True) if score != 1.0] == []


def test_load_rows_never_shares_a_problem(real):
    name, folder, splits = real
    task = tasks.get(name)
    for test_split in ("test", None) if "test" in splits else (None,):
        args = RecipeArguments(task=name, dataset_id_or_path=str(folder), dataset_test_split=test_split)
        rows = load_rows(args, task)
        train, test = ({task.key(row) for row in part} for part in (rows.train, rows.test))
        assert not train & test
        assert (len(train), len(test)) == (len(rows.train), len(rows.test))  # no problem twice in one of them, either

        keys = {split: {task.key(row) for row in part} for split, part in splits.items()}
        if test_split:  # what stands in both files is held out
            total, expected = sum(map(len, splits.values())), keys["train"] | keys["test"]
            assert test == keys["test"]
        else:
            total, expected = len(splits["train"]), keys["train"]
            assert len(test) / len(expected) == pytest.approx(args.test_fraction, abs=0.03)
        assert train | test == expected
        assert rows.duplicates == total - len(expected)
        assert rows.bad == 0


def test_the_mix_of_statements_that_the_generator_aims_at():
    """The figures in tasks/knights_knaves.py and the docs are those of the real rows."""
    heads = Counter()
    for file in FOLDER.glob("knights_and_knaves/*/*.parquet"):
        for text in pyarrow.parquet.read_table(file, columns=["statements"])["statements"].to_pylist():
            heads.update(statement[0] for statement in ast.literal_eval(text))
    assert heads.total() == 18_600
    assert {head: round(n / heads.total(), 3) for head, n in heads.items()} == HUB_SHARES
