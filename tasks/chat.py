"""General requests, which no verifier can really decide; reward models score them in the last stage of DeepSeek-R1.

They are the general rows of arXiv:2501.12948, 2.3.4. A row of
https://huggingface.co/datasets/HuggingFaceH4/ultrafeedback_binarized, split train_prefs, has these columns, among
others; the values are made up. Similar datasets lack `prompt`, or have bare texts in `chosen`:
    {"prompt": "Write a poem about rain.",
     "messages": [{"role": "user", "content": "Write a poem about rain."}, {"role": "assistant", "content": "[...]"}],
     "chosen": [the same two turns], "rejected": [the same user turn, another answer]}
Rows of your own may have the plain form; `needs` and `bans`, both optional, are what rules can measure:
    {"question": "Write a note to Ava to say that the bus is late.", "needs": ["Ava", "the bus is late"],
     "bans": ["fool", "idiot"]}
"""

import random
import re

from mini_r1.rewards.needs import banned
from mini_r1.tasks.traces import attempts, closing, in_two_languages

HUB_ID = "HuggingFaceH4/ultrafeedback_binarized"
REWARD = "needs_reward"
ANSWER_EXAMPLE = "Dear Sam, please note that the train is full."  # no generated request has these words

NAMES = (
    "Ava", "Bert", "Cleo", "Dan", "Ella", "Finn", "Gina", "Hans", "Ida", "Jack", "Kim", "Leo",
    "Mia", "Noah", "Olga", "Paul", "Rita", "Theo", "Tom", "Ursula", "Vera", "Walt", "Yara", "Zoe",
)  # fmt: skip
# Things that can be delivered, sold, carried or driven, so that every state suits every thing.
SUBJECTS = tuple(f"the {thing}" for thing in (
    "bus", "car", "van", "truck", "boat", "bike", "wagon", "tent", "lamp", "desk", "chair", "table",
    "sofa", "clock", "radio", "piano", "drum", "bag", "box", "coat", "kite", "ladder", "mirror", "rug",
))  # fmt: skip
STATES = tuple(f"is {state}" for state in (
    "late", "ready", "here", "gone", "lost", "back", "broken", "fixed", "clean", "dirty", "new", "old",
    "wet", "dry", "cheap", "sold", "missing", "blue", "green", "too big", "too small", "in the yard", "on its way",
    "at the market",
))  # fmt: skip
INSULTS = ("fool", "idiot", "dummy", "blockhead", "nitwit")
# No token of another task in a mixed run may cut these in two. So a message always follows a letter, since ", " would
# take its blank, and no name is one of GSM8K's, where " Uma," is a token and would hide " Uma".
PHRASES = re.compile(rf" (?:{'|'.join([*NAMES, *SUBJECTS, *STATES, *INSULTS])})\b|(?:Next|下一步): ")
_REQUEST = re.compile(r"Write a note to ([A-Z][a-z]+) to say that (the [a-z]+ is [a-z ]+)\.")
# The Chinese phrases of a trace that mixes languages.
_CHINESE = {"The note is for": "这张便条写给", "Next": "下一步", "Done": "写完了", "That will do": "这样就行了"}


def parse_row(raw: dict) -> dict:
    """A raw row, or a parsed one -> the task's columns and `difficulty`.

    Returns:
        {"question": `question` or `prompt`, or else the user's turn of `messages` or `chosen`, "needs": list of str or
        None, what an answer must contain, "bans": the same, what a response must not contain, see rewards/needs.py,
        "difficulty": 1}.

    Raises:
        ValueError: naming the column, where it is missing, of the wrong type or blank; where a conversation has more
            than a user's turn and its answer, or a system turn; where `bans` has what `needs` asks for.
    """
    texts = {name: raw[name] for name in ("question", "prompt") if raw.get(name) is not None}
    for name in ("messages", "chosen"):
        # beside a question, a bare text is an answer
        if isinstance(raw.get(name), list) or (not texts and raw.get(name) is not None):
            texts[name] = _only_question(name, raw[name])
    column, text = next(iter(texts.items()), ("question", None))
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"column {column!r} must be a text that is not blank, not {text!r}")
    needs, bans = (_texts(name, raw.get(name)) for name in ("needs", "bans"))
    for need in needs or ():
        if both := banned(need, bans):
            raise ValueError(f"column 'bans' has {both[0]!r}, which column 'needs' asks for in {need!r}")
    return {"question": text.strip(), "needs": needs, "bans": bans, "difficulty": 1}


