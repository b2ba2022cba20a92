"""A checkpoint counts only if it is whole; one that was cut off while saving is passed over and set aside."""

import json
from pathlib import Path

import pytest

from mini_r1.errors import RecipeError
from mini_r1.run.checkpoints import MARK, checkpoints, find_checkpoint, mark, read_mark, step_of


def save(folder: Path, step: int, seconds: float | None = None) -> Path:
    """A checkpoint folder as the trainer leaves it; without `seconds` it is not marked."""
    checkpoint = folder / f"checkpoint-{step}"
    (checkpoint / "global_step" / "rank0").mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"x" * 100)
    (checkpoint / "global_step" / "rank0" / "optimizer.pt").write_bytes(b"y" * 50)
    (checkpoint / "empty.json").write_text("")
    if seconds is not None:
        mark(checkpoint, seconds)
    return checkpoint


def no_message(message: str) -> None:
    raise AssertionError(message)


def test_mark_and_read(tmp_path):
    checkpoint = save(tmp_path, 5)
    assert read_mark(checkpoint) is None
    mark(checkpoint, 12.5)
    files = {"empty.json": 0, "global_step/rank0/optimizer.pt": 50, "model.safetensors": 100}
    assert read_mark(checkpoint) == {"files": files, "seconds": 12.5}
    assert [file.name for file in checkpoint.glob("whole*")] == [MARK]


def truncate(checkpoint):
    (checkpoint / "model.safetensors").write_bytes(b"x" * 99)


def grow(checkpoint):
    (checkpoint / "empty.json").write_text("{}")


def lose_nested(checkpoint):
    (checkpoint / "global_step" / "rank0" / "optimizer.pt").unlink()


def become_folder(checkpoint):
    (checkpoint / "empty.json").unlink()
    (checkpoint / "empty.json").mkdir()


def lose_mark(checkpoint):
    (checkpoint / MARK).unlink()


def half_mark(checkpoint):
    (checkpoint / MARK).write_text((checkpoint / MARK).read_text()[:40])


DAMAGE = [truncate, grow, lose_nested, become_folder, lose_mark, half_mark]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_torn_checkpoint_is_not_whole(tmp_path, damage):
    checkpoint = save(tmp_path, 5, seconds=1.0)
    damage(checkpoint)
    assert read_mark(checkpoint) is None


def test_a_file_added_later_does_no_harm(tmp_path):
    checkpoint = save(tmp_path, 5, seconds=1.0)
    (checkpoint / "notes.txt").write_text("looked at it")
    assert read_mark(checkpoint)["seconds"] == 1.0


def test_a_checkpoint_saved_again_over_the_old_one_is_whole(tmp_path):
    checkpoint = save(tmp_path, 5, seconds=1.0)
    (checkpoint / "model.safetensors").write_bytes(b"x" * 200)
    (checkpoint / f"{MARK}.tmp").write_text("left by a process that was killed while marking")
    mark(checkpoint, 123456.789)
    found = read_mark(checkpoint)
    assert found["seconds"] == 123456.789
    assert set(found["files"]) == {"empty.json", "global_step/rank0/optimizer.pt", "model.safetensors"}


def test_nothing_to_resume_from(tmp_path):
    assert find_checkpoint(tmp_path / "new", None, no_message) == (None, 0.0)
    assert find_checkpoint(tmp_path, None, no_message) == (None, 0.0)
    (tmp_path / "recipe.yaml").write_text("seed: 1")
    (tmp_path / "checkpoints").mkdir()
    assert find_checkpoint(tmp_path, None, no_message) == (None, 0.0)
    with pytest.raises(RecipeError, match=f"^resume_from_checkpoint: {tmp_path} has no whole checkpoint"):
        find_checkpoint(tmp_path, "true", no_message)


@pytest.mark.parametrize("wanted", [None, "true", "True"])
def test_the_last_whole_one_by_number(tmp_path, wanted):
    for step in (9, 100, 20):
        save(tmp_path, step, seconds=float(step))
    assert find_checkpoint(str(tmp_path), wanted, no_message) == (str(tmp_path / "checkpoint-100"), 100.0)


