#!/usr/bin/env bash
# A recipe on all GPUs of one node, with its own vLLM server where the recipe wants one. From the repository's root:
# sbatch [--partition P --account A] configs/slurm-1node.sh [--any_key value]
# After a time limit or a failure submit it again: it goes on from the last whole checkpoint.
#SBATCH --job-name=mini-r1
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --output=slurm-%j.log
set -euo pipefail

RECIPE=recipes/countdown.yaml

cd "$SLURM_SUBMIT_DIR"
# srun, so that a cancelled or timed-out job sends its signal to the launcher, which ends server and training together
exec srun --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_ON_NODE" \
    .venv/bin/python scripts/launch.py --config "$RECIPE" "$@"
