"""What the tests of pipelines share: a pipeline file written stage by stage, and what its finished stages leave."""

import json
from pathlib import Path

from mini_r1.config.recipe import write_resolved
from mini_r1.pipeline.stages import read_pipeline

FILE = "recipes/pipelines/mine.yaml"
BASE = "  - {name: base, run: build_model, recipe: ../countdown-tiny-base.yaml}\n"
SFT = "  - {name: cold-start, run: sft, recipe: ../countdown-tiny-sft.yaml, init_from: base}\n"
RL = "  - {name: rl, run: r1_grpo, recipe: ../countdown-tiny.yaml, init_from: cold-start%s}\n"
EVAL = "  - {name: greedy, run: evaluate, recipe: ../countdown-tiny-eval.yaml, init_from: rl}\n"
EARLY, LATE = "2026-01-01T10:00:00+00:00", "2026-01-02T10:00:00+00:00"


def read(*stages: str, seed=None):
    Path(FILE).write_text("stages:\n" + "".join(stages))
    return read_pipeline(FILE, seed)


def finish(stage, started=EARLY, finished=EARLY) -> None:
    """What a stage leaves, as far as the pipeline looks at it."""
    write_resolved(stage.config.recipe, stage.folder)
    resumed = {"started": LATE, "from": "checkpoint-1"}
    manifest = {"command": "", "attempts": [{"started": started, "from": None}, resumed], "finished": finished}
    (stage.folder / "manifest.json").write_text(json.dumps(manifest))
    measured = {"pass@1": 0.25, "format": 0.5, "mean_length": 20.0, "n": 4}
    times = {"seconds": {"grpo": 65.0, "total": 3665.0}, "seed": 42}
    (stage.folder / "summary.json").write_text(json.dumps({"stage": stage.kind, "after": measured, **times}))
