"""The summary of an evaluation's completions, their table, and the comparison of two."""

import pyarrow.parquet as pq
import pytest

from mini_r1.errors import RecipeError
from mini_r1.evaluation.records import SCHEMA, compare, summarise, write_records


def record(problem: int, sample: int, right: bool | None, tokens: int = 10, **changes) -> dict:
    values = {"problem": problem, "sample": sample, "difficulty": 3, "prompt": f"p{problem}", "prefill": "<think>"}
    values |= {"completion": "c", "right": right, "well_formed": True, "tokens": tokens, "cut_off": False}
    values |= {"language": 1.0}
    return {**values, "vote": "right" if right else "wrong", "row": f'{{"nums": [{problem}]}}', **changes}


def test_summary():
    found = summarise(
        [
            record(0, 0, True, 10),
            record(0, 1, False, 20, well_formed=False, vote=None, language=0.0),
            record(1, 0, True, 30, difficulty=4, language=0.5),
            record(1, 1, True, 40, difficulty=4, well_formed=False),
            record(2, 0, False, 60, difficulty=4, cut_off=True, well_formed=False, vote=None),
            record(2, 1, False, 20, difficulty=4),
        ]
    )
    assert (found["n"], found["samples"]) == (3, 2)
    assert found["pass@1"] == pytest.approx(0.5)
    assert found["pass@2"] == pytest.approx(2 / 3)
    assert found["maj@2"] == pytest.approx(2 / 3), "the first problem's other sample has no vote"
    assert found["format"] == pytest.approx(0.5)
    assert found["right_given_format"] == pytest.approx(2 / 3)
    assert found["cut_off"] == pytest.approx(1 / 6)
    assert found["mean_length"] == pytest.approx(30)
    assert found["language"] == pytest.approx(0.75) and found["by_difficulty"]["3"]["language"] == pytest.approx(0.5)
    assert found["lengths"] == {
        "right": {"mean": pytest.approx(80 / 3), "min": 10, "max": 40, "n": 3},
        "wrong": {"mean": 20, "min": 20, "max": 20, "n": 2},
        "cut_off": {"mean": 60, "min": 60, "max": 60, "n": 1},
    }
    assert list(found["by_difficulty"]) == ["3", "4"]
    assert found["by_difficulty"]["4"]["pass@1"] == pytest.approx(0.5)
    for name, (low, high) in found["intervals"].items():
        assert low <= found[name] <= high, name


def test_problems_without_a_usable_gold_count_nowhere():
    found = summarise([record(0, 0, True), record(1, 0, None), record(2, 0, False)])
    assert (found["n"], found["pass@1"], found["ungraded"]) == (2, 0.5, 1)


def test_without_any_usable_gold_there_is_nothing_to_say():
    with pytest.raises(RecipeError, match="no held-out problem has a gold that can be used"):
        summarise([record(0, 0, None)])


def test_one_sample_has_no_pass_at_k_beyond_1_and_no_majority():
    found = summarise([record(0, 0, True), record(1, 0, False)])
    assert not [name for name in found if name.startswith(("pass@", "maj@")) and name != "pass@1"]


def test_pass_at_every_power_of_two_up_to_all_samples():
    found = summarise([record(0, sample, sample < 3) for sample in range(12)])
    assert [name for name in found if name.startswith("pass@")] == ["pass@1", "pass@2", "pass@4", "pass@8", "pass@12"]


def test_records_come_back_as_they_were(tmp_path):
    records = [record(0, 0, True), record(1, 0, None, vote=None)]
    write_records(tmp_path, "after", records)
    table = pq.read_table(tmp_path / "evaluation" / "after.parquet")
    assert table.to_pylist() == records
    assert table.schema == SCHEMA


def write(folder, right: list[list[bool]], first: int = 0) -> None:
    """An evaluation of so many problems; difficulty 3 for the first half, 4 for the second."""
    records = [
        record(number, sample, value, difficulty=3 + (2 * number >= len(right)), prompt=f"p{first + number}")
        for number, outcomes in enumerate(right)
        for sample, value in enumerate(outcomes)
    ]
    write_records(folder, "after", records)


def test_compare_pairs_problems_by_what_is_asked(tmp_path):
    """The second model was asked problems 1 to 4, the first 0 to 3: three are in both."""
    write(tmp_path / "a", [[True, True], [False, False], [False, True], [True, True]])
    write(tmp_path / "b", [[True, True], [True, True], [True, True], [False, False]], first=1)
    text = compare([tmp_path / "a", tmp_path / "b" / "evaluation" / "after.parquet"])
    assert "n     3   0.500 -> 1.000   +0.500" in text
    assert "2 problems were asked of one alone" in text


def test_compare_says_what_it_needs(tmp_path):
    write(tmp_path / "a", [[True]])
    write(tmp_path / "b", [[True]], first=7)
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    for sources, message in (
        (["a"], "takes two runs"),
        (["a", "nothing"], "there is no"),
        (["a", "b"], "have no problem in common"),
        (["a", "torn.parquet"], "is no file of evaluation/"),
    ):
        with pytest.raises(RecipeError, match=message):
            compare([tmp_path / name for name in sources])
