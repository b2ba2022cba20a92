"""The recipes for real hardware: every option that changes results is written out, and their headers say what is so."""

import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from repository import ROOT
from shipped import RUNS
from shipped_recipes import header_of, recipe_of
from trl import GRPOConfig, ModelConfig

from mini_r1.config.algorithm import check_algorithm
from mini_r1.config.batch import plan_batch
from mini_r1.config.keys import COSMETIC
from mini_r1.config.kinds import dataclass_types
from mini_r1.config.recipe import resolve
from mini_r1.config.run_config import build
from mini_r1.data.mixture import read_parts
from mini_r1.data.reward_loader import load_rewards
from mini_r1.launch.memory import estimate_memory
from mini_r1.launch.model_shapes import model_shape
from mini_r1.pipeline.stages import read_pipeline

PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
REAL = sorted(
    name
    for name, (path, stage) in RUNS.items()
    if "/" not in name and "tiny" not in name and resolve(path, stage).values["run"] == "r1_grpo"
)

BATCHES = {  # processes, completions a step, prompts a step, completions a rollout, completions of the whole run
    "countdown": (7, 448, 56, 448, 201_600),
    "countdown-colocate": (8, 448, 56, 448, 201_600),
    "countdown-modern": (8, 512, 32, 2048, 204_800),
    "countdown-1gpu": (1, 128, 8, 512, 64_000),
    "countdown-qlora": (1, 128, 16, 128, 32_000),
    "countdown-zero": (8, 512, 32, 2048, 204_800),
    "gsm8k": (8, 512, 32, 2048, 122_880),
    "knights-knaves": (8, 512, 32, 1024, 358_400),
    "gsm8k-reinforce-lite": (1, 160, 16, 160, 144_000),
    "gsm8k-reinforce-lite-phi": (1, 160, 16, 160, 144_000),
    "logic-rl-1": (4, 256, 8, 256, 25_600),
    "logic-rl-2": (4, 512, 8, 512, 102_400),
    "logic-rl-3": (4, 128, 8, 128, 12_800),
    "logic-rl-single": (4, 64, 8, 64, 230_400),
    "r1-zero": (7, 448, 28, 1792, 358_400),
    "r1": (7, 448, 28, 1792, 358_400),
    "r1-all": (7, 448, 28, 1792, 179_200),
}

# Fields that cannot change what is learned, beside those of recipe_keys.COSMETIC.
ELSEWHERE = {
    # how the work is shared out: configs/*.yaml and the launcher say it
    *("use_cpu", "deepspeed", "fsdp", "fsdp_config", "parallelism_config", "accelerator_config", "ddp_backend"),
    *("ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph"),
    # how rows are fetched, which is decided by TRL's own sampler
    *("dataloader_num_workers", "dataloader_persistent_workers", "dataloader_prefetch_factor", "dataloader_in_order"),
    *("dataloader_multiprocessing_context", "dataloader_drop_last", "train_sampling_strategy", "length_column_name"),
    # what is measured or written down
    *("debug", "skip_memory_metrics", "include_num_input_tokens_seen", "include_for_metrics", "batch_eval_metrics"),
    *("prediction_loss_only", "eval_do_concat_batches", "eval_use_gather_object", "eval_accumulation_steps"),
    # read by nothing in a GRPO run with text prompts, without tools: checked in the source of TRL 1.16
    *("do_train", "do_eval", "do_predict", "label_names", "label_smoothing_factor", "average_tokens_across_devices"),
    *("max_tool_calling_iterations", "auto_find_batch_size", "torch_empty_cache_steps"),
    # always as they are: our rewards need all columns, and a resumed run goes on where it was
    *("remove_unused_columns", "ignore_data_skip", "restore_callback_states_from_checkpoint"),
    # derived from the data: the longest prompt plus max_completion_length
    "vllm_max_model_length",
    # old names of other fields
    *("use_transformers_paged", "vllm_importance_sampling_cap"),
}

DENSE = ("Qwen2.5", "Llama-3.2", "Phi-3.5")  # no mixtures of experts

# Fields that act only in company: where a recipe leaves them out, the condition must not hold.
ONLY_WHERE = {
    ("num_train_epochs",): lambda v: v["max_steps"] < 1,
    ("eval_steps", "eval_delay", "eval_on_start"): lambda v: v["eval_strategy"] != "no",
    ("metric_for_best_model", "greater_is_better"): lambda v: v["load_best_model_at_end"],
    ("torch_compile_backend", "torch_compile_mode"): lambda v: v["torch_compile"],
    ("liger_kernel_config",): lambda v: v["use_liger_kernel"],
    ("router_aux_loss_coef",): lambda v: not any(name in v["model_name_or_path"] for name in DENSE),
    ("sapo_temperature_neg", "sapo_temperature_pos"): lambda v: v["loss_type"] == "sapo",
    ("vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg", "vespo_lambda_neg"): lambda v: v["loss_type"] == "vespo",
    ("ref_model_mixup_alpha", "ref_model_sync_steps"): lambda v: v["sync_ref_model"],
    ("entropy_coef_min", "entropy_coef_max", "entropy_coef_delta", "entropy_target"): lambda v: v[
        "use_adaptive_entropy"
    ],
    ("transformers_continuous_batching_config",): lambda v: v["use_transformers_continuous_batching"],
    ("vllm_mode",): lambda v: v["use_vllm"],
    ("vllm_enable_sleep_mode", "vllm_gpu_memory_utilization"): lambda v: v["use_vllm"] and v["vllm_mode"] == "colocate",
    ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_target_parameters"): lambda v: v["use_peft"],
    ("lora_modules_to_save", "lora_task_type", "use_rslora", "use_dora"): lambda v: v["use_peft"],
    ("bnb_4bit_quant_type", "use_bnb_nested_quant", "bnb_4bit_quant_storage"): lambda v: v["load_in_4bit"],
}


