"""Rows: read from files or generated, checked, freed of duplicates, split by the problem alone, rendered."""

import json
import random

import pyarrow
import pyarrow.parquet
import pytest

from mini_r1.config.arguments import RecipeArguments
from mini_r1.data.mixture import Part
from mini_r1.data.problems import load_rows, to_datasets
from mini_r1.data.prompts import get_template, prompt_ids
from mini_r1.errors import RecipeError
from mini_r1.tasks import countdown


def arguments(path=None, **others) -> RecipeArguments:
    return RecipeArguments(task="countdown", dataset_id_or_path=None if path is None else str(path), **others)


def write(path, rows: list[dict]):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "\n")
    return path


def problems(n: int, seed: int = 0) -> list[dict]:
    return [{"nums": row["nums"], "target": row["target"]} for row in countdown.generate(n, seed)]


def keys(rows: list[dict]) -> list[str]:
    return [countdown.key(row) for row in rows]


def split_of(args: RecipeArguments) -> dict[str, str]:
    rows = load_rows(args, countdown)
    return dict.fromkeys(keys(rows.train), "train") | dict.fromkeys(keys(rows.test), "test")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json"])
def test_one_file(tmp_path, suffix):
    raw = problems(50)
    path = write(tmp_path / f"rows{suffix}", raw)
    rows = load_rows(arguments(path, test_fraction=0.2), countdown)
    assert sorted(keys(rows.train + rows.test)) == sorted(keys(raw))
    assert rows.train[0].keys() == {"nums", "target", "difficulty"}
    assert all(type(n) is int for row in rows.train for n in row["nums"])
    assert 0 < len(rows.test) < 25
    said = f"{len(rows.train)} training and {len(rows.test)} held-out problems from {path}"
    assert (rows.duplicates, rows.bad, rows.describe()) == (0, 0, said)


def test_folder_with_files_of_both_kinds_below_it(tmp_path):
    raw = problems(60)
    write(tmp_path / "d" / "train-00000-of-00002.parquet", raw[:20])
    write(tmp_path / "d" / "more" / "train-00001-of-00002.jsonl", raw[20:40])
    write(tmp_path / "d" / "test.jsonl", raw[40:])
    write(tmp_path / "d" / "validation.parquet", problems(5, seed=9))
    (tmp_path / "d" / "train.md").write_text("no data")
    rows = load_rows(arguments(tmp_path / "d", dataset_test_split="test"), countdown)
    assert sorted(keys(rows.train)) == sorted(keys(raw[:40]))
    assert keys(rows.test) == keys(raw[40:])
    without = load_rows(arguments(tmp_path / "d"), countdown)
    assert sorted(keys(without.train + without.test)) == sorted(keys(raw[:40]))
    other = load_rows(arguments(tmp_path / "d", dataset_train_split="validation", test_fraction=0.0), countdown)
    assert (len(other.train), len(other.test)) == (5, 0)


