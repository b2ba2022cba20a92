"""The Slurm templates with stand-ins for srun and scontrol: what is started on which node, and how it all ends.

No Slurm here: the stand-in runs each task on this machine, with the variables that Slurm would set.
"""

import json
import os
import subprocess
import sys
import time

import pytest
from repository import ROOT

SRUN = """#!/usr/bin/env bash
# runs the command once for each node of --nodelist, as Slurm does; a signal goes to all of them
set -u
nodes=node0
while [[ $1 == --* ]]; do
    [[ $1 == --nodelist=* ]] && nodes=${1#--nodelist=}
    echo "$1" >> srun-options
    shift
done
tasks=()
trap 'kill "${tasks[@]}" 2>/dev/null' TERM
for node in ${nodes//,/ }; do
    SLURM_PROCID=${#tasks[@]} SLURMD_NODENAME=$node "$@" &
    tasks+=($!)
done
status=0
for task in "${tasks[@]}"; do wait "$task" || status=$?; done
exit "$status"
"""
# what stands in for scripts/launch.py: writes down how it was started; STATUS_trainer=3 is how the trainer ends
LAUNCH = """
import json, os, signal, sys, time
node, words = os.environ.get("SLURMD_NODENAME", "node0"), sys.argv[1:]
part = words[words.index("--part") + 1] if "--part" in words else "trainer"
signal.signal(signal.SIGTERM, lambda *_: (open(f"ended-{node}", "w").close(), sys.exit(143)))
with open(f"started-{node}.json", "w") as file:
    json.dump(words, file)
status = os.environ.get(f"STATUS_{part}")
if status is None:
    time.sleep(60)
while len([name for name in os.listdir() if name.startswith("started-")]) < int(os.environ["STARTED"]):
    time.sleep(0.01)
sys.exit(int(status))
"""
RECIPES = {
    "server": "task: countdown\nuse_vllm: true\nvllm_mode: server\n",
    "colocate": "task: countdown\nuse_vllm: true\nvllm_mode: colocate\n",
    "hf": "task: countdown\n",
}
ADDRESS = ["--main_process_ip", "node0", "--main_process_port", "24567"]
SERVER = ["--vllm_server_host", "node2", "--vllm_server_port", "24568"]
# template, recipe, nodes -> the words of each node behind the recipe and the flags
STARTED = [
    ("slurm-1node", "server", 1, {"node0": []}),
    ("slurm-nodes", "server", 3, {
        "node0": [*SERVER, "--part", "trainer", "--num_machines", "2", *ADDRESS, "--machine_rank", "0"],
        "node1": [*SERVER, "--part", "trainer", "--num_machines", "2", *ADDRESS, "--machine_rank", "1"],
        "node2": [*SERVER, "--part", "server"],
    }),
    ("slurm-nodes", "colocate", 2, {
        "node0": ["--num_machines", "2", *ADDRESS, "--machine_rank", "0"],
        "node1": ["--num_machines", "2", *ADDRESS, "--machine_rank", "1"],
    }),
    ("slurm-nodes", "hf", 1, {"node0": ["--num_machines", "1", *ADDRESS, "--machine_rank", "0"]}),
]  # fmt: skip


@pytest.fixture
def submit(tmp_path):
    """`submit(template, recipe, nodes, **variables)`: the job script as a started process."""
    for name, text in {"srun": SRUN, "scontrol": '#!/bin/sh\nshift 2\necho "$1" | tr , "\\n"\n'}.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/launch.py").write_text(LAUNCH)
    started = []

    def submit(template: str, recipe: str, nodes: int, **variables: str) -> subprocess.Popen:
        (tmp_path / "recipes/countdown.yaml").write_text(RECIPES[recipe])
        names = [f"node{i}" for i in range(nodes)]
        variables |= {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_JOB_ID": "1004567",
            "SLURM_JOB_NODELIST": ",".join(names),
            "SLURM_CPUS_ON_NODE": "96",
            "STARTED": str(nodes),
        }
        words = ["bash", str(ROOT / "configs" / f"{template}.sh"), "--seed", "7", "--run_name", "two words"]
        process = subprocess.Popen(words, env=os.environ | variables, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield submit
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("template,recipe,nodes,expected", STARTED)
def test_what_starts_where(submit, tmp_path, template, recipe, nodes, expected):
    process = submit(template, recipe, nodes, STATUS_trainer="0")
    assert process.wait(60) == 0, process.stderr.read()
    found = {file.stem.removeprefix("started-"): json.loads(file.read_text()) for file in tmp_path.glob("started-*")}
    common = ["--config", "recipes/countdown.yaml", "--seed", "7", "--run_name", "two words"]
    assert found == {node: [*common, *words] for node, words in expected.items()}
    assert (tmp_path / "ended-node2").exists() == (recipe == "server" and nodes == 3), "the server's step is ended"
    assert "--cpus-per-task=96" in (tmp_path / "srun-options").read_text().split()


@pytest.mark.parametrize("template,recipe,nodes", [row[:3] for row in STARTED])
def test_the_trainers_status_is_the_jobs(submit, template, recipe, nodes):
    assert submit(template, recipe, nodes, STATUS_trainer="3").wait(60) == 3


def test_a_server_that_ends_ends_the_training(submit, tmp_path):
    assert submit("slurm-nodes", "server", 3, STATUS_server="1").wait(60) == 143
    assert {file.name for file in tmp_path.glob("ended-*")} == {"ended-node0", "ended-node1"}


def test_a_cancelled_job_ends_all(submit, tmp_path):
    process = submit("slurm-nodes", "server", 3)
    while len(list(tmp_path.glob("started-*"))) < 3:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.terminate()
    assert process.wait(60) == 143
    assert len(list(tmp_path.glob("ended-*"))) == 3


def test_a_server_alone_needs_another_node(submit):
    process = submit("slurm-nodes", "server", 1)
    assert process.wait(60) == 2
    assert "use --nodes=2 or more, or configs/slurm-1node.sh" in process.stderr.read()


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.sh")), ids=lambda file: file.stem)
def test_one_line_is_to_change(file):
    assert subprocess.run(["bash", "-n", file], check=False).returncode == 0
    lines = file.read_text().splitlines()
    assert [line for line in lines if line.startswith("RECIPE=")] == ["RECIPE=recipes/countdown.yaml"]
    assert (ROOT / "recipes/countdown.yaml").is_file() and "set -euo pipefail" in lines