def fields() -> set[str]:
    return {field.name for owner in (GRPOConfig, ModelConfig) for field in dataclasses.fields(owner) if field.init}


def test_all_are_known_here():
    assert sorted(BATCHES) == REAL


def test_the_lists_name_fields_that_exist():
    conditional = [name for names in ONLY_WHERE for name in names]
    assert len(conditional) == len(set(conditional))
    assert (ELSEWHERE | set(conditional)) <= fields()
    assert not ELSEWHERE & (COSMETIC | set(conditional))


@pytest.mark.parametrize("stem", REAL)
def test_every_option_that_changes_results_is_written_out(stem):
    values = recipe_of(stem).recipe.values
    excused = {name for names, acts in ONLY_WHERE.items() if not acts(values) for name in names}
    assert sorted(fields() - COSMETIC - ELSEWHERE - excused - values.keys()) == []


@pytest.mark.parametrize("stem", REAL)
def test_batch(stem):
    config, header = recipe_of(stem), header_of(stem)["Batch"]
    plan = plan_batch(config, config.num_processes)
    steps_per_rollout = plan.completions_per_generation // plan.completions_per_step
    whole_run = plan.completions_per_generation * plan.max_steps // steps_per_rollout
    assert BATCHES[stem] == (
        plan.processes,
        plan.completions_per_step,
        plan.prompts_per_step,
        plan.completions_per_generation,
        whole_run,
    )
    assert (
        f"x {plan.per_device} per device x {plan.accumulation} accumulation = {plan.completions_per_step} completions "
        f"= {plan.prompts_per_step} prompts x {plan.num_generations}, a step" in header
    )
    if steps_per_rollout > 1:
        assert (
            f"a rollout is {plan.processes} x {plan.per_device} x {plan.steps_per_generation} = "
            f"{plan.completions_per_generation} completions = {plan.prompts_per_generation} prompts x "
            f"{plan.num_generations}, and serves {steps_per_rollout} steps" in header
        )
        assert plan.max_steps % steps_per_rollout == 0


@pytest.mark.parametrize("stem", REAL)
def test_header(stem):
    header = header_of(stem)
    assert list(header) == ["Hardware", "Batch", "Memory", "Time", "Score", "Command"]
    assert header["Command"].startswith(f"make check-{stem}, then make train-{stem}")
    assert "Not run by us" in header["Score"]
    for label in ("Time", "Score"):
        assert re.search(r"\((cited|projected)\b", header[label]), label
    gib = recipe_of(stem).gpu_gib
    assert f"{gib:g} GB" in header["Hardware"]


@pytest.mark.parametrize("stem", REAL)
def test_hardware(stem):
    values = recipe_of(stem).recipe.values
    assert not values.keys() & {"vllm_server_port", "vllm_group_port"}  # the launcher finds free ones
    config = values["accelerate_config"]
    assert (values["num_processes"] > 1) == (config is not None)
    assert config is None or (ROOT / "configs" / f"{config}.yaml").is_file()
    if values["use_peft"]:
        assert config != "zero3"  # it would gather the whole model for every rollout
        assert values["lora_dropout"] == 0  # another policy than the one that generates
    elif config is None:  # 16-bit weights alone lose steps this small
        assert values["dtype"] == "float32"
    else:  # DeepSpeed keeps 32-bit ones
        assert config.startswith("zero")
        assert values["dtype"] == "bfloat16"
    assert not (values["load_in_4bit"] and values["use_vllm"])  # TRL 1.16 hands vLLM packed weights without scales
    assert values["save_total_limit"] >= 2


@pytest.mark.parametrize("stem", REAL)
def test_memory(stem):
    config, header = recipe_of(stem), header_of(stem)["Memory"]
    estimate = estimate_memory(
        config,
        model_shape(config.model_name_or_path),
        processes=config.num_processes,
        backend=config.vllm_mode if config.use_vllm else "hf",
        prompt_tokens=config.max_prompt_tokens,
        gpu_gib=config.gpu_gib,
    )
    assert estimate.fits
    said, of = re.match(r"about (\d+) GiB of (\d+)", header).groups()
    assert int(of) == config.gpu_gib
    assert abs(int(said) - estimate.total) < 1.5


