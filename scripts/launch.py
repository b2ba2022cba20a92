"""Runs a recipe on what this machine has: a CPU, one GPU, or many, with a vLLM server where the recipe wants one.

python scripts/launch.py --config recipes/NAME.yaml [--gpus N] [--dry_run] [--any_key value]

--gpus N        use N GPUs; 0 is a CPU (generation by transformers). Left out: as many as the recipe was written for
--dry_run       check, print the plan and the exact commands, start nothing; GPUs that are not here are assumed
--run KIND      r1_grpo, sft, reward, distill, evaluate, generate or build_model. Left out: as the recipe says (run:)
Over several machines (configs/slurm-nodes.sh):
--part PART     trainer or server: the other one is on other machines
--num_machines, --machine_rank, --main_process_ip, --main_process_port: as accelerate's
"""

import sys

from mini_r1.config.kinds import KINDS
from mini_r1.config.recipe import kind_of
from mini_r1.errors import Parser, exit_on_recipe_error
from mini_r1.launch.launcher import launch
from mini_r1.launch.plan import Machines


def main() -> None:
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--run", choices=KINDS)
    parser.add_argument("--gpus", type=int)
    parser.add_argument("--dry_run", action="store_true")
    parser.add_argument("--part", choices=("all", "trainer", "server"), default="all")
    parser.add_argument("--num_machines", type=int, default=1)
    parser.add_argument("--machine_rank", type=int, default=0)
    parser.add_argument("--main_process_ip")
    parser.add_argument("--main_process_port", type=int)
    own, argv = parser.parse_known_args(sys.argv[1:])
    machines = Machines(own.part, own.num_machines, own.machine_rank, own.main_process_ip, own.main_process_port)
    sys.exit(launch(argv, own.run or kind_of(argv), gpus=own.gpus, dry_run=own.dry_run, machines=machines))


if __name__ == "__main__":
    exit_on_recipe_error(main, lambda: __doc__)
