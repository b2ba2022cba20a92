"""Checks whether a recipe would run here: all errors at once, then warnings, notes and what is right.

python scripts/check.py --config recipes/NAME.yaml [--gpus N] [--run KIND] [--any_key value]

--gpus N        check for N GPUs, also where they are not here; 0 is a CPU. Left out: those that are here
--run KIND      r1_grpo, sft, reward, distill, evaluate, generate or build_model. Left out: as the recipe says (run:)
The exit status is 2 where there is an error.
"""

import sys

from mini_r1.config.kinds import KINDS
from mini_r1.config.recipe import kind_of
from mini_r1.errors import Parser, exit_on_recipe_error
from mini_r1.launch.check import preflight, report


def main() -> None:
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--run", choices=KINDS)
    parser.add_argument("--gpus", type=int)
    own, argv = parser.parse_known_args(sys.argv[1:])
    kind = own.run or kind_of(argv)
    check = preflight(argv, kind, gpus=own.gpus, assume_gpus=True)
    report(check, "all")
    sys.exit(2 if check.failed else 0)


if __name__ == "__main__":
    exit_on_recipe_error(main, lambda: __doc__)
