"""Who trains, who serves, and how the batch is kept on other hardware than a recipe was written for."""

import pytest

from mini_r1.config.recipe import COMMAND_LINE, Recipe
from mini_r1.config.run_config import run_config
from mini_r1.errors import RecipeError
from mini_r1.launch.hardware import Gpu
from mini_r1.launch.plan import CONFIGS, ON_CPU, Machines, plan_launch

# the published Countdown run: 7 x 8 x 8 = 448 completions, groups of 8
PUBLISHED = {
    "num_processes": 7,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 8,
    "num_generations": 8,
    "per_device_eval_batch_size": 64,
    "save_steps": 25,
    "use_vllm": True,
    "vllm_mode": "server",
    "accelerate_config": "zero3",
}
COLOCATE = PUBLISHED | {"vllm_mode": "colocate", "num_processes": 8, "gradient_accumulation_steps": 7}
ONE_GPU = COLOCATE | {"num_processes": 1, "gradient_accumulation_steps": 56, "accelerate_config": None}
CPU = {"use_cpu": True, "per_device_train_batch_size": 8, "per_device_eval_batch_size": 8}


def gpus(number: int, gib: float = 80.0) -> list[Gpu]:
    return [Gpu(str(index), "A100", gib, gib) for index in range(number)]


def plan(values: dict, number: int, kind: str = "r1_grpo", told: dict | None = None, **options):
    values = values | (told or {})
    origin = dict.fromkeys(values, "recipes/x.yaml") | dict.fromkeys(told or {}, COMMAND_LINE)
    return plan_launch(run_config(kind, Recipe("recipes/x.yaml", values, origin)), gpus(number), **options)


# recipe, GPUs, exact -> (GPUs that train, GPUs of the server, accumulation, accelerate file)
CASES = {
    "published, on its node": (PUBLISHED, 8, False, ("0123456", "7", 8, "zero3")),
    "published, half a node": (PUBLISHED, 4, False, ("01", "3", 28, "zero3")),  # 3 x 8 does not divide 448
    "published, two GPUs": (PUBLISHED, 2, False, ("0", "1", 56, "zero3")),
    "published, a larger node": (PUBLISHED, 16, False, ("0123456", "f", 8, "zero3")),
    "published, all of a larger node": (PUBLISHED, 15, True, ("0123456789abcd", "e", 4, "zero3")),
    "colocated, on its node": (COLOCATE, 8, False, ("01234567", "", 7, "zero3")),
    "colocated, seven GPUs": (COLOCATE, 7, False, ("0123456", "", 8, "zero3")),
    "colocated, six GPUs": (COLOCATE, 6, False, ("0123", "", 14, "zero3")),
    "one GPU": (ONE_GPU, 1, False, ("0", "", 56, None)),
    "written for one, eight there": (ONE_GPU, 8, False, ("0", "", 56, None)),
    "written for one, eight wanted": (ONE_GPU, 8, True, ("01234567", "", 7, "ddp")),
    "server of two GPUs": (
        PUBLISHED | {"vllm_serve_args": {"tensor_parallel_size": 2}, "num_processes": 6},
        8,
        False,
        ("012345", "67", 8, "zero3"),
    ),
    "generation by transformers": (PUBLISHED | {"use_vllm": False}, 8, False, ("0123456", "", 8, "zero3")),
    "a server of somebody else's": (
        PUBLISHED | {"vllm_server_base_url": "http://10.0.0.1:8000"},
        8,
        False,
        ("0123456", "", 8, "zero3"),
    ),
}


@pytest.mark.parametrize(("values", "number", "exact", "expected"), CASES.values(), ids=CASES)
def test_who_does_what(values, number, exact, expected):
    found = plan(values, number, exact=exact)
    trainers, servers, accumulation, config = expected
    names = [f"{int(index):x}" for index in (*found.trainer_gpus, *found.server_gpus)]
    assert "".join(names) == trainers + servers and len(found.server_gpus) == len(servers)
    assert found.accumulation == accumulation and found.processes == len(trainers)
    assert found.accelerate_config == (config and CONFIGS / f"{config}.yaml")
    batch = values["num_processes"] * values["gradient_accumulation_steps"]
    assert found.processes * found.accumulation == batch
    same = found.processes == values["num_processes"]
    assert found.flags == () if same else f"--gradient_accumulation_steps {accumulation}" in " ".join(found.flags)
    assert found.gpu_gib == 80.0


def test_notes_say_what_changed():
    found = plan(PUBLISHED, 4)
    assert found.notes == (
        "written for 7 training processes, running on 2: gradient_accumulation_steps is 28 and the batch stays 448",
        "1 GPU left idle: on more than 2 processes no accumulation keeps the batch; set --gradient_accumulation_steps "
        "to use them with another batch",
    )
    assert plan(ONE_GPU, 8).notes == ("7 GPUs left free, as the recipe is written for 1; --gpus N takes more",)
    assert plan(PUBLISHED, 8).notes == ()


