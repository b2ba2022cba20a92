"""Every row of the real Countdown data that lies in ../shared/data: loads, is solved, is split by problem."""

from pathlib import Path

import pyarrow.parquet
import pytest

from mini_r1.arguments import RecipeArguments
from mini_r1.data import load_rows
from rewards import equation_reward
from tasks import countdown

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "countdown"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no shared data on this machine")
N_ROWS = {"train": 10_240, "test": 512}


@pytest.fixture(scope="module")
def splits() -> dict[str, list[dict]]:
    files = {split: FOLDER / f"{split}.parquet" for split in N_ROWS}
    return {
        split: [countdown.parse_row(raw) for raw in pyarrow.parquet.read_table(file).to_pylist()]
        for split, file in files.items()
    }


def test_every_row_is_read(splits):
    assert {split: len(rows) for split, rows in splits.items()} == N_ROWS
    assert {row["difficulty"] for rows in splits.values() for row in rows} == {3, 4}


def test_the_solver_is_right_on_every_row(splits):
    rows = [*splits["train"], *splits["test"]]
    completions = [f"<think>solved</think><answer>{countdown.gold_answer(row)}</answer>" for row in rows]
    columns = {name: [row[name] for row in rows] for name in ("nums", "target")}
    scores = equation_reward(completions=completions, **columns)
    assert [row for row, score in zip(rows, scores, strict=True) if score != 1.0] == []


@pytest.mark.parametrize("test_split", ["test", None])
def test_load_rows_never_shares_a_problem(splits, test_split):
    args = RecipeArguments(task="countdown", dataset_id_or_path=str(FOLDER), dataset_test_split=test_split)
    rows = load_rows(args, countdown)
    train, test = ({countdown.key(row) for row in part} for part in (rows.train, rows.test))
    assert not train & test
    assert (len(train), len(test)) == (len(rows.train), len(rows.test))  # no problem twice in one of them, either

    keys = {split: {countdown.key(row) for row in part} for split, part in splits.items()}
    if test_split:  # what stands in both files is held out
        total, expected = sum(N_ROWS.values()), keys["train"] | keys["test"]
        assert test == keys["test"]
    else:
        total, expected = N_ROWS["train"], keys["train"]
        assert len(test) / len(expected) == pytest.approx(args.test_fraction, abs=0.01)
    assert train | test == expected
    assert rows.duplicates == total - len(expected)
    assert rows.bad == 0
