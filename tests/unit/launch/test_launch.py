"""scripts/launch.py up to the point where processes start; tests/integration/whole_path/ has them started."""

import json
import os
import shlex
from pathlib import Path

import pytest
from repository import ROOT

from configs import config_of
from mini_r1.config.kinds import SCRIPTS
from mini_r1.launch.launcher import launch, processes
from mini_r1.launch.plan import LaunchPlan, Machines


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """A working directory with the shipped recipes and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    return tmp_path


def commands(output: str) -> dict[str, tuple[dict, list[str]]]:
    """name -> (environment, words) of what a dry run printed."""
    found, name = {}, None
    for line in output.splitlines():
        if line.rstrip() in ("server:", "trainer:"):
            name = line.rstrip(":")
        elif name and line.startswith("  "):
            words = shlex.split(line)
            start = next(i for i, word in enumerate(words) if "=" not in word)
            found[name] = (dict(word.split("=", 1) for word in words[:start]), words[start:])
            name = None
    return found


def after(words: list[str], flag: str) -> str:
    return words[words.index(flag) + 1]


def test_the_published_run_on_its_node(elsewhere, capsys):
    assert launch(["--config", "recipes/countdown.yaml"], "r1_grpo", gpus=8, dry_run=True) == 0
    found = commands(capsys.readouterr().out)
    environment, words = found["server"]
    assert environment["CUDA_VISIBLE_DEVICES"] == "7" and environment["VLLM_SERVER_DEV_MODE"] == "1"
    assert "Qwen/Qwen2.5-3B-Instruct" in words and int(after(words, "--max-model-len")) == 256 + 1024
    port = after(words, "--port")
    environment, words = found["trainer"]
    assert environment["CUDA_VISIBLE_DEVICES"] == "0,1,2,3,4,5,6"
    assert words[0].endswith("accelerate") and words[1] == "launch"
    assert after(words, "--num_processes") == "7" and after(words, "--config_file").endswith("configs/zero3.yaml")
    assert words[words.index("--main_process_port") + 2] == str(SCRIPTS / "run_r1_grpo.py")  # a script, not python
    assert after(words, "--vllm_server_port") == port
    assert after(words, "--vllm_server_host") == "127.0.0.1"
    assert len({port, after(words, "--vllm_group_port"), after(words, "--main_process_port")}) == 3
    assert not (elsewhere / "runs").exists()


def test_fewer_gpus_and_flags_of_ones_own(elsewhere, capsys):
    words = ["--config", "recipes/countdown.yaml", "--learning_rate", "1e-6"]
    assert launch(words, "r1_grpo", gpus=4, dry_run=True) == 0
    output = capsys.readouterr().out
    assert "the batch stays 448" in output and "1 GPU left idle" in output
    trainer = commands(output)["trainer"][1]
    assert after(trainer, "--gradient_accumulation_steps") == "28" and after(trainer, "--learning_rate") == "1e-6"


def test_on_the_cpu_instead(elsewhere, capsys, tiny_model_dir):
    words = ["--config", "recipes/countdown-1gpu.yaml", "--model_name_or_path", str(tiny_model_dir), "--use_peft", "no"]
    launch([*words, "--dataset_id_or_path", "null", "--max_completion_length", "64"], "r1_grpo", gpus=0, dry_run=True)
    trainer = commands(capsys.readouterr().out)["trainer"]
    assert trainer[0] == {} and "accelerate" not in trainer[1][0]
    assert after(trainer[1], "--use_cpu") == "true" and after(trainer[1], "--use_vllm") == "false"


def test_two_plans_use_different_ports():
    values = {"model_name_or_path": "m", "max_completion_length": 8, "vllm_mode": "server", "use_vllm": True}
    config = config_of(values)
    plan = LaunchPlan("server", 1, ("0",), ("1",), None, 1, (), (), 80.0)
    urls = {processes(config, plan, ["--config", "x"], 10)[0].ready_url for _ in range(5)}
    assert len(urls) > 1
    given = config_of(values | {"vllm_server_port": 8123, "vllm_group_port": 8124})
    server, trainer = processes(given, plan, ["--config", "x"], 10)
    assert server.ready_url == "http://127.0.0.1:8123/health" and after(trainer.argv, "--vllm_group_port") == "8124"


def test_parts_on_several_machines():
    values = {"model_name_or_path": "m", "max_completion_length": 8, "vllm_server_host": "10.0.0.9"}
    config = config_of(values | {"vllm_server_port": 8000})
    common = ("server", 16)
    machines = Machines("trainer", 2, 1, "10.0.0.1", 29500)
    file = ROOT / "configs/zero3.yaml"
    (trainer,) = processes(
        config, LaunchPlan(*common, tuple("01234567"), (), file, 7, (), (), 80.0, machines), ["--config", "x"], 10
    )
    for flag, value in {
        "--num_machines": "2",
        "--machine_rank": "1",
        "--main_process_ip": "10.0.0.1",
        "--main_process_port": "29500",
        "--vllm_server_host": "10.0.0.9",
        "--vllm_server_port": "8000",
    }.items():
        assert after(trainer.argv, flag) == value
    assert "VLLM_HOST_IP" not in trainer.env
    plan = LaunchPlan(*common, (), ("0",), None, 7, (), (), 80.0, Machines("server"))
    (server,) = processes(config, plan, ["--config", "x"], 10)
    assert server.ready_url == "http://10.0.0.9:8000/health" and after(server.argv, "--host") == "10.0.0.9"


def test_a_finished_run_starts_nothing(elsewhere, capsys, tiny_model_dir):
    words = ["--config", "recipes/countdown-tiny.yaml", "--model_name_or_path", str(tiny_model_dir)]
    folder = elsewhere / "runs/countdown-tiny-s42"
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"stage": "r1_grpo"}))
    assert launch(words, "r1_grpo") == 0
    assert "is finished, nothing to do" in capsys.readouterr().out and not (folder / "logs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gpus", "two"], "command line: argument --gpus: invalid int value: 'two'"),
        (["--part", "half"], "command line: argument --part: invalid choice: 'half'"),
        (["--config", "recipes/countdown-tny.yaml"], "did you mean countdown-tiny.yaml?"),
        (["--config", "recipes/countdown-1gpu.yaml", "--gpus", "3"], "command line: --gpus: 3 asked for"),
        (["--config", "recipes/countdown.yaml"], "use_cpu: no GPU is visible here"),
        (["--config", "recipes/countdown-tiny.yaml", "--run", "sfd"], "invalid choice: 'sfd'"),
    ],
)
def test_refused(elsewhere, capsys, run_script, monkeypatch, words, message):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(SystemExit) as stopped:
        run_script("launch.py", *words)
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and message in said, said
    assert not (elsewhere / "runs").exists()
