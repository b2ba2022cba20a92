"""kill -9 in miniature: a pipeline killed twice ends like one left alone (`make test-kills`: twenty times)."""

import shutil

from killed import Home, run_killed, run_straight
from mini_recipes import RECIPES
from repository import ROOT

# by length alone, so that an untrained model has something to learn from
SET = "set: {max_steps: 4, reward_funcs: [{name: soft_overlong, max_completion_len: 12, soft_punish_cache: 8}]}"
PIPELINE = f"""
stages:
  - {{name: base,       run: build_model, recipe: ../mini-base.yaml}}
  - {{name: cold-start, run: sft,         recipe: ../mini-sft.yaml, init_from: base}}
  - {{name: rl,         run: r1_grpo,     recipe: ../mini.yaml,     init_from: cold-start, {SET}}}
  - {{name: more,       run: r1_grpo,     recipe: ../mini.yaml,     init_from: rl,         {SET}}}
"""


def test_killed_twice_it_ends_like_one_left_alone(tmp_path):
    straight, killed = (Home(tmp_path / name, "recipes/pipelines/twice.yaml") for name in ("straight", "killed"))
    for home in (straight, killed):
        (home.folder / "recipes/pipelines").mkdir(parents=True)
        (home.folder / "recipes/_base").symlink_to(ROOT / "recipes/_base")
        for name, text in (RECIPES | {"pipelines/twice.yaml": PIPELINE}).items():
            (home.folder / "recipes" / name).write_text(text)
    timeline = run_straight(straight)
    for name in ("mini-base-s42", "mini-sft-s42"):  # to save time: a cold start that other pipelines have made
        shutil.copytree(straight.runs / name, killed.runs / name)
    run_killed(killed, [event for event in timeline if event[1].startswith("twice")], kills=2, seed=1)
    results = straight.results()
    assert len(results) == 4 and killed.results() == results
    weights = [
        results[name]["weights"]["model.safetensors"] for name in ("mini-sft-s42", "twice-s42/rl", "twice-s42/more")
    ]
    assert len(set(weights)) == 3, "nothing was learned that a kill could have changed"
