#!/usr/bin/env bash
# A recipe on several nodes that share the repository's folder. With vllm_mode: server, vLLM has the last node (its GPUs
# are shared out by vllm_serve_args: {tensor_parallel_size: 8}, or {data_parallel_size: 8}), training the others;
# otherwise all of them train and generate. From the repository's root:
# sbatch [--nodes N --partition P --account A] configs/slurm-nodes.sh [--any_key value]
# After a time limit or a failure submit it again: it goes on from the last whole checkpoint.
#SBATCH --job-name=mini-r1
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --output=slurm-%j.log
set -euo pipefail

RECIPE=recipes/countdown.yaml

cd "$SLURM_SUBMIT_DIR"
mapfile -t NODES < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
LAUNCH=(.venv/bin/python scripts/launch.py --config "$RECIPE" "$@")
BACKEND=$(.venv/bin/python -c '
import sys
from mini_r1.config.recipe import parse_command_line, resolve
values = resolve(*parse_command_line(sys.argv[1:])).values
print(values.get("vllm_mode") if values.get("use_vllm") and not values.get("vllm_server_base_url") else None)
' --config "$RECIPE" "$@")
PORT=$((20000 + SLURM_JOB_ID % 20000)) # jobs on the same nodes get different ones

on() { # on NODE[,NODE...] COMMAND...: once on each of them
    local nodes=$1 commas=${1//[!,]/}
    shift
    local count=$((${#commas} + 1))
    exec srun --nodes="$count" --ntasks="$count" --ntasks-per-node=1 --nodelist="$nodes" \
        --cpus-per-task="$SLURM_CPUS_ON_NODE" --kill-on-bad-exit=1 "$@"
}

steps=()
end() { kill "${steps[@]}" 2>/dev/null || true; }
all_run() { for step in "${steps[@]}"; do kill -0 "$step" 2>/dev/null || return 1; done; }
trap end TERM INT
if [ "$BACKEND" = server ]; then
    if [ "${#NODES[@]}" -lt 2 ]; then
        echo "error: vLLM takes a node of its own here; use --nodes=2 or more, or configs/slurm-1node.sh" >&2
        exit 2
    fi
    last=${NODES[-1]}
    unset 'NODES[-1]'
    LAUNCH+=(--vllm_server_host "$last" --vllm_server_port "$((PORT + 1))")
    on "$last" "${LAUNCH[@]}" --part server &
    steps+=($!)
    LAUNCH+=(--part trainer)
fi
LAUNCH+=(--num_machines "${#NODES[@]}" --main_process_ip "${NODES[0]}" --main_process_port "$PORT")
# shellcheck disable=SC2016 # each machine has its own rank
on "$(IFS=, && echo "${NODES[*]}")" bash -c 'exec "$@" --machine_rank "$SLURM_PROCID"' launch "${LAUNCH[@]}" &
steps+=($!)

while all_run; do sleep 1; done
end                # whichever ended first ends the other
wait "${steps[@]}" # the exit status is the last one's: the trainer's
