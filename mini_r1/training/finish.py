"""Saves a trained model, writes the summary of a GRPO run, and shows what was measured as a table."""

import json
from pathlib import Path

from mini_r1.run.run_dir import Run
from mini_r1.training.model_card import write_card


def save_and_publish(trainer, run: Run, before: dict | None, after: dict | None) -> None:
    """Saves model or LoRA adapter, tokenizer, log and model card in the run directory, and on the hub when asked."""
    trainer.save_model(str(run.folder))
    trainer.save_state()
    if run.main_process:
        write_card(run.folder, run.config, before, after)
    if trainer.args.push_to_hub:
        trainer.push_to_hub()


def finish_grpo(run: Run, before: dict | None, after: dict | None, seconds: float) -> None:
    """Writes `summary.json`, prints the table.

    Args:
        seconds: training time of this run. The time of the cold start is in the summary of the model it began with.
    """
    earlier = Path(run.config.model_name_or_path) / "summary.json"
    cold_start = json.loads(earlier.read_text())["seconds"]["total"] if earlier.exists() else 0.0
    total = cold_start + run.preparation + run.seconds()
    times = {"cold_start": round(cold_start, 1), "grpo": round(seconds, 1), "total": round(total, 1)}
    run.finish({"stage": "r1_grpo", "before": before, "after": after, "seconds": times, "seed": run.config.seed})
    if before and after:
        run.say("\n" + results_table(before, after))


def results_table(before: dict | None, after: dict) -> str:
    """Returns what was measured as a table for the terminal: after alone, or before and after."""
    groups, by = ["all"], "by_task" if "by_task" in after else "by_difficulty"
    if len(after[by]) > 1:
        groups += list(after[by])
    width = max(12, *(len(group) + 2 for group in groups))
    lines = [f"{by.removeprefix('by_'):<{width}}{'n':>6}   {'pass@1':<34}{'right format':<18}{'mean length':<18}"]
    for group in groups:
        old, new = ((m if group == "all" else m[by][group]) if m else {} for m in (before, after))
        bounds = new["intervals"]["pass@1"] if group == "all" else new["interval"]
        cells = [f"{_change(old, new, 'pass@1') + ' (' + _between(bounds) + ')':<34}"]
        cells += [f"{_change(old, new, 'format'):<18}", f"{_change(old, new, 'mean_length', 1):<18}"]
        lines.append(f"{group:<{width}}{new['n']:>6}   {''.join(cells)}".rstrip())
    names = [name for name in after if name.startswith(("pass@", "maj@")) and name != "pass@1"]
    for name in [*names, "greedy", "right_given_format", "cut_off", "language"]:
        if after.get(name) is not None:
            bounds = after["intervals"][name]
            lines.append(f"{name.replace('_', ' ')} {_change(before or {}, after, name)} ({_between(bounds)})")
    for name, of in after["lengths"].items():
        if of["n"]:
            label = name.replace("_", " ")
            lines.append(f"{label}: {of['n']} completions, {of['mean']:.1f} tokens ({of['min']} to {of['max']})")
    samples = after["samples"]
    how = f"pass@1 is the mean over {samples} samples of each" if samples > 1 else "one sample of each"
    return "\n".join([*lines, f"held-out problems; {how}; in brackets the 95% interval over problems"])


def _change(old: dict, new: dict, name: str, digits: int = 3) -> str:
    return " -> ".join(f"{m[name]:.{digits}f}" for m in (old, new) if m.get(name) is not None)


def _between(bounds: list[float]) -> str:
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}"