@pytest.mark.parametrize(
    ("files", "path", "others", "key", "expected"),
    [
        ({}, "none.parquet", {}, "dataset_id_or_path", "there is no file or folder {}/none.parquet; paths start at"),
        ({}, "no/such/folder", {}, "dataset_id_or_path", "there is no file or folder {}/no/such/folder"),
        (
            {"rows.txt": "nums"},
            "rows.txt",
            {},
            "dataset_id_or_path",
            "rows.txt is none of .parquet, .jsonl, .json, .csv",
        ),
        (
            {"validation.jsonl": "", "notes.md": ""},
            "",
            {},
            "dataset_id_or_path",
            "has no .parquet, .jsonl, .json, .csv file whose name begins with 'train'; there is validation.jsonl",
        ),
        ({"x.md": ""}, "", {}, "dataset_id_or_path", "begins with 'train'; there is nothing of the kind"),
        (
            {"train.jsonl": '{"nums": [1, 2], "target": 3}\n'},
            "",
            {"dataset_test_split": "test"},
            "dataset_id_or_path",
            "whose name begins with 'test'; there is train.jsonl",
        ),
        (
            {"rows.jsonl": '{"nums": [1, 2], "target": 3}\n'},
            "rows.jsonl",
            {"dataset_test_split": "test"},
            "dataset_test_split",
            "rows.jsonl is one file and has no split 'test'",
        ),
        ({"rows.jsonl": ""}, "rows.jsonl", {}, "dataset_id_or_path", "no training rows are left of {}/rows.jsonl"),
        (
            {"rows.jsonl": '{"nums": [1, 2], "target": 3}\n\n{"nums": [1, 2\n'},
            "rows.jsonl",
            {},
            "dataset_id_or_path",
            "rows.jsonl cannot be read: line 3, column 15:",
        ),
        ({"rows.jsonl": "[1]\n"}, "rows.jsonl", {}, "dataset_id_or_path", "row 0 of {}/rows.jsonl is no map"),
        ({"rows.parquet": "text"}, "rows.parquet", {}, "dataset_id_or_path", "rows.parquet cannot be read: Parquet"),
    ],
)
def test_datasets_that_cannot_be_read(tmp_path, files, path, others, key, expected):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError) as error:
        load_rows(arguments(tmp_path / path, **others), countdown)
    assert error.value.key == key
    assert expected.format(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_hub_dataset_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    with pytest.raises(
        RecipeError, match=r"^dataset_id_or_path: nobody/nothing is no folder here and cannot be"
    ) as error:
        load_rows(arguments("nobody/nothing"), countdown)
    assert "\n" not in str(error.value)


GOOD = {"nums": [1, 2], "target": 3}


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({"target": 3}, "column 'nums' is missing"),
        ({"nums": [1, 2]}, "column 'target' is missing"),
        ({"nums": "1 2", "target": 3}, "column 'nums' must be"),
        ({"nums": [1, 2], "target": "3"}, "column 'target' must be an integer, not '3'"),
        ({"nums": [1, 2.5], "target": 3}, "column 'nums' must be"),  # the other rows stay integers
        ({"nums": [1, 2], "target": None}, "column 'target' must be an integer, not None"),
    ],
)
def test_a_bad_row_is_named_or_skipped(tmp_path, suffix, bad, expected):
    raw = [GOOD, *problems(3), bad, *problems(2, seed=5), bad]
    path = write(tmp_path / f"rows{suffix}", raw)
    with pytest.raises(RecipeError) as error:
        load_rows(arguments(path, test_fraction=0.0), countdown)
    assert str(error.value).startswith(f"dataset_id_or_path: row 4 of {path} (split train): {expected}")
    assert str(error.value).endswith("; mend it or set skip_bad_rows: true")
    rows = load_rows(arguments(path, test_fraction=0.0, skip_bad_rows=True), countdown)
    assert (len(rows.train), rows.bad) == (6, 2)
    assert rows.describe().endswith(", 2 bad rows skipped")


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("target", ["3", "4"], "column 'target' must be an integer, not '3'"),
        ("target", [3.5, 4.0], "column 'target' must be an integer, not 3.5"),
        ("numbers", [3, 4], "column 'target' is missing"),
    ],
)
def test_a_parquet_column_of_another_type(tmp_path, column, values, expected):
    path = write(tmp_path / "rows.parquet", [{"nums": [1, 2], column: value} for value in values])
    with pytest.raises(RecipeError, match=f"^dataset_id_or_path: row 0 of .*: {expected}"):
        load_rows(arguments(path), countdown)


def test_the_split_depends_on_the_problem_alone(tmp_path):
    raw = problems(400)
    before = split_of(arguments(write(tmp_path / "rows.jsonl", raw)))
    assert 20 <= list(before.values()).count("test") <= 60
    rng = random.Random(3)
    shuffled = [{"nums": rng.sample(row["nums"], len(row["nums"])), "target": row["target"]} for row in raw + raw[:50]]
    rng.shuffle(shuffled)
    assert split_of(arguments(write(tmp_path / "shuffled.parquet", shuffled))) == before
    half = split_of(arguments(write(tmp_path / "half.jsonl", raw[::2])))
    assert half == {key: before[key] for key in keys(raw[::2])}
    limited = split_of(arguments(tmp_path / "rows.jsonl", max_train_rows=100, max_eval_rows=10))
    assert len(limited) == 110
    assert split_of(arguments(tmp_path / "shuffled.parquet", max_train_rows=100, max_eval_rows=10)) == limited
    assert limited.items() <= before.items()
    more_held_out = split_of(arguments(tmp_path / "rows.jsonl", test_fraction=0.3))
    assert all(more_held_out[key] == "test" for key, split in before.items() if split == "test")


def test_generated_problems_are_split_alike_whatever_the_order_they_come_in():
    few = split_of(arguments(task_args={"n": 200, "seed": 0}))
    many = split_of(arguments(task_args={"n": 400, "seed": 0}))
    assert few.items() <= many.items()
    assert "test" in few.values()


def test_a_task_may_reserve_problems_for_the_test_split(tmp_path, monkeypatch):
    raw = problems(200)
    by_key = load_rows(arguments(write(tmp_path / "train.jsonl", raw)), countdown)
    monkeypatch.setattr(countdown, "held_out", lambda row: row["difficulty"] == 4 or None, raising=False)
    rows = load_rows(arguments(tmp_path / "train.jsonl"), countdown)
    assert rows.train == [row for row in by_key.train if row["difficulty"] != 4]
    assert 0 < len(by_key.test) < len(rows.test) < 200 == len(rows.train + rows.test)
    write(tmp_path / "test.jsonl", problems(10, seed=1))
    rows = load_rows(arguments(tmp_path, dataset_test_split="test"), countdown)
    assert {row["difficulty"] for row in rows.train} == {3}  # not trained on beside a test split, either
    assert len(rows.train) + len(rows.test) + rows.duplicates == 210


