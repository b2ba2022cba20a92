"""Makes cold-start data: the tasks' own think/answer traces as token ids, after the same prompts as in the rollout."""

import inspect
import random
from types import ModuleType

from mini_r1.data.mixture import Part, shares, take_turns, weights
from mini_r1.data.prompts import PromptTemplate, joined, prompt_ids, render
from mini_r1.errors import RecipeError

IGNORED = -100  # the label that torch's cross entropy leaves out

Pieces = list[tuple[list[int], bool]]  # a completion's token ids, each piece with whether it is learned
Example = tuple[list[int], Pieces]  # a prompt's token ids, and its completion


def trace_dataset(
    parts: list[Part],
    rows: list[list[dict]],
    num_traces: int | None,
    tokenizer,
    seed: int,
    batch_size: int,
    max_length: int | None = None,
):
    """Makes a `supervised_dataset` of the tasks' own traces, phase after phase.

    Several tasks write shares of the traces by weight and take turns, so that the first half of a task's traces stands
    in the first half of all. Within a window of 16 batches, traces of like length share a batch of `batch_size`, which
    halves the padding.

    Args:
        rows: the training rows of each part.
        num_traces: of all parts together; None: one for each row.

    Raises:
        RecipeError: as `write_traces`, where a weight is too small for a single trace, or where an example is over
            `max_length` tokens.
    """
    rng, total = random.Random(seed), num_traces or sum(map(len, rows))
    counts = shares({part.name: part.weight for part in parts}, total, "traces")
    phases = []
    for part, own in zip(parts, rows, strict=True):
        with part.blame():
            phases.append(write_traces(part, own, counts[part.name], tokenizer, rng))
    if weights(parts):
        blocks = [take_turns([[one for phase in each for one in phase] for each in phases])]
    else:
        (blocks,) = phases
    examples: list[Example] = []
    for block in blocks:
        order = like_lengths_together([_tokens(pieces) for _, pieces in block], batch_size, rng)
        examples += [block[i] for i in order]
    longest = max(len(prompt) + _tokens(pieces) + 1 for prompt, pieces in examples)
    if max_length is not None and longest > max_length:
        raise RecipeError(f"the longest trace has {longest} tokens; raise it, as nothing is cut off", key="max_length")
    return supervised_dataset(examples, tokenizer.eos_token_id)


def check_writer(part: Part) -> None:
    """Refuses a task that writes no traces."""
    if not hasattr(part.task, "trace"):
        raise RecipeError(f"{part.name} has no `trace`; tasks/__init__.py says what it is", key="task")


def write_traces(part: Part, rows: list[dict], total: int, tokenizer, rng: random.Random) -> list[list[Example]]:
    """Writes `total` traces, each on a random row: a list for each phase of the part.

    Where the prompt does not open the think tag, the completion does. The pieces of a trace are tokenized
    apart.

    Raises:
        RecipeError: where the task writes no traces, or the phases are not usable.
    """
    check_writer(part)
    phases = part.args.trace_phases or [{"share": 1.0}]
    if any("share" not in phase for phase in phases) or abs(sum(phase["share"] for phase in phases) - 1) > 1e-6:
        raise RecipeError("every phase needs a `share`, and the shares must add up to 1", key="trace_phases")
    if any("summary" in phase for phase in phases):
        raise RecipeError("`summary` is not for phases; prompt_template: readable asks for it", key="trace_phases")
    prompts = [render(part.template, part.task, row, tokenizer) for row in rows]
    opening = [(prompts[0].opening, True)] if prompts[0].opening else []
    drawn: list[list[tuple[int, list]]] = []
    for phase in phases:
        settings = {name: value for name, value in phase.items() if name != "share"}
        drawn.append([])
        for _ in range(round(phase["share"] * total)):
            row = rng.randrange(len(rows))
            try:
                pieces = _trace(part.task, part.template, rows[row], rng, settings)
            except ValueError as error:
                raise RecipeError(str(error), key="trace_phases") from error
            drawn[-1].append((row, [*opening, *pieces]))
    asked = prompt_ids([prompt.text for prompt in prompts], tokenizer)
    texts = list({text for phase in drawn for _, pieces in phase for text, _ in pieces})
    ids = dict(zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True))
    return [
        [(asked[row], [(ids[text], learned) for text, learned in pieces]) for row, pieces in phase] for phase in drawn
    ]


def trace_text(task: ModuleType, template: PromptTemplate, row: dict, rng: random.Random, settings: dict | None) -> str:
    """Writes a trace as the whole text of an answer, with its think tag, in the form that the template asks for.

    Raises:
        ValueError: where the task cannot write it of this row, or does not know a setting.
    """
    return "<think>" + joined(_trace(task, template, row, rng, settings or {}))


def _trace(task: ModuleType, template: PromptTemplate, row: dict, rng: random.Random, settings: dict) -> list:
    try:
        return task.trace(row, rng, **settings, **template.trace_settings)
    except TypeError as error:
        known = list(inspect.signature(task.trace).parameters)[2:]
        if unknown := [name for name in settings if name not in known]:
            raise ValueError(f"{unknown[0]!r} is no setting of trace; it knows {', '.join(known)}") from error
        raise ValueError(f"trace cannot use {settings}: {error}") from error


def supervised_dataset(examples: list[Example], end: int):
    """Makes a dataset of {"input_ids", "labels"}, ready for `SFTTrainer` with `skip_prepare_dataset`.

    Labels are -100 on the prompt and on pieces that are not learned. Prompt and pieces are joined as token ids: if they
    were tokenized together, a merge across a border would train the model on another context than the rollout's.

    Args:
        end: the end-of-sequence token, which ends each completion and is learned.
    """
    from datasets import Dataset  # takes a second

    columns: dict[str, list[list[int]]] = {"input_ids": [], "labels": []}
    for prompt, pieces in examples:
        columns["input_ids"].append([*prompt, *(token for ids, _ in pieces for token in ids), end])
        labels = (token if learned else IGNORED for ids, learned in pieces for token in ids)
        columns["labels"].append([*[IGNORED] * len(prompt), *labels, end])
    return Dataset.from_dict(columns)


def _tokens(pieces: Pieces) -> int:
    return sum(len(ids) for ids, _ in pieces)


def like_lengths_together(lengths: list[int], batch_size: int, rng: random.Random) -> list[int]:
    """Orders examples: windows stay in place; batches in a window have examples of like length, and are shuffled."""
    order, window = [], 16 * batch_size
    for start in range(0, len(lengths), window):
        by_length = sorted(range(start, min(start + window, len(lengths))), key=lengths.__getitem__)
        batches = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
        rng.shuffle(batches)
        order += [i for batch in batches for i in batch]
    return order
