"""Every file in configs/ through accelerate's own parser: what it says, and what training processes are told by it."""

from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from repository import ROOT

CONFIGS = ROOT / "configs"
# name: distributed type, mixed precision, on a CPU, ZeRO stage, offloaded to
EXPECTED = {
    "zero3": ("DEEPSPEED", "bf16", False, 3, "none"),
    "zero3_offload": ("DEEPSPEED", "bf16", False, 3, "cpu"),
    "zero2": ("DEEPSPEED", "bf16", False, 2, "none"),
    "ddp": ("MULTI_GPU", "bf16", False, None, None),
    "fsdp2": ("FSDP", "bf16", False, None, None),
    "cpu2": ("MULTI_GPU", "no", True, None, None),
    "cpu2_zero3": ("DEEPSPEED", "no", True, 3, "none"),
}
SEVERAL_MACHINES = ("--num_machines", "2", "--machine_rank", "1", "--main_process_ip", "node-0", "--main_process_port",
                    "29511")  # fmt: skip


def launched(file: Path, *flags: str):
    """The arguments that `accelerate launch` works with."""
    words = ["--config_file", str(file), *flags, "scripts/run_r1_grpo.py"]
    return _validate_launch_command(launch_command_parser().parse_args(words))[0]


def environment(args) -> dict[str, str]:
    """What training processes get from `accelerate launch`."""
    if not args.use_deepspeed:
        return prepare_multi_gpu_env(args)
    args.deepspeed_fields_from_accelerate_config = ""
    command, variables = prepare_deepspeed_cmd_env(args)
    assert command is None, "started by accelerate itself, not by ssh"
    return variables


def test_every_file_is_in_the_table():
    assert {file.stem for file in CONFIGS.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_is_what_its_name_says(name):
    file = CONFIGS / f"{name}.yaml"
    kind, precision, on_cpu, stage, offload = EXPECTED[name]
    config = load_config_from_file(str(file))  # raises for an unknown key
    assert (config.distributed_type.value, config.mixed_precision, config.use_cpu) == (kind, precision, on_cpu)
    args = launched(file, "--num_processes", "2", "--main_process_port", "29510")
    assert (args.num_processes, args.main_process_port, args.mixed_precision) == (2, 29510, precision)
    assert (args.use_deepspeed, args.use_fsdp, args.multi_gpu) == tuple(
        kind == other for other in ("DEEPSPEED", "FSDP", "MULTI_GPU")
    )
    if stage:
        assert (args.zero_stage, args.offload_optimizer_device, args.offload_param_device) == (stage, offload, offload)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_has_hardware_only_and_keys_that_exist(name):
    text = (CONFIGS / f"{name}.yaml").read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert len(header) == 2 and text.startswith("\n".join(header)), "what it is, and how it is used"
    assert header[1].startswith(f"# accelerate launch --config_file configs/{name}.yaml ")
    values = yaml.safe_load(text)
    flags = {action.dest for action in launch_command_parser()._actions}
    # accelerate refuses an unknown key of a file, but takes any below these two
    for section in ("deepspeed_config", "fsdp_config"):
        assert set(values.get(section, {})) <= flags
    assert not {"model_name_or_path", "learning_rate", "per_device_train_batch_size"} & set(values)


def test_an_unknown_key_is_refused(tmp_path):
    file = tmp_path / "zero3.yaml"
    file.write_text((CONFIGS / "zero3.yaml").read_text() + "zero_stages: 3\n")
    with pytest.raises(ValueError, match="zero_stages"):
        load_config_from_file(str(file))


@pytest.mark.parametrize("name", [name for name, row in EXPECTED.items() if row[0] == "DEEPSPEED"])
def test_deepspeed_gets_the_recipes_batch_and_clipping(name, monkeypatch):
    *_, stage, offload = EXPECTED[name]
    for key, value in environment(launched(CONFIGS / f"{name}.yaml")).items():
        monkeypatch.setenv(key, value)
    config = DeepSpeedPlugin().deepspeed_config
    assert config["gradient_accumulation_steps"] == config["gradient_clipping"] == "auto"
    assert config["train_micro_batch_size_per_gpu"] == "auto"
    split = config["zero_optimization"]
    assert (split["stage"], split["offload_optimizer"]["device"], split["offload_param"]["device"]) == (
        stage,
        offload,
        offload,
    )
    # a normal model folder, not one file for each process
    assert split["stage3_gather_16bit_weights_on_model_save"] == (stage == 3)


def test_fsdp_wraps_each_layer_and_saves_whole_weights(monkeypatch):
    for key, value in environment(launched(CONFIGS / "fsdp2.yaml")).items():
        monkeypatch.setenv(key, value)
    plugin = FullyShardedDataParallelPlugin()
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
    assert plugin.auto_wrap_policy.__name__ == "transformer_auto_wrap_policy"
    assert plugin.state_dict_type.name == "FULL_STATE_DICT"
    # TRL 1.16.0 splits the reference model as each process has it: with this on, all but one have no weights
    assert not plugin.cpu_ram_efficient_loading


@pytest.mark.parametrize("name", [name for name, row in EXPECTED.items() if not row[2]])
def test_several_machines_meet_at_the_first(name):
    args = launched(CONFIGS / f"{name}.yaml", "--num_processes", "16", *SEVERAL_MACHINES)
    environment(args)
    assert (args.nnodes, args.nproc_per_node, args.node_rank) == ("2", "8", 1)
    assert (args.rdzv_endpoint, args.rdzv_backend) == ("node-0:29511", "static")