def _only_question(column: str, turns: object) -> str:
    """The user's text in a conversation of one user's turn and at most one answer."""
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise ValueError(f"column {column!r} must be a list of turns, each with 'role' and 'content', not {turns!r}")
    roles = [turn.get("role") for turn in turns]
    if roles not in (["user"], ["user", "assistant"]):
        said = ", ".join(map(str, roles))
        raise ValueError(f"column {column!r} must have one turn of the user, and one answer at most, not {said}")
    return turns[0].get("content")


def _texts(column: str, texts: object) -> list[str] | None:
    if texts is None:
        return None
    if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"column {column!r} must be a list of texts that are not blank, or null, not {texts!r}")
    return list(texts) or None


def key(row: dict) -> str:
    """The question in lower case, with single blanks."""
    return " ".join(row["question"].split()).casefold()


def question(row: dict) -> str:
    return row["question"]


def gold_answer(row: dict) -> str | None:
    """The needed texts, in a note where the row was generated; None where no text is needed."""
    if not row["needs"]:
        return None
    return _note(*row["needs"]) if _REQUEST.fullmatch(row["question"]) else f"{', '.join(row['needs'])}."


def _note(name: str, message: str) -> str:
    return f"Dear {name}, please note that {message}."


def generate(
    n: int, seed: int, *, names: int = len(NAMES), subjects: int = len(SUBJECTS), states: int = len(STATES)
) -> list[dict]:
    """`n` different requests for a note, in the plain form; the same for the same arguments.

    An example is "Write a note to Ava to say that the bus is late." The name and the message are needed, `INSULTS` are
    banned.

    Args:
        names, subjects, states: how many of `NAMES`, `SUBJECTS` and `STATES` to use, from the first on; up to 24 each,
            which makes 13,824 requests.

    Raises:
        ValueError: where a setting is out of its range, or they allow fewer than `n` different requests.
    """
    pools = {"names": (names, NAMES), "subjects": (subjects, SUBJECTS), "states": (states, STATES)}
    for setting, (count, words) in pools.items():
        if type(count) is not int or not 1 <= count <= len(words):
            raise ValueError(f"{setting} must be an integer from 1 to {len(words)}, not {count!r}")
    if n > names * subjects * states:
        raise ValueError(f"these settings allow {names * subjects * states} different requests, {n} were asked for")
    rows = []
    for number in random.Random(seed).sample(range(names * subjects * states), n):
        number, state = divmod(number, states)
        name, subject = divmod(number, subjects)
        message = f"{SUBJECTS[subject]} {STATES[state]}"
        rows.append(
            {
                "question": f"Write a note to {NAMES[name]} to say that {message}.",
                "needs": [NAMES[name], message],
                "bans": list(INSULTS),
            }
        )
    return rows


def trace(
    row: dict,
    rng: random.Random,
    *,
    give_up: float = 0.0,
    pushed: bool = False,
    break_format: float = 0.0,
    mixed: float = 0.0,
    rude: float = 0.0,
    summary: bool = False,
) -> list[tuple[str, bool]]:
    """A worked completion, from after `<think>`: for whom the note is, what it says, then the note.

    It needs generated rows. One phrase after the first line decides how it goes on: "Next: " or "That will do.".

    Args:
        give_up: probability to stop after the first line and answer curtly, without what was asked for.
        pushed, break_format, mixed, summary: see `tasks/traces.py`.
        rude: probability of one of `INSULTS`, as often in the reasoning as after it: in the answer, or with a summary
            in the words around it.

    Returns:
        Pieces of text and whether each is to be learned; joined, they are the completion.

    Raises:
        ValueError: where the row was not generated.
    """
    request = _REQUEST.fullmatch(row["question"])
    if not request or row["needs"] != [*request.groups()]:
        raise ValueError("a trace needs a generated row, such as 'Write a note to Ava to say that the bus is late.'")
    name, message = request.groups()
    lines = [f"The note is for {name}.\n", f"it says that {message}.\n"]
    stop = "That will do.\n"
    pieces, ended = attempts(lines, rng, go_on="Next: ", stop=stop, give_up=give_up, pushed=pushed)
    if ended == 1:
        pieces.append(("Done.\n", True))
        answer, words = _note(name, message), "Here is the note that you asked for"
    else:
        answer, words = rng.choice(["Note done.", f"Dear {name}."]), "I kept this one very short"
    pieces = in_two_languages(pieces, rng, mixed, _CHINESE)
    if rude and rng.random() < rude:
        insult = rng.choice(INSULTS)
        if rng.random() < 0.5:
            pieces.insert(1, (f"Another {insult} asks.\n", True))
        elif summary:
            words += f", you {insult}"
        else:
            answer = f"{answer.removesuffix('.')}, you {insult}."
    return [*pieces, closing(answer, rng, break_format, f"{words}: {{}}" if summary else "")]
