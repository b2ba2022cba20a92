"""Writes README.md of a run directory, the model card on the hub, and of a data set."""

import json
from pathlib import Path

from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData

from mini_r1.config.run_config import RunConfig
from mini_r1.evaluation.rejection_sampling import describe

METHODS = {
    "grpo": "GRPO (arXiv:2402.03300)",
    "sft": "supervised fine-tuning",
    "distill": "on-policy distillation (arXiv:2306.13649)",
}
MEASURED = {"pass@1": "pass@1", "format": "right format", "mean_length": "mean length, tokens"}


def write_card(folder: Path, config: RunConfig, before: dict | None, after: dict | None) -> None:
    """Writes the card: what the model was trained on and from, what was measured, and how to do it again.

    Args:
        before, after: what `R1GRPOTrainer.measure` returned, where it was measured; after for a reward model: its
            accuracy.
    """
    kind, asked, scores = config.kind.removeprefix("r1_"), _asked(config), {}
    base, source = config.model_name_or_path or "", config.dataset_id_or_path
    how = f"by the recipe `{config.recipe.path}`, from `{base}`"
    if kind == "reward":
        paths = ", ".join(f"`{one['path']}`" for one in config.preference_datasets or [])
        text = [
            f"A reward model, trained {how}, on the preference pairs of "
            f"{paths or f'the task `{asked}`, which wrote them'}, seed {config.seed}. Its one label scores a "
            f"conversation whose last turn is the {config.part} of an answer."
        ]
        if after["n"]:
            scores = {"accuracy": after["after"]}
            share = f"{after['before']:.3f} -> {after['after']:.3f}"
            text.append(f"Of {after['n']} held-out pairs this share is in the right order: {share}.")
    else:
        teacher = f" from the teacher `{config.teacher_model_name_or_path}`" if kind == "distill" else ""
        text = [
            f"Trained with {METHODS[kind]}{teacher} {how}, on the task `{asked}` ({source or 'generated problems'}), "
            f"seed {config.seed}. The resolved recipe is in `recipe.yaml`, everything about the machine in "
            "`manifest.json`."
        ]
        columns = {name: measured for name, measured in (("before", before), ("after", after)) if measured}
        if last := after or before:
            scores = {name: last[name] for name in ("pass@1", "format")}
            rows = [["held-out problems", *columns], ["---"] * (1 + len(columns))]
            rows += [[label, *(f"{each[key]:.3f}" for each in columns.values())] for key, label in MEASURED.items()]
            text.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
            text.append(f"Measured on {last['n']} problems, {last['samples']} samples each.")
        text.append(
            f"Prompts follow the template `{config.prompt_template}`; the model answers as "
            "`<think>...</think> <answer>...</answer>`."
        )
    manifest = json.loads((folder / "manifest.json").read_text())
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items() if version)
    text.append(f"Versions: {versions}; git commit {manifest['git_commit']}.")
    front = {"library_name": "transformers", "tags": ["trl", kind, "reasoning"], "datasets": _hub_id(source)}
    front["base_model"] = None if base.startswith("runs/") else _hub_id(base)
    if scores:  # the model-index
        dataset = {"dataset_type": _hub_id(source) or "generated", "dataset_name": asked or "preference pairs"}
        task = {"task_type": "text-classification" if kind == "reward" else "text-generation", **dataset}
        results = [EvalResult(metric_type=name, metric_value=score, **task) for name, score in scores.items()]
        front |= {"model_name": folder.name, "eval_results": results}
    ModelCard(_markdown(ModelCardData(**front), folder.name, text)).save(folder / "README.md")


def write_dataset_card(folder: Path, config: RunConfig, measured: dict, found: dict) -> None:
    """Writes `dataset/README.md`: what was sampled from, what was kept, and how to do it again.

    Args:
        measured: as of `run_dir.refuse_other_model`.
        found: as of `rejection_sampling.write_generated`.
    """
    judge = found.get("judge")
    sampling = ("num_generations", "temperature", "top_p", "top_k", "max_completion_length")
    drawn = ", ".join(f"{key} {getattr(config, key)}" for key in sampling if getattr(config, key) is not None)
    switched = ", ".join(f"{name}: {json.dumps(value)}" for name, value in found["filters"].items())
    paragraphs = [
        f"{found['kept']} conversations for supervised fine-tuning, each with "
        f"{'an answer that a model judged right' if judge else 'a right answer'}: rejection sampling "
        f"(DeepSeek-R1, arXiv:2501.12948, section 2.3.3) by the recipe `{config.recipe.path}`, from "
        f"`{measured['served'] or measured['model']}`, on the training problems of `{_asked(config)}` "
        f"({config.dataset_id_or_path or 'generated problems'}), seed {config.seed}.",
        f"Sampled with {drawn}; at most {found['keep_per_problem']} of a problem were kept. Filters: {switched}.",
        f"```\n{describe(found)}\n```",
        *(["What is right was judged by a model, which can be wrong."] if judge else []),
        "`messages` is the conversation, `row` the problem in the task's own columns, `tokens` the completion's length "
        "under the tokenizer of the model that was sampled from. Problems that the recipe holds out are not in it. A "
        "right answer is no proof of right reasoning.",
    ]
    data = DatasetCardData(task_categories=["text-generation"], tags=["reasoning", "rejection-sampling"])
    DatasetCard(_markdown(data, folder.name, paragraphs)).save(folder / "dataset" / "README.md")


def _asked(config: RunConfig) -> str:
    """Returns the task, or the tasks of a mixture."""
    return config.task or ", ".join(entry["task"] for entry in config.tasks or [])


def _hub_id(name: str | None) -> str | None:
    """Returns the name where it is one of the hub, not a folder."""
    return name if name and name.count("/") == 1 and not Path(name).exists() else None


def _markdown(data: ModelCardData | DatasetCardData, title: str, paragraphs: list[str]) -> str:
    return "\n\n".join([f"---\n{data.to_yaml()}\n---", f"# {title}", *paragraphs]) + "\n"
