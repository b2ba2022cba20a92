"""Preference pairs for a reward model: read, cut to the part that it will judge, held out by prompt, as token ids.

A recipe's `preference_datasets` lists them, each a map as in mini_r1/conversations.py (path, split, config, share). A
row is one of TRL's preference formats: `chosen` and `rejected`, two conversations that end with the assistant's turn,
with the `prompt` before both in them or in a column of its own; or three strings `prompt`, `chosen`, `rejected`.
"""

import json
from dataclasses import dataclass

from mini_r1.arguments import RewardArguments, SFTArguments
from mini_r1.conversations import load_conversations
from mini_r1.data import _uniform
from mini_r1.errors import RecipeError
from mini_r1.reward_model import judged

KEY = "preference_datasets"
SIDES = ("chosen", "rejected")


@dataclass
class Pairs:
    """Rows {chosen, rejected}, each a conversation, to train on and held out; what was left out, by reason."""

    train: list[dict]
    test: list[dict]
    left_out: dict[str, int]

    def describe(self) -> str:
        out = ", ".join(f"{count} {why}" for why, count in self.left_out.items() if count)
        return f"{len(self.train)} pairs to train on, {len(self.test)} held out; left out: {out or 'none'}"


def load_pairs(args: RewardArguments, tokenizer, seed: int, max_length: int | None) -> Pairs:
    """The pairs of all entries, those of one prompt on one side.

    Raises:
        RecipeError: for an entry that cannot be read, a row that is no pair (unless `skip_bad_rows`), or where none is
            left to train on.
    """
    if not 0 <= args.test_fraction < 1:
        raise RecipeError(f"{args.test_fraction} is not a share from 0 to below 1", key="test_fraction")
    pairs = Pairs([], [], {"that are no pair": 0, "whose parts are equal": 0, "too long": 0})
    try:
        rows = load_conversations(SFTArguments(sft_datasets=args.preference_datasets), seed)
    except RecipeError as error:
        error.key = KEY
        raise
    for row in rows:
        try:
            pair = to_pair(row, args.part)
        except ValueError as error:
            if not args.skip_bad_rows:
                raise RecipeError(
                    f"a row {error} (or skip_bad_rows: true); it has {', '.join(row)}", key=KEY
                ) from error
            pairs.left_out["that are no pair"] += 1
            continue
        if pair["chosen"] == pair["rejected"]:
            pairs.left_out["whose parts are equal"] += 1
        elif max_length and max(len(token_ids(pair[side], tokenizer)) for side in SIDES) > max_length:
            pairs.left_out["too long"] += 1
        else:
            asked = json.dumps(pair["chosen"][:-1], sort_keys=True)
            (pairs.test if _uniform(asked, "test") < args.test_fraction else pairs.train).append(pair)
    pairs.train, pairs.test = pairs.train[: args.max_train_rows], pairs.test[: args.max_eval_rows]
    if not pairs.train:
        raise RecipeError(f"no pairs are left to train on: {pairs.describe()}", key=KEY)
    return pairs


def to_pair(row: dict, part: str) -> dict:
    """A row as {chosen, rejected}, two conversations whose last turn is the part that is judged.

    Raises:
        ValueError: where the row is none of the forms above, saying what it would be.
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
    """As a reward it sees a policy's `<think>` always; an answer without any tag is all that its user reads."""
    return (
        text.strip() if part == "summary" and "<think>" not in text and "</think>" not in text else judged(text, part)
    )


def token_ids(turns: list[dict], tokenizer) -> list[int]:
    """A conversation as the reward will show it to the model."""
    return tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]


def to_ids(pairs: list[dict], tokenizer):
    """A `Dataset` of {chosen_ids, rejected_ids}, which TRL's trainer takes as it is."""
    from datasets import Dataset

    return Dataset.from_list([{f"{side}_ids": token_ids(pair[side], tokenizer) for side in SIDES} for pair in pairs])


def accuracy(model, tokenizer, pairs: list[dict], batch_size: int) -> float:
    """The share of pairs whose chosen side scores above the rejected one; every process scores all of them."""
    from mini_r1.reward_model import _scores

    training = model.training
    model.eval()
    chosen, rejected = (_scores(model, tokenizer, [pair[side] for pair in pairs], batch_size) for side in SIDES)
    model.train(training)
    return sum(a > b for a, b in zip(chosen, rejected, strict=True)) / len(pairs)
