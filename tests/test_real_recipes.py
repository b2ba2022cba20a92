"""The recipes for real hardware: every option that changes results is written out, and their headers say what is so."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
import yaml
from transformers import get_scheduler
from trl import GRPOConfig, ModelConfig

import tasks
from mini_r1.algorithm_settings import check_algorithm
from mini_r1.arguments import GRPOArguments
from mini_r1.batch import plan_batch
from mini_r1.data import load_rows
from mini_r1.memory import estimate_memory
from mini_r1.model_shapes import model_shape
from mini_r1.pipeline import read_pipeline
from mini_r1.prompts import get_template
from mini_r1.recipe import Recipe, build, check, resolve
from mini_r1.recipe_keys import COSMETIC
from mini_r1.reward_loader import load_rewards
from mini_r1.schedules import read_temperature_schedule
from mini_r1.stages import dataclass_types

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
TINY = ("-tiny", "-sft", "-base", "-eval")
REAL = sorted(path.stem for path in ROOT.glob("recipes/*.yaml") if not any(word in path.stem for word in TINY))

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
}
LOGIC_RL = ("logic-rl-1", "logic-rl-2", "logic-rl-3")

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


def recipe_of(stem: str, kind: str = "r1_grpo") -> Recipe:
    return check(resolve(ROOT / "recipes" / f"{stem}.yaml"), dataclass_types(kind))


def header_of(stem: str) -> dict[str, str]:
    """Label -> text, of a recipe's leading comment."""
    text = (ROOT / "recipes" / f"{stem}.yaml").read_text(encoding="utf-8").split("\nextends:")[0]
    parts = re.split(r"^# (Hardware|Batch|Memory|Time|Score|Command) +", text, flags=re.M)[1:]
    return {
        label: " ".join(part.replace("#", " ").split()) for label, part in zip(parts[::2], parts[1::2], strict=True)
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
    values = recipe_of(stem).values
    excused = {name for names, acts in ONLY_WHERE.items() if not acts(values) for name in names}
    assert sorted(fields() - COSMETIC - ELSEWHERE - excused - values.keys()) == []


@pytest.mark.parametrize("stem", REAL)
def test_batch(stem):
    values, header = recipe_of(stem).values, header_of(stem)["Batch"]
    plan = plan_batch(values, values["num_processes"])
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
    gib = recipe_of(stem).values["gpu_gib"]
    assert f"{gib:g} GB" in header["Hardware"]


@pytest.mark.parametrize("stem", REAL)
def test_hardware(stem):
    values = recipe_of(stem).values
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
    values, header = recipe_of(stem).values, header_of(stem)["Memory"]
    estimate = estimate_memory(
        values,
        model_shape(values["model_name_or_path"]),
        processes=values["num_processes"],
        backend=values["vllm_mode"] if values["use_vllm"] else "hf",
        prompt_tokens=values["max_prompt_tokens"],
        gpu_gib=values["gpu_gib"],
    )
    assert estimate.fits
    said, of = re.match(r"about (\d+) GiB of (\d+)", header).groups()
    assert int(of) == values["gpu_gib"]
    assert abs(int(said) - estimate.total) < 1.5


@pytest.mark.parametrize("stem", REAL)
def test_builds_and_the_gold_answer_gets_the_highest_reward(stem, monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe = recipe_of(stem)
    recipe.values.update(use_cpu=True, bf16=False)
    args, training, model_args = build(recipe, dataclass_types("r1_grpo"))
    assert (training.learning_rate, model_args.use_peft) == (recipe.values["learning_rate"], recipe.values["use_peft"])
    task = tasks.get(args.task)
    row = task.parse_row(task.generate(1, 0)[0])
    texts = [f"<think>so</think>\n<answer>{task.gold_answer(row)}</answer>", "I do not know."]
    columns = {name: [value, value] for name, value in row.items()}
    ids = [[1] * 100, [1] * training.max_completion_length]
    best, worst = zip(
        *(
            reward(completions=texts, completion_ids=ids, **columns)
            for reward in load_rewards(args.reward_funcs, args.reward_values, args.require_format, task)
        ),
        strict=True,
    )
    overlong = len(args.reward_funcs) == 3
    if args.reward_values:
        expected = tuple(sum(numbers[verdict] for numbers in args.reward_values.values()) for verdict in (0, 2))
        assert expected in ((3, -3), (1, -1))
    else:
        expected = (2, -1 if overlong else 0)
    assert (sum(best), sum(worst)) == expected


def test_overlong_shaping_ends_where_completions_do():
    for stem in REAL:
        values = recipe_of(stem).values
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
        a, b = recipe_of(one).values, recipe_of(other).values
        assert {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)} <= allowed


@pytest.mark.parametrize("stem", ["gsm8k-reinforce-lite", "gsm8k-reinforce-lite-phi"])
def test_reinforce_lite_is_as_published(stem):
    """Its report, and github.com/Raj-08/Q-Flow."""
    values = recipe_of(stem).values
    published = {
        "num_generations": 10,
        "reward_funcs": ["number_reward"],
        "reward_values": {"number_reward": [1, -1, -1]},
        "max_completion_length": 1024,
        "temperature": 0.7,
        "top_p": 0.9,
        "advantage": "reinforce_lite",
        "trained_completions": "one",
        "max_grad_norm": 1.0,
        "learning_rate": 1.0e-6,
        "beta": 0.0,  # no reference, no KL
        "num_processes": 1,
        "gpu_gib": 48,
    }
    assert {key: values[key] for key in published} == published
    assert get_template(values["prompt_template"]).prefill == ""
    # REINFORCE: the sum over a completion's tokens, mean over completions, and a ratio that is always 1
    assert (values["loss_type"], values["importance_sampling_level"]) == ("luspo", "sequence")
    assert (values["steps_per_generation"], values["num_iterations"]) == (None, 1)
    assert not values["vllm_importance_sampling_correction"]


def test_reinforce_lite_differs_in_the_model_only():
    one, other = (recipe_of(stem).values for stem in ("gsm8k-reinforce-lite", "gsm8k-reinforce-lite-phi"))
    allowed = {"model_name_or_path", "output_dir", "per_device_train_batch_size", "gradient_accumulation_steps"}
    assert {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)} == allowed
    assert (
        "Llama-3.2-3B-Instruct" in one["model_name_or_path"] and "Phi-3.5-mini-instruct" in other["model_name_or_path"]
    )


