"""README.md of a run directory, which is the model card when the model is pushed to the hub, and of a data set."""

import json
from pathlib import Path

from mini_r1.config.recipe import Recipe
from mini_r1.evaluation.judge import describe_judge

METHODS = {
    "grpo": "GRPO (arXiv:2402.03300)",
    "sft": "supervised fine-tuning",
    "distill": "on-policy distillation (arXiv:2306.13649)",
}


def write_card(folder: Path, recipe: Recipe, kind: str, before: dict | None, after: dict | None) -> None:
    """Write the card: what it was trained on and from, what was measured, and how to do it again.

    Args:
        kind: a key of `METHODS`, or "reward".
        before, after: what `R1GRPOTrainer.measure` returned, where it was measured; after for "reward":
            its accuracy.
    """
    values = recipe.values
    base, dataset = values.get("model_name_or_path", ""), values.get("dataset_id_or_path")
    front = ["---", "library_name: transformers", f"tags: [trl, {kind}, reasoning]"]
    if base.count("/") == 1 and not Path(base).exists() and not base.startswith("runs/"):
        front.append(f"base_model: {base}")
    if dataset and dataset.count("/") == 1 and not Path(dataset).exists():
        front.append(f"datasets: [{dataset}]")
    manifest = json.loads((folder / "manifest.json").read_text())
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items() if version)
    if kind == "reward":
        lines = _reward_lines(folder, recipe, after)
        lines = [*front, *lines, "", f"Versions: {versions}; git commit {manifest['git_commit']}.", ""]
        (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")
        return
    lines = [
        *front,
        "---",
        f"# {folder.name}",
        "",
        f"Trained with {METHODS[kind]}{_teacher(values, kind)} by the recipe `{recipe.path}`, from `{base}`, on the "
        f"task `{values.get('task')}` ({dataset or 'generated problems'}), seed {values.get('seed')}. The resolved "
        "recipe is in `recipe.yaml`, everything about the machine in `manifest.json`.",
        "",
        *_table(before, after),
        f"Prompts follow the template `{values.get('prompt_template')}`; the model answers as "
        "`<think>...</think> <answer>...</answer>`.",
        "",
        f"Versions: {versions}; git commit {manifest['git_commit']}.",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _reward_lines(folder: Path, recipe: Recipe, found: dict) -> list[str]:
    values = recipe.values
    paths = ", ".join(f"`{one['path']}`" for one in values.get("preference_datasets") or [])
    source = paths or f"the task `{values.get('task')}`, which wrote them"
    lines = [
        "---",
        f"# {folder.name}",
        "",
        f"A reward model, trained by the recipe `{recipe.path}`, from `{values.get('model_name_or_path')}`, on the "
        f"preference pairs of {source}, seed {values.get('seed')}. Its one label scores a conversation whose last turn "
        f"is the {values.get('part', 'response')} of an answer.",
    ]
    if found["n"]:
        scores = " -> ".join(f"{found[when]:.3f}" for when in ("before", "after"))
        lines += ["", f"Of {found['n']} held-out pairs this share is in the right order: {scores}."]
    return lines


def write_dataset_card(folder: Path, recipe: Recipe, measured: dict, found: dict) -> None:
    """Write `dataset/README.md`: what was sampled from, what was kept, and how to do it again.

    Args:
        measured: the model, see `run_dir.refuse_other_model`.
        found: see `generated.write_generated`.
    """
    values, filters, judge = recipe.values, found["filters"], found.get("judge")
    asked = values.get("task") or ", ".join(entry["task"] for entry in values["tasks"])
    base = measured["served"] or measured["model"]
    sampling = ("num_generations", "temperature", "top_p", "top_k", "max_completion_length")
    drawn = ", ".join(f"{key} {values[key]}" for key in sampling if values.get(key) is not None)
    switched = ", ".join(f"{name}: {json.dumps(value)}" for name, value in filters.items())
    lines = [
        "---",
        "task_categories: [text-generation]",
        "tags: [reasoning, rejection-sampling]",
        "---",
        f"# {folder.name}",
        "",
        f"{found['kept']} conversations for supervised fine-tuning, each with "
        f"{'an answer that a model judged right' if judge else 'a right answer'}: rejection sampling "
        f"(DeepSeek-R1, arXiv:2501.12948, section 2.3.3) by the recipe `{recipe.path}`, from `{base}`, on the training "
        f"problems of `{asked}` ({values.get('dataset_id_or_path') or 'generated problems'}), "
        f"seed {values.get('seed')}.",
        "",
        f"Sampled with {drawn}. Of {found['samples']} samples of {found['problems']} problems {found['right']:.3f} are "
        f"right; at most {found['keep_per_problem']} of a problem were kept. Filters: {switched}.",
        "",
        *([f"What is right was judged by a model, which can be wrong: {describe_judge(judge)}.", ""] if judge else []),
        "| left out because | samples |",
        "|---|--:|",
        *(f"| {reason.replace('_', ' ')} | {count} |" for reason, count in found["left_out"].items()),
        "",
        "| difficulty | problems | right | kept |",
        "|--:|--:|--:|--:|",
        *(
            f"| {level} | {part['problems']} | {part['right']:.3f} | {part['kept']} |"
            for level, part in found["by_difficulty"].items()
        ),
        "",
        "`messages` is the conversation, `row` the problem in the task's own columns, `tokens` the completion's length "
        "under the tokenizer of the model that was sampled from. Problems that the recipe holds out are not in it. A "
        "right answer is no proof of right reasoning.",
        "",
    ]
    (folder / "dataset" / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _teacher(values: dict, kind: str) -> str:
    return f" from the teacher `{values['teacher_model_name_or_path']}`" if kind == "distill" else ""


def _table(before: dict | None, after: dict | None) -> list[str]:
    columns = [(name, measured) for name, measured in (("before", before), ("after", after)) if measured]
    if not columns:
        return []
    names = " | ".join(name for name, _ in columns)
    rows = [f"| held-out problems | {names} |", "|---" * (len(columns) + 1) + "|"]
    for key, label in (("pass@1", "pass@1"), ("format", "right format"), ("mean_length", "mean length, tokens")):
        rows.append(f"| {label} | " + " | ".join(f"{measured[key]:.3f}" for _, measured in columns) + " |")
    last = columns[-1][1]
    return [*rows, "", f"Measured on {last['n']} problems, {last['samples']} samples each.", ""]
