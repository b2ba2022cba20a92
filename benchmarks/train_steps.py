"""Speed and memory of training steps at a model's true size, with random weights: no download, no hub.

.venv/bin/python benchmarks/train_steps.py --config recipes/countdown-1gpu.yaml [--steps 20] [--gpus N] [--key value]

Makes a model of the size that the recipe names (its architecture from the local cache or from our table), random, with
the tokenizer of the tiny task; trains it through scripts/launch.py, so everything but the weights is what a user runs;
and writes the means over all steps but the first two to benchmarks/results/<recipe>-<device>.json. Random weights
rarely end a completion: rollouts are as long as they can be, so this is the slow and large end of a run.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # `tasks` is the package, not the benchmark beside this

from mini_r1.config.recipe import parse_command_line, resolve
from mini_r1.config.run_config import RunConfig, check, read_run
from mini_r1.errors import exit_on_recipe_error

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
WARM_UP = 2  # steps: compilation, caches, allocators
PARTS = ("step", "generation", "reward", "weight_sync", "logprobs", "update", "rest")


def main() -> None:
    path, given = parse_command_line(sys.argv[1:])
    steps, gpus = given.pop("steps", 20), given.pop("gpus", None)
    config = check("r1_grpo", resolve(path, given, "r1_grpo"))
    folder = random_model(config)
    name = config.recipe.name
    run = ROOT / "runs" / f"steps-{name}"
    settings = {
        "model_name_or_path": folder,
        "dataset_id_or_path": "null",  # generated problems
        "max_train_rows": "null",
        "test_fraction": 0,
        "max_steps": steps,
        "save_strategy": "no",
        "output_dir": run,
        "overwrite_output_dir": "true",
        "report_to": "none",
        "guards": '{"clipped_steps": 0, "no_variance_steps": 0}',  # random weights learn nothing
    }
    if not config.task_args:
        settings["task_args"] = '{"n": 5000, "seed": 0}'
    words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    words += ["--gpus", str(gpus)] if gpus is not None else []
    words += [word for key, value in given.items() if key not in settings for word in (f"--{key}", as_flag(value))]
    command = [sys.executable, str(ROOT / "scripts" / "launch.py"), "--config", path, *words]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status:
        sys.exit(status)
    result = measured(config, run)
    RESULTS.mkdir(exist_ok=True)
    device = re.sub(r"\W+", "-", (result["hardware"]["gpus"] or ["cpu"])[0].lower())
    file = RESULTS / f"{name}-{device}.json"
    file.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{json.dumps(result, indent=2)}\nwritten to {file.relative_to(ROOT)}")


def random_model(run: RunConfig) -> Path:
    """Makes a folder with random weights of the recipe's architecture and dtype, and the tiny task's tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig, set_seed

    from mini_r1 import tasks
    from mini_r1.config.arguments import RecipeArguments
    from mini_r1.data.problems import load_rows
    from mini_r1.data.prompts import get_template
    from mini_r1.launch.model_shapes import model_config
    from mini_r1.run.tiny_model import build_tokenizer

    name = run.model_name_or_path
    folder = ROOT / "runs" / f"random-{Path(name).name}"
    if (folder / "config.json").exists():
        return folder
    print(f"making a random {name} in {folder}", flush=True)
    task = tasks.get(run.task)
    template = get_template(run.prompt_template)
    tiny = read_run("build_model", ["--config", f"{run.task.replace('_', '-')}-tiny-base"])
    rows = load_rows(RecipeArguments(task=run.task, task_args=tiny.task_args), task).train
    tokenizer = build_tokenizer([(task, template, rows, tiny.trace_args or {})], seed=0)
    config, _ = model_config(name, run.model_revision)
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config.update(ids)
    set_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, run.dtype))
    model.generation_config = GenerationConfig(**ids)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def measured(config: RunConfig, run: Path) -> dict:
    """Returns means over the steps after the warm-up, in seconds, tokens and GiB."""
    history = json.loads((run / "trainer_state.json").read_text())["log_history"]
    manifest = json.loads((run / "manifest.json").read_text())
    steps = [entry for entry in history if "time/step" in entry][WARM_UP:]
    seconds = {part: sum(entry[f"time/{part}"] for entry in steps) / len(steps) for part in PARTS}
    tokens = [entry["tokens_per_second"] for entry in steps if "tokens_per_second" in entry]
    return {
        "recipe": config.recipe.path,
        "model": f"{config.model_name_or_path} (random weights)",
        "git_commit": manifest["git_commit"],
        "versions": manifest["versions"],
        "hardware": manifest["hardware"],
        "steps": len(steps),
        "seconds": {part: round(value, 3) for part, value in seconds.items()},
        "completion_tokens_per_second_of_generation": round(sum(tokens) / len(tokens), 1) if tokens else None,
        "mean_completion_length": round(sum(entry["completions/mean_length"] for entry in steps) / len(steps), 1),
        "peak_gpu_gib": max((entry["memory/peak_gib"] for entry in steps if "memory/peak_gib" in entry), default=None),
    }


def as_flag(value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    exit_on_recipe_error(main)