@pytest.mark.parametrize("stem", REAL)
def test_builds_and_the_gold_answer_gets_the_highest_reward(stem, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = build(recipe_of(stem).with_values(use_cpu=True, bf16=False))
    training = config.training
    assert (training.learning_rate, config.model.use_peft) == (config.learning_rate, config.use_peft)
    for part in read_parts(config.args):
        task, args = part.task, part.args
        row = task.parse_row(task.generate(1, 0)[0])
        summary = "All in all it is " if part.template.asks_for_summary else ""
        texts = [f"<think>so it is</think>\n{summary}<answer>{task.gold_answer(row)}</answer>", "我不知道。"]
        columns = {name: [value, value] for name, value in row.items()}
        ids = [[1] * 100, [1] * training.max_completion_length]
        loaded = load_rewards(args.reward_funcs, args.reward_values, args.require_format, task, part.template)
        by_rules = [reward for reward in loaded if not hasattr(reward, "judge")]
        given = [reward(completions=texts, completion_ids=ids, **columns) for reward in by_rules]
        best, worst = zip(*given, strict=True)
        if args.reward_values:
            expected = tuple(sum(numbers[verdict] for numbers in args.reward_values.values()) for verdict in (0, 2))
            assert expected in ((3, -3), (1, -1))
        else:
            overlong = any(isinstance(one, dict) and one["name"] == "soft_overlong" for one in args.reward_funcs)
            expected = (2, -1) if overlong else (len(by_rules), 0)
        assert (sum(best), sum(worst)) == expected


def test_overlong_shaping_ends_where_completions_do():
    for stem in REAL:
        values = recipe_of(stem).recipe.values
        for reward in values["reward_funcs"]:
            if isinstance(reward, dict) and reward["name"] == "soft_overlong":
                assert reward["max_completion_len"] == values["max_completion_length"], stem


def test_what_compares_differs_only_where_it_says():
    """countdown-colocate trains as countdown does, and countdown-zero as countdown-modern."""
    hardware = {"num_processes", "gradient_accumulation_steps", "output_dir", "vllm_server_host", "vllm_mode"}
    hardware |= {"vllm_enable_sleep_mode", "vllm_gpu_memory_utilization"}
    for one, other, allowed in (
        ("countdown", "countdown-colocate", hardware),
        ("countdown-modern", "countdown-zero", {"model_name_or_path", "prompt_template", "output_dir"}),
    ):
        a, b = recipe_of(one).recipe.values, recipe_of(other).recipe.values
        assert {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)} <= allowed


@pytest.mark.parametrize("stem", REAL)
def test_algorithm_keys_fit_together(stem):
    check_algorithm(recipe_of(stem))


@pytest.mark.parametrize("stem", REAL)
def test_the_page_has_it(stem):
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{stem}` |")]
    assert len(rows) == 1
    _, completions, _, rollout, _ = BATCHES[stem]
    assert f"{completions}" in rows[0]
    assert f"{rollout:,}" in rows[0] or rollout == completions
    assert "cited" in rows[0] or "projected" in rows[0]


def test_keys_on_the_page_are_known():
    known = fields() | {field.name for field in dataclasses.fields(dataclass_types("r1_grpo")[0])}
    for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.S):
        assert yaml.safe_load(block).keys() <= known


def test_the_r1_recipes_ask_the_same_problems():
    """They would not hold out the same ones otherwise."""
    kinds = {"r1-zero": "r1_grpo", "r1": "r1_grpo", "r1-all": "r1_grpo", "r1-sft": "sft", "r1-samples-sft": "sft"}
    kinds |= {"r1-generate": "generate", "r1-eval": "evaluate", "r1-zero-eval": "evaluate"}
    kinds |= {"distill-generate": "generate", "distill-sft": "sft", "distill-eval": "evaluate"}
    less = {"reward_funcs", "max_train_rows"}  # which say nothing of what is held out
    asked = {}
    for stem, kind in kinds.items():
        for part in recipe_of(stem, kind).recipe.values["tasks"]:
            own = {key: value for key, value in part.items() if key not in less}
            assert asked.setdefault(part["task"], own) == own, (stem, part["task"])
    assert set(asked) == {"gsm8k", "knights_knaves", "countdown", "chat"}


@pytest.mark.parametrize("name", ["r1-zero", "r1", "distill"])
def test_stages_of_r1_run_where_their_recipes_do(name, monkeypatch):
    """So that each recipe, alone, begins with what the pipeline would hand it; but for measurements in between."""
    monkeypatch.chdir(ROOT)
    for stage in read_pipeline(f"recipes/pipelines/{name}.yaml", 7).stages:
        if stage.kind != "evaluate" or stage.name == "greedy":
            assert stage.folder.parent == Path("runs") and stage.folder.name.startswith(name)
            assert stage.folder.name.removesuffix("-s7") in RUNS
