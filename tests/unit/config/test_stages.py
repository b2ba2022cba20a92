"""What is noticed when scripts were launched otherwise than meant."""

import pytest

from mini_r1.config import kinds
from mini_r1.errors import RecipeError


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 1),
        ({"WORLD_SIZE": "7", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_MIXED_PRECISION": "bf16"}, 7),
        ({"MASTER_ADDR": "10.0.0.1"}, 1),  # set by a cluster, not by a launcher
        ({"ACCELERATE_MIXED_PRECISION": "no"}, 1),  # accelerate launch with one process
    ],
)
def test_processes(monkeypatch, environment, expected):
    for name in ("WORLD_SIZE", "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert kinds.processes() == expected


def test_several_processes_asked_for_and_one_started(monkeypatch):
    """`accelerate launch --num_processes 2` on a CPU without a configuration file starts one, and says nothing."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    with pytest.raises(RecipeError, match="started one process"):
        kinds.processes()