def test_logic_rl_is_as_published():
    """Their first report: people, rollouts, training batch, sampling, and the last learning rate, by stage."""
    stages = [recipe_of(stem).values for stem in LOGIC_RL]
    assert [v["task_args"]["count"] for v in stages] == [[3], [5], [5]]
    assert [v["num_generations"] for v in stages] == [32, 64, 16]
    assert [plan_batch(v, 4).prompts_per_step for v in stages] == [8, 8, 8]
    assert sum(v["max_steps"] for v in stages) == 400
    assert [v["temperature"] for v in stages] == [1.0, 1.2, 0.9]
    assert [v.get("temperature_schedule") for v in stages] == [None, None, {"fractions": [[0, 1.2], [1, 0.9]]}]
    schedule = read_temperature_schedule(stages[2]["temperature_schedule"])
    steps = stages[2]["max_steps"]
    assert (schedule.at(0, steps), schedule.at(steps - 1, steps)) == (1.2, 0.9)
    for values in stages:
        assert values["reward_values"] == {"format_reward": [1, -1, -1], "roles_reward": [2, -1.5, -2]}
        assert values["require_format"] == ["roles_reward"]
        assert (values["advantage"], values["beta"], values["entropy_coef"]) == ("group", 0.001, 0.0)
        assert (values["num_processes"], values["gpu_gib"]) == (4, 80)
    assert [v["learning_rate"] for v in stages] == [4e-7] * 3
    assert last_learning_rate(stages[2]) == pytest.approx(2e-7, rel=0.01)
    assert last_learning_rate(stages[1]) == 4e-7