def test_duplicates(tmp_path):
    train, test = problems(30), problems(10, seed=1)
    turned = {"nums": test[0]["nums"][::-1], "target": test[0]["target"]}
    write(tmp_path / "train.jsonl", [*train, train[0], turned, test[1]])
    write(tmp_path / "test.jsonl", [*test, test[2]])
    rows = load_rows(arguments(tmp_path, dataset_test_split="test"), countdown)
    assert keys(rows.train) == keys(train)
    assert keys(rows.test) == keys(test)  # what is in both files is held out
    assert rows.duplicates == 4
    assert rows.describe().endswith(", 4 duplicates removed")


@pytest.mark.parametrize(("train", "test"), [(7, 3), (1, None), (None, 1), (10_000, 0)])
def test_max_rows(tmp_path, train, test):
    path = write(tmp_path / "rows.jsonl", problems(100))
    every = load_rows(arguments(path), countdown)
    some = load_rows(arguments(path, max_train_rows=train, max_eval_rows=test), countdown)
    for limit, chosen, available in ((train, some.train, every.train), (test, some.test, every.test)):
        assert len(chosen) == (len(available) if limit is None else min(limit, len(available)))
        assert chosen == [row for row in available if row in chosen]  # in their order


def test_difficulty(tmp_path):
    path = write(tmp_path / "rows.jsonl", problems(100))
    every = load_rows(arguments(path), countdown)
    assert {row["difficulty"] for row in every.train} == {3, 4}
    for kept in ([3], [4], [3, 4]):
        rows = load_rows(arguments(path, difficulty=kept), countdown)
        assert rows.train == [row for row in every.train if row["difficulty"] in kept]
        assert rows.test == [row for row in every.test if row["difficulty"] in kept]
    with pytest.raises(RecipeError, match="no training rows are left"):
        load_rows(arguments(path, difficulty=[9]), countdown)


def test_task_args(tmp_path):
    rows = load_rows(arguments(task_args={"n": 30, "count": [2], "numbers": [1, 9]}, test_fraction=0.0), countdown)
    assert rows.source == "the countdown generator"
    assert {row["difficulty"] for row in rows.train} == {2}
    assert len(rows.train) == 30


@pytest.mark.parametrize(
    ("task_args", "expected"),
    [
        (
            {"max_number": 9},
            "'max_number' is no setting of this generator; it knows n, seed, count, numbers, operators",
        ),
        ({"n": 50, "count": [2], "numbers": [1, 2]}, "these settings allow only about"),
        ({"operators": "+x"}, "operators must be some of"),
        ({"count": 3}, "not iterable"),
        ({"n": "many"}, "not supported"),
    ],
)
def test_bad_task_args(task_args, expected):
    with pytest.raises(RecipeError) as error:
        load_rows(arguments(task_args=task_args), countdown)
    assert error.value.key == "task_args"
    assert expected in str(error.value)


def dataset(rows, args, tokenizer):
    return to_datasets([Part("countdown", countdown, get_template("mini_r1"), args)], [rows], tokenizer)


def test_prompts_that_are_too_long_are_dropped(tiny_tokenizer):
    rows = countdown.generate(60, 0, count=[2, 3, 4, 5])
    whole, dropped, longest = dataset(rows, arguments(), tiny_tokenizer)
    lengths = [len(prompt_ids(prompt, tiny_tokenizer)) for prompt in whole["prompt"]]
    assert (len(whole), dropped, longest) == (60, 0, max(lengths))
    assert set(whole.column_names) == {"prompt", "prefill", "nums", "target", "difficulty"}
    assert whole[7] | rows[7] == whole[7]
    assert set(whole["prefill"]) == {"<think>"}
    assert all(prompt.endswith("<think>") for prompt in whole["prompt"])

    limit = sorted(set(lengths))[1]
    assert min(lengths) < limit < max(lengths)
    some, dropped, longest = dataset(rows, arguments(max_prompt_tokens=limit), tiny_tokenizer)
    assert some["prompt"] == [p for p, length in zip(whole["prompt"], lengths, strict=True) if length <= limit]
    assert dropped == 60 - len(some) > 0
    assert longest == limit  # a prompt of exactly as many tokens is kept

    with pytest.raises(RecipeError, match=r"^max_prompt_tokens: all 60 prompts are longer than 3 tokens; raise it"):
        dataset(rows, arguments(max_prompt_tokens=3), tiny_tokenizer)
