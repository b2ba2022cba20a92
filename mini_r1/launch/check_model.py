"""Checks the model: tokenizer, weights, size, precision, context, and its vLLM server."""

import json
import shutil
from pathlib import Path

from mini_r1.config.kinds import ONLY_SAMPLE
from mini_r1.config.recipe import Recipe, resolve
from mini_r1.config.recipe_file import find_recipe
from mini_r1.config.run_config import RunConfig
from mini_r1.data.hub import PROBE, LostTextError, decoded, load_tokenizer
from mini_r1.data.teacher import KEY, check_teacher
from mini_r1.errors import RecipeError
from mini_r1.launch.check_data import out_of_reach
from mini_r1.launch.findings import Check
from mini_r1.launch.model_shapes import model_shape
from mini_r1.launch.plan import SAMPLING
from mini_r1.launch.vllm_server import LOOPBACK, server_argv

WEIGHTS = ("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin")
HALF = ("bfloat16", "float16", "auto", None)  # a checkpoint's own dtype is one of the first two


def check_tokenizer(check: Check) -> None:
    """Checks that tokenizer and weights are there. Sets `tokenizer` and `first_model`."""
    config, name = check.config, check.config.model_name_or_path
    check.first_model = first_model(config)
    try:
        check.tokenizer = load_tokenizer(name, revision=config.model_revision)
    except LostTextError:
        raise
    except RecipeError as error:
        maker = maker_of(config.recipe, name)
        if name and out_of_reach(name):
            check.missing(f"{name} is not reachable from here, and its tokenizer is not in the local cache", error.key)
        elif maker and not Path(name).exists() and check.look_only:
            check.warning(f"{name} is not there yet; {maker[0]} makes it (make train-{maker[0].stem})", error.key)
        else:
            raise
        return
    if decoded(PROBE, check.tokenizer) != PROBE:
        check.note(
            f"the tokenizer of {name} composes accents (e and ´ become é, Unicode NFC): a completion never has a gold "
            "that is written otherwise, so write golds so"
        )
    _check_weights(check, name)


def check_teacher_model(check: Check) -> None:
    """Checks that the student of a distillation can learn from the teacher; says what the teacher takes in memory."""
    config = check.config
    if config.kind != "distill":
        return
    name = getattr(config, KEY)
    try:
        if check.tokenizer is not None or not name:  # else the student's tokenizer is not there yet
            check_teacher(config, check.tokenizer)
        if not config.use_cpu:
            size = model_shape(name, config.teacher_model_revision).parameters
            check.note(
                f"each GPU holds the teacher, too: {size:,} parameters, {size * 2 / 2**30:.1f} GiB in bfloat16, which "
                "the memory below leaves out",
                KEY,
            )
    except RecipeError as error:
        later = name and (out_of_reach(name) or (maker_of(config.recipe, name) and not Path(name).exists()))
        (check.missing if later else check.error)(error.problem, KEY)


def maker_of(recipe: Recipe, name: str | None) -> tuple[Path, str | None] | None:
    """The recipe, and its stage, whose run directory the model's name is."""
    stem = Path(name or "").name.rpartition("-s")[0]
    if not stem or not str(name).startswith("runs/"):
        return None
    try:
        return find_recipe(str(Path(recipe.path).with_name(f"{stem}.yaml")))
    except RecipeError:
        return None


def first_model(config: RunConfig) -> str | None:
    """The model that a chain of recipes begins with, where each names the run directory of the one before.

    The recipe's own where it names any other model; None where the first recipe of the chain makes one from nothing.
    """
    name = config.model_name_or_path
    seen: set[tuple[Path, str | None]] = set()
    while (maker := maker_of(config.recipe, name)) and maker not in seen and not Path(name).exists():
        seen.add(maker)
        try:
            path, stage = maker
            name = resolve(path, {"stage": stage} if stage else {}).values.get("model_name_or_path")
        except RecipeError:
            return None  # the check of that recipe reports it
    return name


def _check_weights(check: Check, name: str) -> None:
    """Checks that the weights are there, or can be downloaded."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "*.bin")):
            check.error(f"{name} has a tokenizer and no weights (*.safetensors)", "model_name_or_path")
        check.ok("model", f"{name}, a local folder")
        return
    from huggingface_hub import try_to_load_from_cache  # takes a while; folders do not need it

    def cached(file: str) -> str | None:
        path = try_to_load_from_cache(name, file, revision=check.config.model_revision)
        return path if isinstance(path, str) else None

    first = next(filter(None, map(cached, WEIGHTS)), None)
    parts = set(json.loads(Path(first).read_text())["weight_map"].values()) if first and first.endswith("json") else ()
    if first and all(map(cached, parts)):
        check.ok("model", f"{name}, in the local cache")
    elif out_of_reach(name):
        problem = f"the weights of {name} are not reachable from here, and not all in the local cache"
        check.missing(problem, "model_name_or_path")
    else:
        check.ok("model", f"{name}, on the hub; its weights will be downloaded")


def check_shape(check: Check) -> None:
    """Sets `shape`, the sizes of the model; one that is not there yet will be as large as the chain's first."""
    name = check.first_model
    if check.tokenizer is None and name == check.config.model_name_or_path and not out_of_reach(name):
        return  # `check_tokenizer` reports it
    try:
        shape = check.shape = model_shape(name, check.config.model_revision)
    except RecipeError as error:
        if not out_of_reach(name):
            raise
        check.note(f"the size of {name} is not known here: memory and disk are not checked", error.key)
        return
    origin = ", from our table of sizes" if shape.source == "table" else ""
    check.ok("model", f"{shape.parameters:,} parameters{origin}, {shape.max_positions} positions")


