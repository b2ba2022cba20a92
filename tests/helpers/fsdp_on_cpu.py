"""A script under FSDP on CPU processes: torch can, accelerate only offers it to GPUs, and is told that these are some.

accelerate launch --config_file FILE fsdp_on_cpu.py SCRIPT --config RECIPE --use_cpu false
"""

import os
import runpy
import sys

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"

from accelerate import PartialState
from accelerate.utils import DistributedType

PartialState._prepare_backend = lambda *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)

if __name__ == "__main__":
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
