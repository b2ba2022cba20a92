"""Writes README.md of a run directory, the model card on the hub, and of a data set."""

import json
from pathlib import Path

from huggingface_hub import DatasetCard, DatasetCardData, EvalResult, ModelCard, ModelCardData

from mini_r1.config.run_config import RunConfig
from mini_r1.data.prompts import PromptTemplate, fill, get_template
from mini_r1.evaluation.rejection_sampling import describe

METHODS = {
    "grpo": "GRPO (arXiv:2402.03300)",
    "sft": "supervised fine-tuning",
    "distill": "on-policy distillation (arXiv:2306.13649)",
}
# What of a run stands in its card, where the recipe or TRL gives it a value
SETTINGS = (
    "learning_rate", "lr_scheduler_type", "max_steps", "num_train_epochs", "per_device_train_batch_size",
    "gradient_accumulation_steps", "num_processes", "num_generations", "max_completion_length", "temperature", "beta",
    "loss_type", "advantage", "use_peft", "lora_r", "lora_alpha", "dtype",
)  # fmt: skip
MEASURED = {"pass@1": "pass@1", "format": "right format", "mean_length": "mean length, tokens"}


def write_card(folder: Path, config: RunConfig, before: dict | None, after: dict | None) -> None:
    """Writes the card: what the model was trained on and from, what was measured, and how to do it again.

    Args:
        before, after: what `R1GRPOTrainer.measure` returned, where it was measured; after for a reward model: its
            accuracy.
    """
    kind, asked, scores = config.kind.removeprefix("r1_"), _asked(config), {}
    base, hub_ids = config.model_name_or_path or "", _data_on_hub(config)
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
            f"Trained with {METHODS[kind]}{teacher} {how}, on {_data(config)}, seed {config.seed}. The "
            "resolved recipe is in `recipe.yaml`, everything about the machine in `manifest.json`."
        ]
        columns = {name: measured for name, measured in (("before", before), ("after", after)) if measured}
        if last := after or before:
            scores = {name: last[name] for name in ("pass@1", "format")}
            rows = [["held-out problems", *columns], ["---"] * (1 + len(columns))]
            rows += [[label, *(f"{each[key]:.3f}" for each in columns.values())] for key, label in MEASURED.items()]
            text.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
            text.append(f"Measured on {last['n']} problems, {last['samples']} samples each.")
        template, known = get_template(config.prompt_template), isinstance(config.prompt_template, str)
        named = f"the template `{config.prompt_template}`" if known else "the recipe's own template"
        text += [
            f"Prompts follow {named}; the model answers as `<think>...</think> <answer>...</answer>`.",
            _usage(folder.name, template),
        ]
    manifest = json.loads((folder / "manifest.json").read_text())
    settings = {key: getattr(config, key) for key in SETTINGS if getattr(config, key) is not None}
    text.append("Settings: " + ", ".join(f"{key} {value}" for key, value in settings.items()) + ".")
    text.append("The licence of the model that it began with holds for this one, too.")
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items() if version)
    text.append(f"Versions: {versions}; git commit {manifest['git_commit']}.")
    front = {"library_name": "transformers", "tags": ["trl", kind, "reasoning"], "datasets": hub_ids or None}
    front["base_model"] = None if base.startswith("runs/") else _hub_id(base)
    if scores:  # the model-index
        dataset = {"dataset_type": ", ".join(hub_ids) or "generated", "dataset_name": asked or "preference pairs"}
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


def _data(config: RunConfig) -> str:
    """Returns the tasks with where their problems are from, and conversations by their paths."""
    if config.sft_datasets:
        named = [f"`{one.get('path') or one.get('task')}`" for one in config.sft_datasets]
        return f"the conversations of {' and '.join(named)}"
    entries = config.tasks or [{"task": config.task, "dataset_id_or_path": config.dataset_id_or_path}]
    named = [f"`{one['task']}` ({one.get('dataset_id_or_path') or 'generated problems'})" for one in entries]
    return f"the task{'s' if len(named) > 1 else ''} {' and '.join(named)}"


def _data_on_hub(config: RunConfig) -> list[str]:
    """Returns the ids of the hub among the data that it was trained on."""
    paths = [config.dataset_id_or_path]
    paths += [one.get("dataset_id_or_path") for one in config.tasks or []]
    paths += [one.get("path") for one in [*(config.sft_datasets or []), *(config.preference_datasets or [])]]
    return sorted({name for name in map(_hub_id, paths) if name})


def _usage(name: str, template: PromptTemplate) -> str:
    """Returns a program that asks the model a question, with transformers alone."""
    turns = [{"role": "user", "content": fill(template.user, "What is 12 + 30?", "7")}]
    if template.system is not None:
        turns.insert(0, {"role": "system", "content": fill(template.system, "", "7")})
    prompt = "tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)"
    lines = [
        "```python",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f'tokenizer, model = (each.from_pretrained("{name}") for each in (AutoTokenizer, AutoModelForCausalLM))',
        *([f"turns = {turns!r}", f"prompt = {prompt} + {template.prefill!r}"] if template.chat else
          [f"prompt = {turns[-1]['content'] + template.prefill!r}"]),
        'inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)',
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=512)[0]))",
        "```",
    ]  # fmt: skip
    return "\n".join(lines)


def _hub_id(name: str | None) -> str | None:
    """Returns the name where it is one of the hub, not a folder."""
    return name if name and name.count("/") == 1 and not Path(name).exists() else None


def _markdown(data: ModelCardData | DatasetCardData, title: str, paragraphs: list[str]) -> str:
    return "\n\n".join([f"---\n{data.to_yaml()}\n---", f"# {title}", *paragraphs]) + "\n"
