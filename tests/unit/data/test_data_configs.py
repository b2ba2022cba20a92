"""Configurations and splits of a dataset in the hub's layout, read from a local clone: no download."""

import json
from pathlib import Path

import pytest

from mini_r1.config.arguments import RecipeArguments
from mini_r1.data.problems import load_rows
from mini_r1.errors import RecipeError
from mini_r1.tasks import knights_knaves

# As in the README.md of K-and-K/knights-and-knaves: configurations train and test, one split for each number of people.
README = """---
configs:
- config_name: train
  data_files:
  - {split: 2ppl, path: train/people2.jsonl}
  - {split: 3ppl, path: train/people3.jsonl}
- config_name: test
  data_files:
  - {split: 2ppl, path: test/people2.jsonl}
---
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hub") / "knights-and-knaves"
    rows = {count: knights_knaves.generate(30, 0, count=[count]) for count in (2, 3)}
    files = {"train/people2": rows[2][:20], "train/people3": rows[3], "test/people2": rows[2][18:]}
    for name, values in files.items():
        file = folder / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in values), encoding="utf-8")
    (folder / "README.md").write_text(README, encoding="utf-8")
    return folder


def load(clone: Path, **settings):
    args = RecipeArguments(task="knights_knaves", dataset_id_or_path=str(clone), dataset_config="train", **settings)
    return load_rows(args, knights_knaves)


def test_a_split_of_a_configuration(clone):
    rows = load(clone, dataset_train_split="3ppl", test_fraction=0.0)
    assert len(rows.train) == 30 and not rows.test
    assert {row["difficulty"] for row in rows.train} == {3}


def test_several_splits_at_once(clone):
    rows = load(clone, dataset_train_split="2ppl+3ppl", test_fraction=0.0)
    assert len(rows.train) == 50


def test_the_test_split_of_another_configuration(clone):
    rows = load(clone, dataset_train_split="2ppl", dataset_test_split="2ppl", dataset_test_config="test")
    assert (len(rows.train), len(rows.test), rows.duplicates) == (18, 12, 2)  # two puzzles are in both: held out


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"dataset_train_split": "9ppl"}, "9ppl"),
        ({"dataset_train_split": "2ppl", "dataset_test_split": "2ppl", "dataset_test_config": "tset"}, "tset"),
    ],
)
def test_what_is_not_there_is_named(clone, settings, expected):
    with pytest.raises(RecipeError, match="cannot be loaded") as error:
        load(clone, **settings)
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_a_broken_file_is_told_in_one_line(tmp_path):
    (tmp_path / "README.md").write_text(README.replace("people2", "broken").replace("people3", "broken"))
    for config in ("train", "test"):
        (tmp_path / config).mkdir()
        (tmp_path / config / "broken.jsonl").write_text('{"quiz": "a"}\n{"quiz": \n', encoding="utf-8")
    with pytest.raises(RecipeError, match="cannot be loaded") as error:
        load(tmp_path, dataset_train_split="2ppl")
    assert "\n" not in str(error.value)


def test_a_plain_folder_has_no_configurations(clone):
    rows = load(clone / "train", dataset_train_split="people3", test_fraction=0.0)
    assert len(rows.train) == 30
