"""The end of a run: save the model, write the summary, show the table and the plot."""

import json
from pathlib import Path

from mini_r1.run_dir import Run


def model_kwargs(model_args, training) -> dict:
    """What `from_pretrained` gets, from TRL's `ModelConfig`."""
    return {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
        # the key-value cache is of no use while gradient checkpointing recomputes activations
        "use_cache": not training.gradient_checkpointing,
        **(training.model_init_kwargs or {}),
    }


def save_and_publish(trainer, training, args) -> None:
    """Model (or LoRA adapter), tokenizer, log history and model card into the run directory; to the hub when asked."""
    trainer.save_model(training.output_dir)
    trainer.save_state()
    if trainer.accelerator.is_main_process:
        name = training.hub_model_id or Path(training.output_dir).name
        trainer.create_model_card(model_name=name.split("/")[-1], dataset_name=args.dataset_id_or_path)
    if training.push_to_hub:
        trainer.push_to_hub(dataset_name=args.dataset_id_or_path)


def finish_run(run: Run, init_from: str, before: dict | None, after: dict | None, seconds: float) -> None:
    """Write `summary.json` with the times of the stages that led here, print the table, draw the plot.

    Args:
        init_from: the model folder this run began with; its own `summary.json` tells what making it took.
        seconds: training time of this run.
    """
    earlier = Path(init_from) / "summary.json"
    cold_start = json.loads(earlier.read_text())["seconds"]["total"] if earlier.exists() else 0.0
    summary = {
        "stage": "r1_grpo",
        "before": before,
        "after": after,
        "seconds": {
            "cold_start": round(cold_start, 1),
            "grpo": round(seconds, 1),
            "total": round(cold_start + run.seconds(), 1),
        },
        "seed": run.recipe.values.get("seed"),
    }
    run.finish(summary)
    if not run.main_process:
        return
    if before and after:
        print("\n" + results_table(before, after))
        from mini_r1.plots import plot_runs

        plot_runs([run.folder], run.recipe.name, run.folder / "training.png")
    print(f"model, samples, summary.json and training.png are in {run.folder}")


def results_table(before: dict | None, after: dict) -> str:
    """What was measured, as a table for the terminal: after alone, or before and after."""
    groups = ["all"]
    if len(after["by_difficulty"]) > 1:
        groups += list(after["by_difficulty"])
    lines = [f"{'difficulty':<12}{'n':>6}   {'pass@1':<18}{'format':<18}{'mean length':<18}"]
    for group in groups:
        old, new = ((m if group == "all" else m["by_difficulty"][group]) if m else {} for m in (before, after))
        cells = []
        for key, digits in (("pass@1", 3), ("format", 3), ("mean_length", 1)):
            values = [f"{m[key]:.{digits}f}" for m in (old, new) if key in m]
            cells.append(f"{' -> '.join(values):<18}")
        lines.append(f"{group:<12}{new['n']:>6}   {''.join(cells)}")
    lines.append(f"held-out problems; pass@1 is the mean over {after['samples']} samples of each")
    return "\n".join(lines)
