"""Reads or writes the preference pairs of a reward model, cut to the part that it judges, and held out by prompt.

A recipe's `preference_datasets` lists data sets, each a map as in mini_r1/data/conversations.py (path, split, config,
share). A row is one of TRL's preference formats: `chosen` and `rejected`, two conversations that end with the
assistant's turn, with the `prompt` before both in them or in a column of its own; or three strings `prompt`, `chosen`,
`rejected`.

With `task` instead, the task writes the pairs: two traces of one problem, by `chosen_trace_args` and by
`rejected_trace_args`, in the form that `prompt_template` asks for. Its held-out problems are those of a policy's run.
"""

import json
import random
from dataclasses import dataclass

from mini_r1 import tasks
from mini_r1.config.arguments import RewardArguments
from mini_r1.data.conversations import check_sources, load_conversations
from mini_r1.data.problems import load_rows, uniform
from mini_r1.data.prompts import apply_template, get_template
from mini_r1.data.reward_model import judged, scores
from mini_r1.data.traces import trace_text
from mini_r1.errors import RecipeError

KEY = "preference_datasets"
SIDES = ("chosen", "rejected")
WRITER = ("num_pairs", "chosen_trace_args", "rejected_trace_args")


@dataclass
class Pairs:
    """Pairs {chosen, rejected} of conversations, to train on and held out, and how many were left out by reason."""

    train: list[dict]
    test: list[dict]
    left_out: dict[str, int]

    def describe(self) -> str:
        out = ", ".join(f"{count} {why}" for why, count in self.left_out.items() if count)
        return f"{len(self.train)} pairs to train on, {len(self.test)} held out; left out: {out or 'none'}"


def check_preferences(args: RewardArguments) -> None:
    """Refuses a recipe that does not say where its pairs are from, or says it twice."""
    if args.tasks is not None:
        raise RecipeError("a reward model learns from one task's pairs; use task, or preference_datasets", key="tasks")
    if args.task is None:
        if idle := [key for key in WRITER if getattr(args, key) is not None]:
            raise RecipeError("is about a task that writes the pairs; name it (task: ...)", key=idle[0])
        check_sources(args.preference_datasets, KEY)
        return
    if args.preference_datasets is not None:
        raise RecipeError("given together with task, which writes the pairs itself; leave one of the two out", key=KEY)
    if not hasattr(tasks.get(args.task), "trace"):
        raise RecipeError(f"tasks/{args.task}.py has no trace writer; use {KEY}", key="task")
    if (args.chosen_trace_args or {}) == (args.rejected_trace_args or {}):
        raise RecipeError("is what chosen_trace_args is; say what is worse, such as {give_up: 1}", key=WRITER[-1])
    get_template(args.prompt_template)


def load_pairs(args: RewardArguments, tokenizer, seed: int, max_length: int | None) -> Pairs:
    """Loads the pairs of all data sets or of the task; those of one prompt are all trained on, or all held out.

    Raises:
        RecipeError: for an entry that cannot be read, a row that is no pair (unless `skip_bad_rows`), or where none is
            left to train on.
    """
    pairs = Pairs([], [], {"that are no pair": 0, "whose parts are equal": 0, "too long": 0})
    if args.task:
        rows = [("", row) for row in _written(args, seed)]
    else:
        rows = load_conversations(args.preference_datasets or [], seed, key=KEY)
    for place, row in rows:
        try:
            pair = to_pair(row, args.part)
        except ValueError as error:
            if not args.skip_bad_rows:
                said = f"{place}: {error} (or skip_bad_rows: true); it has {', '.join(row)}"
                raise RecipeError(said, key=KEY) from error
            pairs.left_out["that are no pair"] += 1
            continue
        if pair["chosen"] == pair["rejected"]:
            pairs.left_out["whose parts are equal"] += 1
        elif max_length and max(len(token_ids(pair[side], tokenizer)) for side in SIDES) > max_length:
            pairs.left_out["too long"] += 1
        else:
            asked = json.dumps(pair["chosen"][:-1], sort_keys=True)
            held_out = row["held_out"] if args.task else uniform(asked, "test") < args.test_fraction
            (pairs.test if held_out else pairs.train).append(pair)
    if not args.task:  # a task has counted its problems
        pairs.train, pairs.test = pairs.train[: args.max_train_rows], pairs.test[: args.max_eval_rows]
    if not pairs.train:
        raise RecipeError(f"no pairs are left to train on: {pairs.describe()}", key="task" if args.task else KEY)
    return pairs


def _written(args: RewardArguments, seed: int) -> list[dict]:
    """Writes `num_pairs` rows on random training problems, then one on each problem that is held out."""
    task, template, rng = tasks.get(args.task), get_template(args.prompt_template), random.Random(seed)
    rows = load_rows(args, task)
    problems = [(rng.choice(rows.train), False) for _ in range(args.num_pairs or len(rows.train))]
    problems += [(row, True) for row in rows.test]
    written = []
    for row, held_out in problems:
        pair = {"prompt": task.question(row), "held_out": held_out}
        for side, settings in zip(SIDES, (args.chosen_trace_args, args.rejected_trace_args), strict=True):
            try:
                pair[side] = trace_text(task, template, row, rng, settings)
            except ValueError as error:
                raise RecipeError(str(error), key=f"{side}_trace_args") from error
        written.append(pair)
    return written


def to_pair(row: dict, part: str) -> dict:
    """Turns a row into {chosen, rejected}, two conversations whose last turns hold only the part that is judged.

    Raises:
        ValueError: where the row has none of the forms above.
    """
    pair = {}
    for side in SIDES:
        before, said = row.get("prompt") or [], row.get(side)
        before = [{"role": "user", "content": before}] if isinstance(before, str) else before
        said = [{"role": "assistant", "content": said}] if isinstance(said, str) else said
        turns = [*before, *said] if isinstance(before, list) and isinstance(said, list) else []
        turns = [{key: turn.get(key) for key in ("role", "content")} for turn in turns if isinstance(turn, dict)]
        whole = all(isinstance(turn["content"], str) for turn in turns)
        if len(turns) < 2 or not whole or turns[-1]["role"] != "assistant":
            raise ValueError(f"needs {side}, a conversation of a user and then the assistant, or with prompt, a text")
        pair[side] = [*turns[:-1], {"role": "assistant", "content": _part(turns[-1]["content"], part)}]
    return pair


def _part(text: str, part: str) -> str:
    """The part of an answer that is judged; of an answer without think tags all of it is the summary."""
    untagged = "<think>" not in text and "</think>" not in text
    return text.strip() if part == "summary" and untagged else judged(text, part)


def token_ids(turns: list[dict], tokenizer) -> list[int]:
    """A conversation as the reward will show it to the model."""
    return apply_template(turns, tokenizer, tokenize=True, return_dict=True)["input_ids"]


def to_ids(pairs: list[dict], tokenizer):
    """Makes a `Dataset` of {chosen_ids, rejected_ids}, which TRL's trainer takes as it is."""
    from datasets import Dataset  # takes a second

    return Dataset.from_list([{f"{side}_ids": token_ids(pair[side], tokenizer) for side in SIDES} for pair in pairs])


def accuracy(model, tokenizer, pairs: list[dict], batch_size: int) -> float:
    """The share of pairs, from 0 to 1, whose chosen side scores above the rejected one. Every process scores all."""
    training = model.training
    model.eval()
    chosen, rejected = (scores(model, tokenizer, [pair[side] for pair in pairs], batch_size) for side in SIDES)
    model.train(training)
    return sum(a > b for a, b in zip(chosen, rejected, strict=True)) / len(pairs)
