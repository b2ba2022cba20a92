"""Checks the problems: rows, the longest prompt, the batch, and one problem as policy and rewards see it."""

import asyncio
import inspect
import os
import traceback
from pathlib import Path
from types import ModuleType

from mini_r1 import tasks
from mini_r1.data.conversations import conversation_dataset
from mini_r1.data.hub import looks_local
from mini_r1.data.mixture import Part, shares, weights
from mini_r1.data.preferences import load_pairs
from mini_r1.data.problems import SUFFIXES, Rows, check_types, load_rows
from mini_r1.data.prompts import Prompt, PromptTemplate, prompt_ids, render
from mini_r1.data.traces import trace_dataset
from mini_r1.errors import RecipeError
from mini_r1.launch.findings import Check

# What TRL passes besides prompts, completions and columns; a check has no training to log into
TRL_GIVES = {
    "trainer_state": None, "log_extra": lambda column, values: None, "log_metric": lambda name, value: None,
    "environments": None,
}  # fmt: skip
FEW_TRACES = 50  # of each task, in a check
FEW = 0.01  # the share of prompts that may be dropped without a warning


def out_of_reach(name: str) -> bool:
    """Whether the name is one of the hub, and the hub does not answer (`hub.offline_if_unreachable`).

    `data/rows` is a path where there is a folder `data`.
    """
    local = looks_local(name) or Path(name).parent.is_dir() or Path(name).suffix in SUFFIXES
    return not local and os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def check_rows(check: Check) -> None:
    """Checks that the problems can be loaded. Sets `rows`."""
    for part in check.parts:
        rows, name = None, part.args.dataset_id_or_path
        with check.part(part):
            try:
                rows = load_rows(part.args, part.task)
                check.ok("data", rows.describe())
            except RecipeError as error:
                if error.key != "dataset_id_or_path" or not out_of_reach(name):
                    raise
                check.missing(f"{name} is not reachable from here, and not in the local cache", error.key)
        check.rows.append(rows)


def check_own_data(check: Check) -> None:
    """Checks what is learned without rewards: a few traces, or each row of `sft_datasets` or `preference_datasets`."""
    config, args, tokenizer = check.config, check.config.args, check.tokenizer
    key = {"sft": "sft_datasets", "reward": "preference_datasets"}.get(config.kind, "")
    sources = getattr(args, key, None)
    if config.kind == "sft" and not sources and check.parts and all(check.rows):
        first = [rows.train[:FEW_TRACES] for rows in check.rows if rows]
        traces = trace_dataset(check.parts, first, FEW_TRACES * len(first), tokenizer, config.seed, 1, None)
        check.ok("data", f"traces, such as {tokenizer.decode(traces[0]['input_ids'])!r:.200}")
    if not sources:
        return
    for name in [one["path"] for one in sources if "path" in one]:
        if not Path(name).expanduser().exists() and (name.startswith("runs/") or out_of_reach(name)):
            check.missing(f"{name} is not here yet", key)
            return
    if key == "preference_datasets":
        check.ok("data", load_pairs(args, tokenizer, config.seed, config.max_length).describe())
        return
    held_out = [rows.test if rows else [] for rows in check.rows]
    rows, left_out, unused = conversation_dataset(
        args, check.parts or [], tokenizer, config.seed, 1, config.max_length, held_out
    )
    check.ok("data", f"{len(rows)} conversations to learn from, {left_out} left out")
    for field, count in unused.items():
        check.note(f"{count} rows have messages with a field {field}, of which nothing is made", key)


def check_prompts(check: Check) -> None:
    """Checks the lengths of the prompts. Sets `longest_prompt`, `train_rows` and `example`.

    A total is known only where it is known of every task.
    """
    tokenizer, note = check.tokenizer, ""
    if tokenizer is None:
        tokenizer, note = stand_in_tokenizer(), " (in ChatML, as the model's tokenizer is not here; tokens uncounted)"
    evaluates, longest, train, examples = check.config.kind == "evaluate", [], [], []
    for part, rows in zip(check.parts, check.rows, strict=True):
        if evaluates and rows and not rows.test and any(each and each.test for each in check.rows):
            continue  # an evaluation measures the other tasks only
        tokens, kept = None, len(rows.train) if rows else None
        with check.part(part):
            if rows and part.template and check.tokenizer:
                tokens, kept = _measure_prompts(check, rows, part)
        with check.part(part):
            if part.template and check.rewards is not None:
                examples.append(f"{note}\n{example(example_row(rows, part.task), part, tokenizer, check.rewards)}")
        longest.append(tokens)
        train.append(kept)
    check.example = "\n\n--- one prompt".join(examples)
    limits = [part.args.max_prompt_tokens for part in check.parts] or [check.config.max_prompt_tokens]
    check.longest_prompt = max(longest if longest and all(longest) else limits)
    check.train_rows = None if None in train else sum(train)
    if len(check.rows) > 1 and all(check.rows):
        check_types([(part.name, rows.train + rows.test) for part, rows in zip(check.parts, check.rows, strict=True)])


