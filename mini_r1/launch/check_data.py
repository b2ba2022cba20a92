"""Checks the problems: rows, the longest prompt, one problem as policy and rewards see it."""

import asyncio
import inspect
import os
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mini_r1 import tasks
from mini_r1.data.hub import looks_local
from mini_r1.data.mixture import Part
from mini_r1.data.problems import SUFFIXES, Rows, load_rows
from mini_r1.data.prompts import PromptTemplate, prompt_ids, render
from mini_r1.errors import RecipeError
from mini_r1.launch.findings import Findings

BUNDLED_TEMPLATES = {  # part of a model's name -> the chat template that TRL ships for its family
    "qwen2.5": "qwen2_5",
    "qwen3": "qwen3",
    "llama-3.2": "llama3_2",
    "llama-3": "llama3",
    "phi-3.5": "phi3_5",
}
FEW = 0.01  # share of prompts that may be dropped without a warning


@dataclass(frozen=True)
class Prompts:
    """What the rows come to.

    Attributes:
        longest: tokens of the longest prompt kept; None where there was nothing to count.
        train: rows to train on, None where they are not known.
    """

    longest: int | None = None
    train: int | None = None


def together(parts: list[Prompts]) -> Prompts:
    """Those of all tasks of a run; what is not known of one is not known of all."""
    longest, train = [part.longest for part in parts], [part.train for part in parts]
    return Prompts(
        max(longest) if longest and all(longest) else None,
        sum(train) if train and None not in train else None,
    )


def out_of_reach(name: str) -> bool:
    """Whether this is the name of something on the hub, and the hub does not answer (`hub.offline_if_unreachable`).

    `data/rows` is a path where there is a folder `data`.
    """
    local = looks_local(name) or Path(name).parent.is_dir() or Path(name).suffix in SUFFIXES
    return not local and os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def find_rows(args, task: ModuleType, look_only: bool, findings: Findings) -> Rows | None:
    """The problems; None, with a finding, where they cannot be had.

    Args:
        look_only: nothing will be started, so a hub that is out of reach is no error.
    """
    try:
        rows = load_rows(args, task)
    except RecipeError as error:
        name = args.dataset_id_or_path
        if error.key == "dataset_id_or_path" and out_of_reach(name):
            say = findings.warning if look_only else findings.error
            say(f"{name} is not reachable from here, and not in the local cache", "dataset_id_or_path")
        else:
            findings.error(error.problem, error.key, error.file)
        return None
    findings.ok(f"data: {rows.describe()}")
    return rows


def measure_prompts(
    rows: Rows, args, kind: str, task: ModuleType, template: PromptTemplate, tokenizer, findings: Findings
) -> Prompts:
    """Render and count every prompt, as training does; those over `max_prompt_tokens` are dropped.

    Raises:
        RecipeError: where the tokenizer cannot render the template, or no prompt is short enough.
    """
    train = rows.train if args.needs_training_rows else []
    lengths = [
        [len(ids) for ids in prompt_ids([render(template, task, row, tokenizer) for row in split], tokenizer)]
        if split
        else []
        for split in (train, rows.test)
    ]
    every = lengths[0] + lengths[1]
    if not every:
        raise RecipeError("no held-out problems are left to measure", key="test_fraction")
    kept = [length for length in every if length <= args.max_prompt_tokens]
    dropped = len(every) - len(kept)
    for split in filter(None, lengths):
        if min(split) > args.max_prompt_tokens:
            raise RecipeError(
                f"all {len(split)} prompts are longer than {args.max_prompt_tokens} tokens; raise it to {max(every)}",
                key="max_prompt_tokens",
            )
    text = f"prompts: {len(every)}, the longest has {max(every)} tokens; {dropped} over max_prompt_tokens are dropped"
    if dropped > FEW * len(every):
        findings.warning(
            f"{dropped} of {len(every)} prompts are longer than {args.max_prompt_tokens} tokens and are dropped; "
            f"{max(every)} keeps them all",
            "max_prompt_tokens",
        )
    findings.ok(text)
    return Prompts(max(kept), sum(length <= args.max_prompt_tokens for length in lengths[0]) or None)


def example_row(rows: Rows | None, task: ModuleType) -> dict:
    """A problem to show: the first that has a gold answer; a generated one where there are no rows."""
    known = rows.train[:50] if rows else []
    return next((row for row in known if task.gold_answer(row)), None) or task.parse_row(tasks.examples(task, 1)[0])


def gold_completion(task: ModuleType, template: PromptTemplate, row: dict) -> str:
    """A right completion of the row's prompt, in the format that the template asks for."""
    summary = "This is the gold answer: " if template.asks_for_summary else ""
    return f"{template.opening} the gold answer is known </think>\n{summary}<answer>{task.gold_answer(row)}</answer>"


def example(row: dict, part: Part, tokenizer, rewards: list) -> str:
    """One rendered prompt, and what each of its rewards gives for the gold answer and for an empty completion."""
    prompt = render(part.template, part.task, row, tokenizer)
    gold = gold_completion(part.task, part.template, row)
    lines = [prompt, "", f"--- rewards (gold completion: {gold!r})"]
    columns = {name: [value] for name, value in {**row, **part.columns}.items()}
    for reward in rewards:
        if reward.__name__ not in part.rewards:
            continue
        if hasattr(reward, "judge"):
            lines.append(f"{reward.__name__}: {reward.judge} is not asked in a check")
            continue
        values = []
        for text in (gold, ""):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            given = reward(completions=[text], prompts=[prompt], completion_ids=[ids], **columns)
            values += asyncio.run(given) if inspect.iscoroutine(given) else given
        lines.append(f"{reward.__name__}: gold {values[0]}, empty {values[1]}")
    return "\n".join(lines)


def stand_in_tokenizer(model_name: str, made_here: bool):
    """A stand-in that renders a chat template of the model's family; None for an unknown family.

    It has no vocabulary: it shows text, and says nothing of token ids.

    Args:
        made_here: the model is one of mini_r1/run/tiny_model.py; otherwise TRL's templates are looked through.
    """
    import trl  # this and the next ones take seconds
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    from mini_r1.run.tiny_model import CHAT_TEMPLATE

    name = next((file for part, file in BUNDLED_TEMPLATES.items() if part in model_name.lower()), None)
    if made_here:
        template = CHAT_TEMPLATE
    elif name:
        template = (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    else:
        return None
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?")),
        unk_token="?",
        bos_token="<|begin_of_text|>",  # Llama 3's, the only family here whose template writes one
        chat_template=template,
    )
