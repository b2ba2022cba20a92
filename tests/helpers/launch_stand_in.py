"""scripts/launch.py as it is, except that stand_in_trainer.py is what runs an r1_grpo recipe."""

import runpy
from pathlib import Path

from mini_r1.launch import launcher

HERE = Path(__file__).parent

launcher.KINDS = {**launcher.KINDS, "r1_grpo": str(HERE / "stand_in_trainer.py")}
runpy.run_path(str(HERE.parents[1] / "scripts" / "launch.py"), run_name="__main__")
