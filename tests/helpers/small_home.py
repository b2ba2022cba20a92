"""What test_generate.py and test_judge.py share: a working directory with a small Countdown recipe, and its rows."""

from pathlib import Path

from repository import ROOT

from mini_r1 import tasks
from mini_r1.config.recipe import resolve
from mini_r1.config.run_config import check
from mini_r1.data.problems import load_rows

RECIPE = """
extends: _base/grpo.yaml
task: countdown
task_args: {n: 60, seed: 0, count: [3], numbers: [1, 9], in_order: true}
test_fraction: 0.3
max_prompt_tokens: 128
max_completion_length: 60
use_cpu: true
bf16: false
dtype: float32
gradient_checkpointing: false
report_to: none
num_generations: 4
per_device_train_batch_size: 8
"""


def small_home(tmp_path_factory) -> Path:
    """A folder with `RECIPE` as recipes/small.yaml."""
    top = tmp_path_factory.mktemp("home")
    (top / "recipes").mkdir()
    (top / "recipes/_base").symlink_to(ROOT / "recipes/_base")
    (top / "recipes/small.yaml").write_text(RECIPE)
    return top


def training_rows(home) -> tuple[list[dict], list[dict]]:
    config = check("generate", resolve(home / "recipes/small.yaml"))
    rows = load_rows(config.args, tasks.get("countdown"))
    return rows.train, rows.test
