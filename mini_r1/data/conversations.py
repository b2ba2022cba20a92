"""Makes supervised data of conversations from files or the hub, as token ids with labels.

A recipe's `sft_datasets` lists them, each a map:
    path: a local .parquet, .jsonl or .json file, a folder of them, or a hub id; such as runs/NAME-s42/dataset, what
        scripts/generate.py leaves.
    split, config: of a hub data set or folder; "train" where left out.
    task, instead of path: one of the recipe's tasks writes a trace for each of its training rows, in the form of its
        template; `trace_args` are settings of its `trace`.
    share: of the mixture; all entries have one, together 1, or none. As many rows are used as do not repeat.

A row is one of these:
    messages: a conversation that ends with the assistant's turn. Where it also has the `row` of the recipe's own
        `task`, or of one of its `tasks`, the question is put as the template there puts it, so that a student may have
        another template than the model that was sampled from.
    conversations: the same in ShareGPT's form, {from: human, value: ...} and {from: gpt, value: ...}.
    prompt, completion: two strings, the prompt as the tokenizer is to get it; or two conversations.
    instruction, input, output: Alpaca's form, three texts; the input may be missing or empty.

Reasoning that the assistant's last message has in a field of its own (`REASONING`) becomes its think block. Of other
messages the chat template gets role and content; whatever else they hold is counted and named.
"""

import json
import random
from collections import Counter
from collections.abc import Sequence

from mini_r1.config.arguments import SFTArguments
from mini_r1.config.keys import Node, check_values
from mini_r1.data.mixture import Part
from mini_r1.data.problems import load_rows, read_split
from mini_r1.data.prompts import prompt_ids, render, render_turns, without_bos
from mini_r1.data.traces import like_lengths_together, supervised_dataset, trace_text
from mini_r1.errors import RecipeError
from mini_r1.rewards.text import THINK_CLOSE, THINK_OPEN

KEY = "sft_datasets"
FORMS = "messages, conversations, prompt and completion, or instruction and output"
# Where data sets keep the reasoning of an answer beside its content
REASONING = ("reasoning_content", "reasoning", "thinking")
SHAREGPT = {"human": "user", "gpt": "assistant"}
TEXT: Node = {"type": "string"}
SHARE: dict[str, Node] = {"share": {"type": "number"}}
READ: dict[str, Node] = {"path": TEXT, "split": TEXT, "config": {"type": ["string", "null"]}} | SHARE
WRITTEN: dict[str, Node] = {"task": TEXT, "trace_args": {"type": "object"}} | SHARE


def check_sources(sources: list[dict] | None, key: str = KEY) -> None:
    """Refuses entries of `sft_datasets`, or of a `key` like it without `task`, that cannot be used."""
    if not sources:
        raise RecipeError(f"must be a list such as [{{path: runs/x-s42/dataset}}], not {sources!r}", key=key)
    for one in sources:
        written = key == KEY and "task" in one
        try:
            check_values(one, {}, WRITTEN if written else READ)
        except RecipeError as error:
            raise RecipeError(str(error), key=key) from None
        if not written and "path" not in one:
            raise RecipeError("each entry needs a path, such as runs/x-s42/dataset", key=key)
    given = [one["share"] for one in sources if "share" in one]
    if given and (len(given) < len(sources) or min(given) <= 0 or abs(sum(given) - 1) > 1e-6):
        shares = [one.get("share") for one in sources]
        raise RecipeError(f"the shares must all be given, above 0, and add up to 1, not {shares}", key=key)


def load_conversations(
    sources: list[dict], seed: int, parts: Sequence[Part] = (), key: str = KEY
) -> list[tuple[str, dict]]:
    """Loads the rows of all entries, mixed by their shares and shuffled by the seed, each with where it stands.

    Args:
        sources: entries that `check_sources` has let pass.
        parts: the recipe's tasks.
        key: the recipe's, for errors.

    Raises:
        RecipeError: for an entry that cannot be read, or that has no rows.
    """
    rng, pools = random.Random(seed), []
    for one in sources:
        rows = _write(one, parts, seed) if "task" in one else _read(one, key)
        places = [f"row {number} of {one.get('path') or one['task']}" for number in range(len(rows))]
        pools.append(rng.sample(list(zip(places, rows, strict=True)), len(rows)))
    if "share" in sources[0]:
        shares = [one["share"] for one in sources]
        total = min(len(rows) / share for rows, share in zip(pools, shares, strict=True))
        pools = [rows[: max(1, round(total * share))] for rows, share in zip(pools, shares, strict=True)]
    mixed = [row for rows in pools for row in rows]
    rng.shuffle(mixed)
    return mixed