def _measure_prompts(check: Check, rows: Rows, part: Part) -> tuple[int, int]:
    """(tokens of the longest prompt kept, rows kept to train on) of a task, all rendered and counted as in training.

    Raises:
        RecipeError: where the tokenizer cannot render the template, or no prompt is short enough.
    """
    limit, lengths = part.args.max_prompt_tokens, []
    for split in (rows.train if part.args.needs_training_rows else [], rows.test):
        texts = [render(part.template, part.task, row, check.tokenizer).text for row in split]
        lengths.append([len(ids) for ids in prompt_ids(texts, check.tokenizer)] if split else [])
    every = lengths[0] + lengths[1]
    if not every:
        raise RecipeError("no held-out problems are left to measure", key="test_fraction")
    for split in filter(None, lengths):
        if min(split) > limit:
            raise RecipeError(
                f"all {len(split)} prompts are longer than {limit} tokens; raise it to {max(every)}",
                key="max_prompt_tokens",
            )
    dropped = sum(length > limit for length in every)
    if dropped > FEW * len(every):
        check.warning(
            f"{dropped} of {len(every)} prompts are longer than {limit} tokens and are dropped; "
            f"{max(every)} keeps them all",
            "max_prompt_tokens",
        )
    check.ok(
        "prompts", f"{len(every)}, the longest has {max(every)} tokens; {dropped} over max_prompt_tokens are dropped"
    )
    kept = sum(length <= limit for length in lengths[0])
    return max(length for length in every if length <= limit), kept or len(rows.train)


def check_batch(check: Check) -> None:
    """Checks that there are enough problems for the batch, and for the share of each task."""
    with check.part():
        if check.train_rows and (given := weights(check.parts)):
            shares(given, check.batch.total_rollouts(check.train_rows) * check.batch.prompts_per_generation)
    for line in check.batch.describe(check.train_rows).splitlines():
        check.ok("batch", line)


def example_row(rows: Rows | None, task: ModuleType) -> dict:
    """A problem to show: the first that has a gold answer; a generated one where there are no rows."""
    known = rows.train[:50] if rows else []
    return next((row for row in known if task.gold_answer(row)), None) or task.parse_row(tasks.examples(task, 1)[0])


def gold_completion(task: ModuleType, template: PromptTemplate, row: dict, prompt: Prompt) -> str:
    """A correct completion of the row's prompt, in the format that the template asks for."""
    summary = "This is the gold answer: " if template.asks_for_summary else ""
    return f"{prompt.opening} the gold answer is known </think>\n{summary}<answer>{task.gold_answer(row)}</answer>"


def example(row: dict, part: Part, tokenizer, rewards: list) -> str:
    """One rendered prompt, and what each of its rewards gives for the gold answer and for an empty completion."""
    prompt = render(part.template, part.task, row, tokenizer)
    gold = gold_completion(part.task, part.template, row, prompt)
    lines = [prompt.text, "", f"--- rewards (gold completion: {gold!r})"]
    columns = {name: [value] for name, value in {"prefill": prompt.prefill, **row, **part.columns}.items()}
    for reward in rewards:
        if reward.__name__ not in part.rewards:
            continue
        if hasattr(reward, "judge"):
            lines.append(f"{reward.__name__}: {reward.judge} is not asked in a check")
            continue
        values = [call_reward(reward, [text], prompt, columns, tokenizer)[0] for text in (gold, "")]
        call_reward(reward, [gold, "", gold], prompt, columns, tokenizer)  # as a group, the number of rewards is seen
        if reward.__name__ == part.task.REWARD and None not in values and values[0] <= values[1]:
            raise RecipeError(
                f"{reward.__name__} gives {values[0]} for the right answer {gold!r} and {values[1]} for none; with it "
                "nothing is learned",
                key="reward_funcs",
            )
        lines.append(f"{reward.__name__}: gold {values[0]}, empty {values[1]}")
    return "\n".join(lines)


def call_reward(reward, texts: list[str], prompt: Prompt, columns: dict[str, list], tokenizer) -> list[float | None]:
    """What a reward gives to completions of one prompt, called as TRL calls it.

    Raises:
        RecipeError: where it raises something, or gives no number for each completion.
    """
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    rows = {name: values * len(texts) for name, values in columns.items()}
    try:
        given = reward(completions=texts, prompts=[prompt.text] * len(texts), completion_ids=ids, **rows, **TRL_GIVES)
        return asyncio.run(given) if inspect.iscoroutine(given) else given
    except RecipeError:
        raise
    except Exception as error:  # of code that is the user's, in a check that names all faults at once
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise RecipeError(
            f"{reward.__name__} raises {type(error).__name__}: {error} ({place.filename}, line {place.lineno})",
            key="reward_funcs",
        ) from error


def stand_in_tokenizer():
    """A tokenizer that renders ChatML. It has no vocabulary, so its token ids mean nothing."""
    from tokenizers import Tokenizer, models  # this and the next ones take seconds
    from transformers import PreTrainedTokenizerFast

    from mini_r1.run.tiny_model import CHAT_TEMPLATE

    vocabulary = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    return PreTrainedTokenizerFast(tokenizer_object=vocabulary, unk_token="?", chat_template=CHAT_TEMPLATE)