def last_learning_rate(values: dict) -> float:
    """That of the last optimizer step, by the installed transformers."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=values["learning_rate"])
    scheduler = get_scheduler(
        values["lr_scheduler_type"],
        optimizer,
        num_warmup_steps=values["warmup_steps"],
        num_training_steps=values["max_steps"],
        scheduler_specific_kwargs=values["lr_scheduler_kwargs"],
    )
    for _ in range(values["max_steps"] - 1):
        optimizer.step()
        scheduler.step()
    return scheduler.get_last_lr()[0]


def test_logic_rl_measures_what_no_stage_trains_on():
    """Fewer than 2,000 puzzles in all, of which those of 5 people that are measured are in no stage's training."""
    splits = {}
    for stem in (*LOGIC_RL, "logic-rl-eval"):
        args = arguments_of(stem, "evaluate" if stem == "logic-rl-eval" else "r1_grpo")
        splits[stem] = load_rows(args, tasks.get(args.task))
    key = tasks.get("knights_knaves").key
    trained = {key(row) for stem in LOGIC_RL for row in splits[stem].train}
    measured = splits["logic-rl-eval"].test
    assert {len(row["names"]) for row in measured} == {5}
    assert not trained & {key(row) for row in measured}
    held_out = {key(row) for split in splits.values() for row in split.test}
    assert not trained & held_out
    assert len(trained | held_out) < 2000
    counts = [len(splits[stem].train) for stem in LOGIC_RL]
    assert (counts, len(measured)) == ([804, 917, 917], 183)  # as the headers say
    for stem, count in zip(LOGIC_RL, counts, strict=True):
        assert f"{count} training puzzles" in header_of(stem)["Batch"]


def arguments_of(stem: str, kind: str) -> GRPOArguments:
    values = recipe_of(stem, kind).values
    return GRPOArguments(
        **{field.name: values[field.name] for field in dataclasses.fields(GRPOArguments) if field.name in values}
    )


def test_logic_rl_single_is_the_papers_run():
    """arXiv:2502.14768: REINFORCE++, 3,600 steps of 8 prompts x 8, 4e-7 throughout, temperature 0.7, KL 0.001."""
    values = recipe_of("logic-rl-single").values
    assert (values["advantage"], values["beta"], values["max_steps"]) == ("batch", 0.001, 3600)
    assert (values["learning_rate"], values["lr_scheduler_type"]) == (4e-7, "constant")
    assert (values["temperature"], values.get("temperature_schedule")) == (0.7, None)
    assert (values["num_generations"], values["max_completion_length"]) == (8, 4096)
    assert values["dataset_train_split"] == "3ppl+4ppl+5ppl+6ppl+7ppl"


def test_logic_rl_pipeline(monkeypatch):
    """Each stage begins with the one before, and is followed by the same measurement; GSM8K at both ends."""
    monkeypatch.chdir(ROOT)
    stages = read_pipeline("recipes/pipelines/logic-rl.yaml", 7).stages
    assert [(stage.kind, Path(stage.recipe).stem, stage.parent) for stage in stages] == [
        ("evaluate", "logic-rl-eval", None),
        ("evaluate", "logic-rl-gsm8k-eval", None),
        ("r1_grpo", "logic-rl-1", None),
        ("evaluate", "logic-rl-eval", "format"),
        ("r1_grpo", "logic-rl-2", "format"),
        ("evaluate", "logic-rl-eval", "explore"),
        ("r1_grpo", "logic-rl-3", "explore"),
        ("evaluate", "logic-rl-eval", "anneal"),
        ("evaluate", "logic-rl-gsm8k-eval", "anneal"),
    ]
    for stage in stages:
        if stage.parent is None:
            assert stage.resolved.values["model_name_or_path"] == recipe_of("logic-rl-1").values["model_name_or_path"]
        else:
            assert stage.resolved.values["model_name_or_path"] == str(stage.init_from)


@pytest.mark.parametrize("stem", ["logic-rl-eval", "logic-rl-gsm8k-eval"])
def test_logic_rl_evaluations(stem):
    """One greedy completion of each problem, without what only training needs; the whole model fits each GPU."""
    values = recipe_of(stem, "evaluate").values
    assert (values["top_k"], values["num_generations_eval"], values["beta"]) == (1, 1, 0.0)
    assert (values["max_eval_rows"], values["prompt_template"]) == (None, "logic_rl")
    assert values.get("temperature_schedule") is None
    plan_batch(values, 4)
    estimate = estimate_memory(
        values, model_shape(values["model_name_or_path"]), processes=4, backend="colocate", kind="evaluate",
        prompt_tokens=values["max_prompt_tokens"], gpu_gib=values["gpu_gib"],
    )  # fmt: skip
    assert estimate.fits


@pytest.mark.parametrize("stem", REAL)
def test_algorithm_keys_fit_together(stem):
    check_algorithm(recipe_of(stem).values)


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
