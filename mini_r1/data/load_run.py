"""Turns a command line into a run that can start, by the same steps for all scripts."""

import dataclasses
import sys
from collections.abc import Callable

from mini_r1.config.algorithm import check_algorithm
from mini_r1.config.batch import plan_batch
from mini_r1.config.kinds import ONLY_SAMPLE, processes
from mini_r1.config.run_config import RunConfig, build, help_text, read_run
from mini_r1.data import hub
from mini_r1.data.conversations import check_sources
from mini_r1.data.mixture import check_parts, load_part_rewards, read_parts
from mini_r1.data.preferences import check_preferences
from mini_r1.errors import RecipeError, exit_on_recipe_error


def run_recipe(kind: str, work: Callable[[RunConfig], None]) -> None:
    """Runs a script of this kind: calls `work` with what the program's arguments ask for."""

    def main() -> None:
        config = load_run(kind, sys.argv[1:])
        with config.blame():
            work(config)

    exit_on_recipe_error(main, lambda: help_text(kind))


def load_run(kind: str, argv: list[str]) -> RunConfig:
    """Reads and checks the run that `argv` (without the program's name) asks for.

    It has its tasks, rewards and TRL's settings. All checks are made before anything large is loaded: keys and types
    first, then what needs TRL.

    Raises:
        RecipeError: for anything wrong with the flags, the files, a key, a value or a combination of values.
    """
    config = read_run(kind, argv)
    with config.blame():
        config = read_tasks(config)
        if kind == "build_model":
            return config
        if kind in ONLY_SAMPLE and (config.server or (config.use_vllm and config.vllm_mode == "server")):
            return build(config, use_cpu=True, bf16=False, fp16=False)  # the model is elsewhere
        config = build(config)
        check_built(config)
        return config


def read_tasks(config: RunConfig) -> RunConfig:
    """Reads the run's tasks and rewards, and makes all checks that need neither TRL nor torch."""
    if config.kind == "r1_grpo":
        plan_batch(config, processes())
        check_algorithm(config)
    if config.kind == "reward":
        check_preferences(config.args)
        hub.offline_if_unreachable(config, [config.args])
        return config
    parts = read_parts(config.args)
    if config.kind == "sft" and config.args.sft_datasets is not None:
        check_sources(config.args.sft_datasets)
    hub.offline_if_unreachable(config, [part.args for part in parts])
    rewards = load_part_rewards(parts) if config.kind == "r1_grpo" else []
    if config.kind != "build_model":
        check_parts(parts, rewards)
    return dataclasses.replace(config, parts=parts, rewards=rewards)


def check_built(config: RunConfig) -> None:
    """Refuses combinations that show only in TRL's settings, once they are built."""
    plugin = getattr(config.training, "deepspeed_plugin", None)
    if config.kind == "sft" and config.args.muon_learning_rate is not None and plugin is not None:
        raise RecipeError(
            "Muon needs whole matrices, and DeepSpeed splits them; use null (AdamW for all), or configs/ddp.yaml",
            key="muon_learning_rate",
        )
    if config.kind == "reward":
        if not config.model.model_name_or_path:
            raise RecipeError("is missing; name a model to begin with", key="model_name_or_path")
        if config.model.use_peft:
            raise RecipeError("a reward model is loaded whole, not as an adapter; use false", key="use_peft")
        if plugin is not None and plugin.zero_stage == 3:
            raise RecipeError("ZeRO-3 would split the model; use zero2 or ddp", key="accelerate_config")
