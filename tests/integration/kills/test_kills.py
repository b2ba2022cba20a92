"""A whole pipeline, killed with kill -9 at many random moments, ends as one that was left alone: `make test-kills`.

PIPELINE=NAME chooses the pipeline, KILLS how often it is killed (20), KILL_SEED the moments,
SEED the runs' own. DONE="runs/a runs/b" are stages that have been run here before, and are not to be run again: with
those of r1-tiny, tests/integration/kills/r1-tiny-short.yaml has all its other stages, in minutes:

make test-kills PIPELINE=tests/integration/kills/r1-tiny-short.yaml SEED=1 \\
    DONE="runs/r1-tiny-base-s1 runs/r1-tiny-pretrained-sft-s1"
"""

import os
import shutil

import pytest
from killed import Home, run_killed, run_straight
from repository import ROOT

pytestmark = pytest.mark.kills


def test_a_killed_pipeline_ends_like_one_left_alone(tmp_path):
    pipeline = os.environ.get("PIPELINE", "logic-rl-tiny")
    kills, seed = int(os.environ.get("KILLS", "20")), int(os.environ.get("KILL_SEED", "0"))
    own_seed = os.environ.get("SEED")
    straight, killed = (Home(tmp_path / name, pipeline, own_seed and int(own_seed)) for name in ("straight", "killed"))
    for home in (straight, killed):
        home.runs.mkdir(parents=True)
        (home.folder / "recipes").symlink_to(ROOT / "recipes")
        (home.folder / "tests").symlink_to(ROOT / "tests")
        for folder in os.environ.get("DONE", "").split():
            shutil.copytree(ROOT / folder, home.folder / folder)
    timeline = run_straight(straight)
    half_saved = run_killed(killed, timeline, kills, seed)
    assert half_saved * 4 >= kills, f"only {half_saved} of {kills} kills came while something was being saved"
    assert killed.results() == straight.results()
