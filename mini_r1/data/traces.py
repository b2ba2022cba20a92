"""Cold-start data: the task's own think/answer traces as token ids, the prompt's the same as in the rollout."""

import random
from types import ModuleType

from mini_r1.config.arguments import SFTArguments
from mini_r1.data.mixture import Part, shares, take_turns, weights
from mini_r1.data.prompts import PromptTemplate, joined, prompt_ids, render
from mini_r1.errors import RecipeError

IGNORED = -100  # the label that torch's cross entropy leaves out


def trace_dataset(
    rows: list[dict],
    args: SFTArguments,
    task: ModuleType,
    template: PromptTemplate,
    tokenizer,
    seed: int,
    batch_size: int,
    max_length: int | None = None,
):
    """A dataset of {"input_ids", "labels"}, ready for `SFTTrainer` with `skip_prepare_dataset`, phase after phase.

    Within a window of 16 batches, traces of like length share a batch of `batch_size`, which halves the padding.

    Raises:
        RecipeError: as `write_traces`, or where a trace is over `max_length` tokens.
    """
    rng = random.Random(seed)
    phases = write_traces(rows, args, task, template, tokenizer, rng, args.num_traces or len(rows))
    ordered = [
        phase[i] for phase in phases for i in like_lengths_together([one["tokens"] for one in phase], batch_size, rng)
    ]
    return _to_dataset(ordered, max_length)


def mixed_trace_dataset(
    parts: list[Part],
    rows: list[list[dict]],
    num_traces: int | None,
    tokenizer,
    seed: int,
    batch_size: int,
    max_length: int | None = None,
):
    """`trace_dataset` for all tasks of a run: each writes its share of the traces by weight, and they take turns.

    Phases keep their places: what is the first half of a task's traces stands in the first half of all.

    Args:
        rows: the training rows of each part.
        num_traces: of all parts together; None: one for each row.

    Raises:
        RecipeError: as `trace_dataset`, and where a weight is too small for a single trace.
    """
    if not parts[0].mixed:
        (part,), (own,) = parts, rows
        return trace_dataset(own, part.args, part.task, part.template, tokenizer, seed, batch_size, max_length)
    rng = random.Random(seed)
    counts = shares(weights(parts) or {}, num_traces or sum(map(len, rows)), "traces")
    written = []
    for part, own in zip(parts, rows, strict=True):
        how = (part.args, part.task, part.template, tokenizer, rng, counts[part.name])
        with part.blame():
            written.append([one for phase in write_traces(own, *how) for one in phase])
    examples = take_turns(written)
    order = like_lengths_together([one["tokens"] for one in examples], batch_size, rng)
    return _to_dataset([examples[i] for i in order], max_length)


def trace_text(task: ModuleType, template: PromptTemplate, row: dict, rng: random.Random, settings: dict | None) -> str:
    """A trace as the whole text of an answer, think tag and all, in the form that the template asks for.

    Raises:
        ValueError: where the task cannot write it of this row, or does not know a setting.
    """
    try:
        return f"<think>{joined(task.trace(row, rng, **(settings or {}), **template.trace_settings))}"
    except TypeError as error:
        raise ValueError(str(error)) from error


def write_traces(
    rows: list[dict],
    args: SFTArguments,
    task: ModuleType,
    template: PromptTemplate,
    tokenizer,
    rng: random.Random,
    total: int,
) -> list[list[dict]]:
    """For each phase its traces as {"input_ids", "labels", "tokens" of the trace alone}, each on a random row.

    Labels are -100 on the prompt and on what a trace says is not to be learned. Where the template's prefill does not
    open the think tag, the completion does. Prompt and completion are tokenized apart and joined: tokenized together,
    a merge across the border would train the model on another context than the rollout's; so are the trace's pieces.
    The completion ends with the end-of-sequence token.

    Args:
        total: how many traces, of all phases.

    Raises:
        RecipeError: where the task writes no traces, or the phases are not usable.
    """
    if not hasattr(task, "trace"):
        raise RecipeError(f"tasks/{args.task}.py has no trace writer", key="task")
    phases = args.trace_phases or [{"share": 1.0}]
    if any("share" not in phase for phase in phases) or abs(sum(phase["share"] for phase in phases) - 1) > 1e-6:
        raise RecipeError("every phase needs a `share`, and the shares must add up to 1", key="trace_phases")
    if any("summary" in phase for phase in phases):
        raise RecipeError("`summary` is not for phases; prompt_template: readable asks for it", key="trace_phases")
    opening = [(template.opening, True)] if template.opening else []
    drawn: list[list[tuple[int, list]]] = []
    for phase in phases:
        settings = {name: value for name, value in phase.items() if name != "share"}
        drawn.append([])
        for _ in range(round(phase["share"] * total)):
            row = rng.randrange(len(rows))
            try:
                pieces = [*opening, *task.trace(rows[row], rng, **settings, **template.trace_settings)]
            except (TypeError, ValueError) as error:
                raise RecipeError(str(error), key="trace_phases") from error
            drawn[-1].append((row, pieces))
    prompts = [prompt_ids(render(template, task, row, tokenizer), tokenizer) for row in rows]
    texts = list({text for phase in drawn for _, pieces in phase for text, _ in pieces})
    ids = dict(zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True))

    def example(row: int, pieces: list) -> dict:
        prompt, end = prompts[row], tokenizer.eos_token_id
        labels = [t if learned else IGNORED for text, learned in pieces for t in ids[text]]
        return {
            "input_ids": [*prompt, *(t for text, _ in pieces for t in ids[text]), end],
            "labels": [*[IGNORED] * len(prompt), *labels, end],
            "tokens": len(labels),
        }

    return [[example(row, pieces) for row, pieces in phase] for phase in drawn]


def _to_dataset(examples: list[dict], max_length: int | None):
    from datasets import Dataset  # takes a second

    longest = max(len(one["input_ids"]) for one in examples)
    if max_length is not None and longest > max_length:
        raise RecipeError(f"the longest trace has {longest} tokens; raise it, as nothing is cut off", key="max_length")
    return Dataset.from_dict({name: [one[name] for one in examples] for name in ("input_ids", "labels")})


def like_lengths_together(lengths: list[int], batch_size: int, rng: random.Random) -> list[int]:
    """An order of the traces: windows stay where they are, batches inside a window are of like length and shuffled."""
    order, window = [], 16 * batch_size
    for start in range(0, len(lengths), window):
        by_length = sorted(range(start, min(start + window, len(lengths))), key=lengths.__getitem__)
        batches = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
        rng.shuffle(batches)
        order += [i for batch in batches for i in batch]
    return order