def test_an_accumulation_of_the_users_own():
    found = plan(PUBLISHED, 4, told={"gradient_accumulation_steps": 19})
    assert (found.processes, found.accumulation) == (3, 19)  # 3 x 8 x 19 = 456
    assert "the batch becomes 456" in found.notes[0]
    with pytest.raises(RecipeError, match="num_generations"):
        plan(PUBLISHED, 4, told={"gradient_accumulation_steps": 3, "num_generations": 16})


def test_steps_per_generation_move_with_the_accumulation():
    found = plan(PUBLISHED | {"steps_per_generation": 32, "save_steps": 20}, 2)
    assert "--steps_per_generation 224" in " ".join(found.flags)  # 7 x 32 micro-batches of one process, 4 steps


def test_on_a_cpu():
    found = plan(CPU, 0)
    assert (found.backend, found.processes, found.accelerate_config, found.trainer_gpus) == ("hf", 1, None, ())
    found = plan(CPU | {"num_processes": 2, "accelerate_config": "cpu2"}, 0)
    assert (found.processes, found.accumulation, found.accelerate_config) == (2, 1, CONFIGS / "cpu2.yaml")
    found = plan(PUBLISHED | ON_CPU, 0)  # --gpus 0
    assert (found.processes, found.accumulation, found.accelerate_config) == (1, 56, None)
    assert plan(CPU, 8).trainer_gpus == ()  # a tiny recipe leaves the GPUs alone


def test_files_on_one_process():
    """DeepSpeed and FSDP are more than a way to share out; plain DDP is not."""
    for name in ("zero3", "zero3_offload", "zero2", "fsdp2"):
        assert plan(ONE_GPU | {"accelerate_config": name}, 1).accelerate_config == CONFIGS / f"{name}.yaml"
    assert plan(ONE_GPU | {"accelerate_config": "ddp"}, 1).accelerate_config is None
    assert plan(ONE_GPU | {"accelerate_config": str(CONFIGS / "zero2.yaml")}, 1).accelerate_config.stem == "zero2"


@pytest.mark.parametrize("kind", ["sft", "evaluate"])
def test_other_kinds(kind):
    found = plan(PUBLISHED | {"use_vllm": False}, 4, kind)
    assert found.processes * found.accumulation == 56


def test_several_machines():
    """Three nodes of 8: two train, the third serves."""
    wide = PUBLISHED | {"num_processes": 16, "gradient_accumulation_steps": 7}
    trainer = plan(wide, 8, machines=Machines("trainer", 2, 1, "10.0.0.1", 29500))
    assert (trainer.processes, len(trainer.trainer_gpus), trainer.server_gpus) == (16, 8, ())
    narrow = plan(PUBLISHED, 8, machines=Machines("trainer", 2))  # 2 x 7 x 8 x 4 = 448
    assert (narrow.processes, narrow.accumulation, len(narrow.trainer_gpus)) == (14, 4, 7)
    server = plan(wide | {"vllm_serve_args": {"data_parallel_size": 8}}, 8, machines=Machines("server"))
    assert (server.trainer_gpus, len(server.server_gpus), server.processes) == ((), 8, 0)


REFUSED = {
    "no GPU": (PUBLISHED, 0, {}, "recipes/x.yaml: use_cpu: no GPU is visible here"),
    "server mode with one GPU": (PUBLISHED, 1, {}, "vllm_mode: server mode needs 1 GPU for vLLM and at least one for"),
    "vLLM on a CPU": (CPU | {"use_vllm": True}, 0, {}, "use_vllm: vLLM gets new weights over NCCL"),
    "no such file": (PUBLISHED | {"accelerate_config": "zero33"}, 8, {}, "accelerate_config: there is no file"),
    "tensor parallel": (
        COLOCATE | {"vllm_tensor_parallel_size": 3},
        8,
        {},
        "vllm_tensor_parallel_size: 8 processes are no multiple of vLLM's tensor parallel size 3",
    ),
    "server part of a colocated run": (
        COLOCATE,
        8,
        {"machines": Machines("server")},
        "--part: is for vllm_mode: server, and this recipe generates with colocate",
    ),
    "server flags": (PUBLISHED | {"vllm_serve_args": {"tensor_parallel_size": "two"}}, 8, {}, "vllm_serve_args: "),
    "batch": (PUBLISHED | {"num_generations": 9}, 8, {}, "num_generations: processes 7 x per-device 8"),
}


@pytest.mark.parametrize(("values", "number", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(values, number, options, message):
    with pytest.raises(RecipeError) as caught:
        plan(values, number, **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)
