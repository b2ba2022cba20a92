"""`metrics.jsonl`: the log of a run, one line a step, readable while it runs."""

import json
import math
import os
from pathlib import Path

from transformers import TrainerCallback

METRICS_FILE = "metrics.jsonl"


class MetricsFile(TrainerCallback):
    """Appends what a step logged, as `{"step": 12, "loss": ..., ...}`; NaN and infinity are null.

    A resumed run writes the steps after its checkpoint anew, so those lines go first, with one that a kill cut off.
    """

    def on_train_begin(self, args, state, control, **kwargs):
        path = Path(args.output_dir) / METRICS_FILE
        if not state.is_world_process_zero or not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            if line.startswith("{") and line.endswith("}") and json.loads(line)["step"] <= state.global_step:
                kept.append(line + "\n")
        scratch = path.with_suffix(".tmp")
        scratch.write_text("".join(kept), encoding="utf-8")
        os.replace(scratch, path)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        numbers = {name: _finite(value) for name, value in logs.items() if isinstance(value, int | float)}
        with open(Path(args.output_dir) / METRICS_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, **numbers}) + "\n")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
