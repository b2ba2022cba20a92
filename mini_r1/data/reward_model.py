"""A reward model as one reward among others, for what no verifier can decide.

    reward_funcs:
      - {name: helpfulness, reward_model: models/helpful, part: summary}
      - {name: harmlessness, reward_model: models/harmless, part: response}

DeepSeek-R1 (arXiv:2501.12948, 2.3.4) scores helpfulness on the final summary alone, and harmlessness on the whole
response. A model that TRL itself takes as a reward would score prompt and prefill of every row. Torch is imported with
the first score.
"""

import functools
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from mini_r1 import tasks
from mini_r1.config.keys import check_values
from mini_r1.config.schema import keys_of
from mini_r1.data.hub import looks_local
from mini_r1.data.prompts import FIXED_DATE, apply_template
from mini_r1.errors import RecipeError
from mini_r1.rewards.text import THINK_CLOSE, full_text

PARTS = ("summary", "response")
SPLIT = "ZeRO-3 would split the model, whose rows are not the same on all processes; use zero2 or ddp"


@dataclass
class _Settings:
    reward_model: str
    part: str = field(default="response", metadata={"choices": PARTS})
    batch_size: int = 16


def judged(text: str, part: str) -> str:
    """The part of a turn that the model scores: all of it, or the summary behind the first `</think>`.

    Thinking that is never closed leaves an empty summary, which the model scores like any other.

    Example: `judged("<think>hm</think>\\n72", "summary")` is `"72"`.
    """
    return text.partition(THINK_CLOSE)[2].strip() if part == "summary" else text


def shows(tokenizer, part: str) -> bool:
    """Whether a tokenizer's chat template keeps the part that the model scores; some leave reasoning out."""
    text = judged("<think>hm</think>\n72", part)
    probe = [{"role": "user", "content": "?"}, {"role": "assistant", "content": text}]
    return text in apply_template(probe, tokenizer)


def reward_of(name: str, arguments: dict, task: ModuleType | None) -> Any:
    """Makes the reward `name`: the logit of a sequence-classification model with one label.

    The model reads the task's question and the part that it scores as a conversation in its own chat template,
    truncated at the end to its positions. The first score loads it.

    Args:
        arguments: `reward_model`, hub id or local folder; `part`, a value of `PARTS`; `batch_size`, texts at a time.
        task: the task of rows without a column `task`.

    Raises:
        RecipeError: for an unknown argument or a value of another type.
    """
    try:
        settings = _Settings(**check_values(arguments, {}, keys_of(_Settings)))
    except RecipeError as error:
        raise RecipeError(f"{name}: {error}", key="reward_funcs") from None
    if settings.batch_size < 1:
        raise RecipeError(f"{name}: batch_size: got {settings.batch_size}, expected 1 or more", key="reward_funcs")
    load = functools.cache(functools.partial(_load, name, settings.reward_model, settings.part))

    def score(completions, prefill=None, **columns) -> list[float]:
        conversations = []
        for i, completion in enumerate(completions):
            row = {column: values[i] for column, values in columns.items() if isinstance(values, list)}
            asked: Any = tasks.get(row["task"]) if row.get("task") else task
            text = judged(full_text(prefill[i] if prefill else None, completion), settings.part)
            conversations.append(
                [{"role": "user", "content": asked.question(row)}, {"role": "assistant", "content": text}]
            )
        model, tokenizer = load()
        return scores(model, tokenizer, conversations, settings.batch_size)

    reward: Any = score  # what TRL, the loader and the check read are attributes of the function
    reward.__name__ = reward.__qualname__ = name
    reward.judge = settings.reward_model
    reward.unavailable = functools.partial(_why_not, settings.reward_model)
    return reward


def _why_not(folder: str) -> str | None:
    """Why a run cannot use this model, in one line, or None. A hub id is checked when it is loaded."""
    # late, like all imports of these packages in this file: reading a recipe loads neither torch nor transformers
    from transformers import AutoConfig
    from transformers.integrations import is_deepspeed_zero3_enabled

    if is_deepspeed_zero3_enabled():
        return SPLIT
    if not looks_local(folder):
        return None
    path = Path(folder).expanduser()
    if not (path / "config.json").is_file():
        return f"{folder} is no model folder; name one, or a hub id (owner/name)"
    if (labels := AutoConfig.from_pretrained(path).num_labels) != 1:
        return f"{folder} has {labels} labels; a reward model has one (TRL's RewardTrainer makes them)"
    return None


def _load(name: str, folder: str, part: str) -> tuple:
    """Loads (model, tokenizer) on this process's device.

    Raises:
        RecipeError: for a model without a trained head, or without a chat template that keeps `part`.
    """
    from accelerate import PartialState  # imports torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = str(Path(folder).expanduser())
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, padding_side="right", truncation_side="right")
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path, num_labels=1, dtype="auto", output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a head of another size
        raise RecipeError(f"{name}: {str(error).splitlines()[0]}", key="reward_funcs") from error
    problem = None
    if missing := sorted(info["missing_keys"]):
        problem = f"{folder} has no weights for {missing[0]}: it has not been trained"
    elif not tokenizer.chat_template:
        problem = f"{folder} has no chat template to judge a conversation in"
    elif not shows(tokenizer, part):
        problem = f"the chat template of {folder} leaves reasoning out; use part: summary"
    if problem:
        raise RecipeError(f"{name}: {problem}", key="reward_funcs")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id  # the model needs it to find the end of each text
    return model.to(PartialState().device).eval(), tokenizer


def scores(model, tokenizer, conversations: list[list[dict]], batch_size: int) -> list[float]:
    """Scores each conversation with one number, which does not depend on the rest of its batch."""
    import torch  # takes a second

    longest = getattr(model.config, "max_position_embeddings", None)
    scored: list[float] = []
    for start in range(0, len(conversations), batch_size):
        inputs = tokenizer.apply_chat_template(
            conversations[start : start + batch_size],
            strftime_now=FIXED_DATE.strftime,
            padding=True,
            truncation=longest is not None,
            max_length=longest,
            return_tensors="pt",
            return_dict=True,
        ).to(model.device)
        with torch.no_grad():
            output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        scored += output.logits[:, 0].tolist()
    return scored