def test_a_copy_with_another_name_is_no_checkpoint(tmp_path):
    for step in (9, 20):
        save(tmp_path, step, seconds=float(step))
    (tmp_path / "checkpoint-20").rename(tmp_path / "checkpoint-20-bad")
    assert find_checkpoint(tmp_path, None, no_message) == (str(tmp_path / "checkpoint-9"), 9.0)
    assert [step_of(each) for each in checkpoints(tmp_path)] == [9]
    assert (tmp_path / "checkpoint-20-bad").is_dir()


@pytest.mark.parametrize("wanted", ["false", "False"])
def test_false_starts_anew_and_touches_nothing(tmp_path, wanted):
    save(tmp_path, 5, seconds=1.0)
    save(tmp_path, 6)
    assert find_checkpoint(tmp_path, wanted, no_message) == (None, 0.0)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["checkpoint-5", "checkpoint-6"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_torn_one_is_set_aside_with_a_message(tmp_path, damage):
    for step in (5, 10, 15):
        save(tmp_path, step, seconds=float(step))
    damage(tmp_path / "checkpoint-15")
    said = []
    assert find_checkpoint(tmp_path, None, said.append) == (str(tmp_path / "checkpoint-10"), 10.0)
    (message,) = said
    assert message.startswith(f"{tmp_path / 'checkpoint-15'} is torn")
    assert "torn-checkpoint-15" in message
    names = ["checkpoint-10", "checkpoint-5", "torn-checkpoint-15"]
    assert sorted(folder.name for folder in tmp_path.iterdir()) == names
    assert (tmp_path / "torn-checkpoint-15" / "global_step").is_dir()  # kept, not deleted
    assert find_checkpoint(tmp_path, None, no_message)[1] == 10.0  # said once


def test_several_torn_ones_and_one_set_aside_before(tmp_path):
    save(tmp_path, 5, seconds=5.0)
    for step in (10, 15):
        save(tmp_path, step)
    (tmp_path / "torn-checkpoint-15").mkdir()
    (tmp_path / "torn-checkpoint-15" / "old").write_text("of an earlier attempt")
    said = []
    assert find_checkpoint(tmp_path, None, said.append) == (str(tmp_path / "checkpoint-5"), 5.0)
    assert [message.partition(" is torn")[0] for message in said] == [
        str(tmp_path / f"checkpoint-{step}") for step in (15, 10)
    ]
    assert (tmp_path / "torn-checkpoint-15" / "model.safetensors").exists()
    assert not (tmp_path / "torn-checkpoint-15" / "old").exists()


def test_only_torn_ones(tmp_path):
    save(tmp_path, 5)
    said = []
    assert find_checkpoint(tmp_path, None, said.append) == (None, 0.0)
    assert len(said) == 1
    with pytest.raises(RecipeError, match="has no whole checkpoint"):
        find_checkpoint(tmp_path, "true", said.append)


def test_a_checkpoint_named_in_the_recipe(tmp_path):
    older, newer = save(tmp_path, 5, seconds=5.0), save(tmp_path, 10, seconds=10.0)
    assert find_checkpoint(tmp_path, str(older), no_message) == (str(older), 5.0)
    assert find_checkpoint(tmp_path, f"{older}/", no_message) == (str(older), 5.0)
    assert find_checkpoint(tmp_path / "elsewhere", str(newer), no_message) == (str(newer), 10.0)
    truncate(newer)
    for wanted in (newer, tmp_path / "checkpoint-7", tmp_path / "checkpoint-5" / MARK):
        with pytest.raises(RecipeError) as error:
            find_checkpoint(tmp_path, str(wanted), no_message)
        assert error.value.key == "resume_from_checkpoint"
        assert str(wanted) in str(error.value)
        assert "leave it out to take the last whole one" in str(error.value)
    assert newer.is_dir()  # a checkpoint that was asked for by name is not moved


def test_the_mark_is_json_that_other_tools_can_read(tmp_path):
    assert json.loads((save(tmp_path, 5, seconds=2.0) / MARK).read_text())["seconds"] == 2.0
