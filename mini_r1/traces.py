"""Cold-start data: the task's own think/answer traces as token ids, the prompt's the same as in the rollout."""

import random
from types import ModuleType

from mini_r1.arguments import SFTArguments
from mini_r1.errors import RecipeError
from mini_r1.prompts import PromptTemplate, prompt_ids, render

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
    """A dataset of {"input_ids", "labels"}, ready for `SFTTrainer` with `skip_prepare_dataset`, phase after phase, each
    trace on a random row. Labels are -100 on the prompt and on what a trace says is not to be learned.

    Where the template's prefill does not open the think tag, the completion does. Prompt and completion are
    tokenized apart and joined: tokenized together, a merge across the border would train the model on another
    context than the rollout's; so are the trace's pieces. The completion ends with the end-of-sequence token.
    Within a window of 16 batches, traces of like length share a batch of `batch_size`, which halves the padding.

    Raises:
        RecipeError: where the task writes no traces, the phases are not usable, or a trace is over `max_length` tokens.
    """
    from datasets import Dataset

    if not hasattr(task, "trace"):
        raise RecipeError(f"tasks/{args.task}.py has no trace writer", key="task")
    phases = args.trace_phases or [{"share": 1.0}]
    total = args.num_traces or len(rows)
    if any("share" not in phase for phase in phases) or abs(sum(phase["share"] for phase in phases) - 1) > 1e-6:
        raise RecipeError("every phase needs a `share`, and the shares must add up to 1", key="trace_phases")
    if any("summary" in phase for phase in phases):
        raise RecipeError("`summary` is not for phases; prompt_template: readable asks for it", key="trace_phases")
    opening = [(template.opening, True)] if template.opening else []
    rng = random.Random(seed)
    chosen, traces = [], []
    for phase in phases:
        settings = {name: value for name, value in phase.items() if name != "share"}
        for _ in range(round(phase["share"] * total)):
            row = rng.randrange(len(rows))
            chosen.append(row)
            try:
                traces.append([*opening, *task.trace(rows[row], rng, **settings, **template.trace_settings)])
            except (TypeError, ValueError) as error:
                raise RecipeError(str(error), key="trace_phases") from error
    prompts = [prompt_ids(render(template, task, row, tokenizer), tokenizer) for row in rows]
    texts = list({text for trace in traces for text, _ in trace})
    ids = dict(zip(texts, tokenizer(texts, add_special_tokens=False)["input_ids"], strict=True))
    columns = {"input_ids": [], "labels": []}
    lengths = [sum(len(ids[text]) for text, _ in trace) for trace in traces]
    order, start = [], 0
    for phase in phases:
        count = round(phase["share"] * total)
        order += [start + i for i in like_lengths_together(lengths[start : start + count], batch_size, rng)]
        start += count
    for i in order:
        prompt, trace = prompts[chosen[i]], traces[i]
        columns["input_ids"].append([*prompt, *(t for text, _ in trace for t in ids[text]), tokenizer.eos_token_id])
        labels = [t if learned else IGNORED for text, learned in trace for t in ids[text]]
        columns["labels"].append([*[IGNORED] * len(prompt), *labels, tokenizer.eos_token_id])
    longest = max(map(len, columns["input_ids"]))
    if max_length is not None and longest > max_length:
        raise RecipeError(f"the longest trace has {longest} tokens; raise it, as nothing is cut off", key="max_length")
    return Dataset.from_dict(columns)


def like_lengths_together(lengths: list[int], batch_size: int, rng: random.Random) -> list[int]:
    """An order of the traces: windows stay where they are, batches inside a window are of like length and shuffled."""
    order, window = [], 16 * batch_size
    for start in range(0, len(lengths), window):
        by_length = sorted(range(start, min(start + window, len(lengths))), key=lengths.__getitem__)
        batches = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
        rng.shuffle(batches)
        order += [i for batch in batches for i in batch]
    return order