def check_precision(check: Check) -> None:
    """Checks that LoRA, 4-bit weights, dtype and accelerate file go together."""
    config, plan, sharding = check.config, check.plan, check.sharding
    if config.kind in ONLY_SAMPLE:
        return
    lora, dtype = config.use_peft, config.dtype
    on_gpu, vllm = not config.use_cpu, plan.backend != "hf"
    bits = next((key for key in ("load_in_4bit", "load_in_8bit") if getattr(config, key)), None)
    if bits and not lora:
        check.error("quantized weights cannot be trained, adapters on them can; set use_peft: true", bits)
    if bits and (sharding.stage == 3 or sharding.fsdp):
        check.error(f"would split the packed weights of {bits}; use ddp, or {bits}: false", "accelerate_config")
    elif lora and sharding.stage == 3 and config.kind in SAMPLING:
        check.error(
            "LoRA with ZeRO-3 gathers the whole model on every GPU for each rollout; use ddp, or use_peft: false",
            "accelerate_config",
        )
    if bits and vllm:
        check.error(
            f"TRL hands it the packed weights of {bits} as they are (TRL issue 4973); set use_vllm: false, or {bits}: "
            "false",
            "use_vllm",
        )
    elif lora and vllm and dtype in HALF:
        check.warning(
            f"LoRA on a half-precision base: each of the {check.steps[1] or 'many'} weight syncs adds the adapters in "
            "place and takes them out again, and the rounding adds up (TRL issue 6688); dtype: float32 does not drift, "
            "a larger steps_per_generation syncs less often",
            "dtype",
        )
    if lora and not bits and on_gpu and dtype == "float32":
        check.note("the base takes 4 bytes a parameter; bfloat16 takes 2, but drifts where vLLM is used", "dtype")
    if not lora and on_gpu and dtype in HALF and not sharding.stage and not sharding.fsdp:
        check.warning(
            "all weights are trained in half precision without DeepSpeed's 32-bit copy, so steps of learning_rate "
            f"{config.learning_rate:g} mostly round away; use float32 (bf16: true stays), or zero2 or zero3",
            "dtype",
        )
    if lora and config.sync_ref_model:
        check.error("TRL cannot sync a reference model with LoRA; set sync_ref_model: false", "sync_ref_model")
    if not on_gpu and (config.bf16 or config.fp16 or dtype in ("bfloat16", "float16")):
        key = next((key for key in ("bf16", "fp16") if getattr(config, key)), "dtype")
        check.warning("half precision is slower on a CPU; set bf16: false, fp16: false and dtype: float32", key)


def check_vllm(check: Check) -> None:
    """Checks the server's command line, and warns of a server that others reach.

    Raises:
        RecipeError: for a value of `vllm_serve_args` that no flag can have.
    """
    config, plan = check.config, check.plan
    beside_training = plan.backend == "colocate" and config.kind not in ONLY_SAMPLE
    if beside_training and not config.vllm_enable_sleep_mode:
        share = config.vllm_gpu_memory_utilization
        check.note(
            f"vLLM keeps its {share:.0%} of each GPU while training; with true it lets go of it",
            "vllm_enable_sleep_mode",
        )
    off = {"top_p": (1.0,), "top_k": (0, -1), "min_p": (None, 0.0)}
    filtered = [key for key, values in off.items() if getattr(config, key) not in values]
    trains = plan.backend in ("colocate", "server") and config.kind == "r1_grpo"
    if trains and filtered and config.vllm_importance_sampling_correction:
        check.warning(
            f"sampling is filtered ({', '.join(filtered)}), and vLLM's log-probabilities are of the filtered "
            "distribution, so the importance ratios are biased; use top_p: 1, top_k: 0 and no min_p, or "
            "vllm_importance_sampling_correction: false",
            filtered[0],
        )
    host = config.vllm_server_host
    if plan.backend == "server" and host not in (None, "127.0.0.1", "localhost", "::1"):
        check.warning(
            f"whoever reaches {host} can replace the server's weights; use 127.0.0.1, or a private network",
            "vllm_server_host",
        )
    if plan.backend == "server" and config.model_name_or_path:
        argv = server_argv(config, host or LOOPBACK, 0, check.longest_prompt + config.max_completion_length)
        if config.vllm_serve_command and shutil.which(argv[0]) is None:
            check.error(f"there is no program {argv[0]}; give its full path", "vllm_serve_command")


def check_context(check: Check) -> None:
    """Checks that the longest prompt and completion fit the model's positions, and vLLM's context."""
    config, shape, prompt = check.config, check.shape, check.longest_prompt
    completion = config.max_completion_length or 0
    both, positions = prompt + completion, shape.max_positions if shape else None
    asked = f"prompts of up to {prompt} and completions of up to {completion} tokens make {both}"
    if positions and both > positions:
        key, room = (
            ("max_completion_length", positions - prompt)
            if prompt < positions
            else ("max_prompt_tokens", positions - 1)
        )
        check.error(f"{asked}, and the model has {positions} positions; use at most {room}", key)
    if config.kind not in SAMPLING or not config.use_vllm:
        return
    served = (config.vllm_serve_args or {}).get("max_model_len")
    for key, limit in (("vllm_max_model_length", config.vllm_max_model_length), ("vllm_serve_args", served)):
        if not isinstance(limit, int):  # missing, or a spelling of vLLM's own: auto, 32k
            continue
        if limit < both:
            check.error(f"{asked}, and {limit} is too short; use {both}, or leave it out", key)
        elif positions and limit > positions:
            check.error(f"{limit} is more than the model's {positions} positions; leave it out", key)