def _read(source: dict, key: str) -> list[dict]:
    try:
        rows = read_split(source["path"], source.get("split", "train"), source.get("config"))
    except RecipeError as error:
        raise RecipeError(error.problem, key=key) from error
    if not rows:
        raise RecipeError(f"{source['path']} has no rows", key=key)
    return rows


def _write(source: dict, parts: Sequence[Part], seed: int) -> list[dict]:
    """Writes a conversation for each training row of the task that an entry names."""
    name, rng = source["task"], random.Random(seed)
    part = next((part for part in parts if part.name == name), None)
    if part is None or not hasattr(part.task, "trace"):
        why = "no task of this recipe" if part is None else "a task without a trace writer"
        raise RecipeError(f"{name!r} is {why}; this recipe has {', '.join(each.name for each in parts)}", key=KEY)
    rows = []
    with part.blame():
        problems = load_rows(part.args, part.task).train
    for row in problems:
        try:
            answer = trace_text(part.task, part.template, row, rng, source.get("trace_args"))
        except ValueError as error:
            raise RecipeError(f"{name}: trace_args: {error}", key=KEY) from error
        turns = [{"role": "user", "content": part.task.question(row)}, {"role": "assistant", "content": answer}]
        rows.append({"messages": turns, "task": name, "row": json.dumps(row)})
    return rows


def _own(row: dict, parts: list[Part]) -> tuple[Part, dict] | None:
    """The part of a row, and its problem in the task's columns; None for a row that belongs to no part."""
    part = next((part for part in parts if part.name == row.get("task")), None)
    return (part, part.task.parse_row(json.loads(row["row"]))) if part and row.get("row") else None


def turns_of(row: dict) -> list[dict]:
    """The conversation of a row in any of the forms above, as it stands there.

    Raises:
        ValueError: where the row is none of them, or not one of a question and an answer at the least.
    """
    if isinstance(row.get("instruction"), str) and isinstance(row.get("output"), str):
        question = "\n\n".join(filter(None, [row["instruction"], row.get("input")]))
        turns: list = [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]
    elif row.get("conversations"):
        turns = [_from_sharegpt(turn) for turn in row["conversations"]]
    else:
        turns = row.get("messages") or [*(row.get("prompt") or []), *(row.get("completion") or [])]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns) or len(turns) < 2:
        raise ValueError(f"needs {FORMS}; it has the columns {', '.join(map(str, row)) or 'none'}")
    return turns


def _from_sharegpt(turn: object) -> object:
    if not isinstance(turn, dict) or "from" not in turn:
        return turn
    rest = {key: value for key, value in turn.items() if key not in ("from", "value")}
    return {"role": SHAREGPT.get(turn["from"], turn["from"]), "content": turn.get("value"), **rest}


def unused_fields(row: dict) -> set[str]:
    """Names of the fields of a row's messages that hold something which is neither asked nor learned."""
    if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        return set()
    *asked, answer = turns_of(row)
    unused = {key for turn in asked for key, value in turn.items() if value and key not in ("role", "content")}
    return unused | {key for key, value in answer.items() if value and key not in ("role", "content", *REASONING)}


