"""Which GPUs a run may use, from what nvidia-smi prints."""

import os
import stat

import pytest

from mini_r1.errors import RecipeError
from mini_r1.launch import hardware
from mini_r1.launch.hardware import select_visible, usable_gpus, visible_gpus

LISTING = """\
0, GPU-aa11, NVIDIA A100-SXM4-80GB, 81920, 0
1, GPU-ab22, NVIDIA A100-SXM4-80GB, 81920, 40960
2, GPU-cc33, NVIDIA A100-SXM4-80GB, 40960, 1024
"""


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["0", "1", "2"]),
        ("0,1,2", ["0", "1", "2"]),
        ("2,0", ["2", "0"]),
        (" 1 ", ["1"]),
        ("", []),
        ("-1", []),
        ("0,7,1", ["0"]),  # as in CUDA, what is not there ends the list
        ("GPU-cc33", ["2"]),
        ("GPU-cc,0", ["2", "0"]),
        ("GPU-a", []),  # could be either of two
        ("MIG-5,0", ["MIG-5", "0"]),
    ],
)
def test_what_is_visible(visible, expected):
    assert [gpu.index for gpu in select_visible(LISTING, visible)] == expected


def test_memory_in_gib():
    gpu = select_visible(LISTING, "1")[0]
    assert (gpu.name, gpu.total_gib, gpu.free_gib) == ("NVIDIA A100-SXM4-80GB", 80.0, 40.0)


def test_a_real_program_is_asked(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<END\n{LISTING}END\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert [gpu.index for gpu in visible_gpus({"CUDA_VISIBLE_DEVICES": "1,2"})] == ["1", "2"]
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert visible_gpus({}) == []


def test_how_many_are_used(monkeypatch):
    monkeypatch.setattr(hardware, "visible_gpus", lambda: select_visible(LISTING, None))
    assert len(usable_gpus(None, None, assume=False)) == 3
    assert [gpu.index for gpu in usable_gpus(2, None, assume=False)] == ["0", "1"]
    assert usable_gpus(0, None, assume=False) == []
    with pytest.raises(RecipeError, match="8 asked for, 3 visible here"):
        usable_gpus(8, None, assume=False)
    assumed = usable_gpus(8, 24.0, assume=True)
    assert [gpu.index for gpu in assumed] == list("01234567") and {gpu.total_gib for gpu in assumed} == {24.0}
    with pytest.raises(RecipeError, match="expected 0"):
        usable_gpus(-1, None, assume=True)
