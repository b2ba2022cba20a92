"""A whole pipeline, killed with kill -9 at many random moments, ends as one that was left alone: `make test-kills`.

PIPELINE=recipes/pipelines/NAME.yaml chooses the pipeline, KILLS how often it is killed (20), KILL_SEED the moments.
"""

import os

import pytest
from killed import ROOT, Home, run_killed, run_straight

pytestmark = pytest.mark.kills


def test_a_killed_pipeline_ends_like_one_left_alone(tmp_path):
    pipeline = os.environ.get("PIPELINE", "recipes/pipelines/logic-rl-tiny.yaml")
    kills, seed = int(os.environ.get("KILLS", "20")), int(os.environ.get("KILL_SEED", "0"))
    straight, killed = (Home(tmp_path / name, pipeline) for name in ("straight", "killed"))
    for home in (straight, killed):
        home.folder.mkdir()
        (home.folder / "recipes").symlink_to(ROOT / "recipes")
    timeline = run_straight(straight)
    half_saved = run_killed(killed, timeline, kills, seed)
    assert half_saved * 4 >= kills, f"only {half_saved} of {kills} kills came while something was being saved"
    assert killed.results() == straight.results()