def to_texts(
    row: dict, own: tuple[Part, dict] | None, tokenizer, chat_template_kwargs: dict | None = None
) -> tuple[str, str]:
    """A row as (prompt, completion): what the policy is given, and what it is to say, without the end token.

    Args:
        own: the part and the problem, where the row is of one of the recipe's tasks.
        chat_template_kwargs: the recipe's.

    Raises:
        ValueError: where the row has none of the forms above.
    """
    if isinstance(row.get("prompt"), str) and isinstance(row.get("completion"), str):
        return without_bos(row["prompt"], tokenizer), row["completion"]
    *asked, last = turns_of(row)
    if last.get("role") != "assistant" or not isinstance(last.get("content"), str) or not last["content"].strip():
        raise ValueError("its last message must be the assistant's, and a text that is not blank")
    answer = _whole_answer(last)
    if own:
        part, problem = own
        start = answer.find(THINK_OPEN)  # another template's prefill may stand before it
        prompt = render(part.template, part.task, problem, tokenizer)
        return prompt.text, prompt.completion(answer[max(start, 0) :])
    if not tokenizer.chat_template:
        raise ValueError("is a conversation, and this tokenizer has no chat template")
    asked = [{"role": turn.get("role"), "content": turn.get("content")} for turn in asked]
    prompt = render_turns(asked, tokenizer, chat_template_kwargs)
    return prompt.text, prompt.completion(answer)


def _whole_answer(turn: dict) -> str:
    """The text of an assistant's turn, with the reasoning that stands in a field of its own.

    Raises:
        ValueError: where both the field and the content hold reasoning that differs, or two fields do.
    """
    found = {key: turn[key] for key in REASONING if turn.get(key)}
    if len(set(map(str, found.values()))) > 1:
        raise ValueError(f"has reasoning in both {' and '.join(found)}")
    if not found:
        return turn["content"]
    key, reasoning = next(iter(found.items()))
    if not isinstance(reasoning, str):
        raise ValueError(f"has a message whose {key} is {reasoning!r:.60}, not a text")
    if THINK_OPEN in turn["content"]:
        if reasoning.strip() in turn["content"]:
            return turn["content"]
        raise ValueError(f"has reasoning in {key} and another in its content")
    return f"{THINK_OPEN}\n{reasoning.strip()}\n{THINK_CLOSE}\n\n{turn['content'].lstrip()}"


def conversation_dataset(
    args: SFTArguments,
    parts: list[Part],
    tokenizer,
    seed: int,
    batch_size: int,
    max_length: int | None,
    held_out: list[list[dict]],
):
    """A `supervised_dataset` of conversations, in which rows of like length share a batch, and what was left out.

    Returns:
        (dataset, number of rows left out, fields of messages that nothing is made of, each with its number of rows).
        Rows are left out that are longer than `max_length` tokens, that hold one of the problems that a part has
        `held_out` or, with `skip_bad_rows`, that cannot be used.

    Raises:
        RecipeError: for a row that cannot be used, or where none is left.
    """
    prompts, completions = [], []
    unused: Counter[str] = Counter()
    rows = load_conversations(args.sft_datasets or [], seed, parts)
    reserved = {(part.name, part.task.key(row)) for part, own in zip(parts, held_out, strict=True) for row in own}
    for place, row in rows:
        try:
            own = _own(row, parts)
            if own and (own[0].name, own[0].task.key(own[1])) in reserved:
                continue
            prompt, completion = to_texts(row, own, tokenizer, args.chat_template_kwargs)
            unused.update(unused_fields(row))
        except ValueError as error:
            if args.skip_bad_rows:
                continue
            raise RecipeError(f"{place}: {error}; or set skip_bad_rows: true", key=KEY) from error
        prompts.append(prompt)
        completions.append(completion)
    examples, lengths = [], []
    if prompts:
        learned = tokenizer(completions, add_special_tokens=False)["input_ids"]
        for asked, answer in zip(prompt_ids(prompts, tokenizer), learned, strict=True):
            length = len(asked) + len(answer) + 1  # with the end
            if max_length is None or length <= max_length:
                examples.append((asked, [(answer, True)]))
                lengths.append(length)
    if not examples:
        raise RecipeError(f"none of the {len(rows)} rows can be used, or all are longer than max_length", key=KEY)
    order = like_lengths_together(lengths, batch_size, random.Random(seed))
    dataset = supervised_dataset([examples[i] for i in order], tokenizer.eos_token_id)
    return dataset, len(rows) - len(examples), unused
