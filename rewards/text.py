"""Reads the think and answer tags of a text, for all rewards.

Every function makes a fixed number of `str` searches, so that a megabyte of reasoning costs about a millisecond.
"""

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"


def full_text(prefill: str | None, completion: str | list[dict[str, str]]) -> str:
    """The model's whole turn: the part already in the prompt, then the completion.

    Args:
        prefill: the tail of the prompt that belongs to the answer, such as `<think>`; None counts as "".
        completion: a text, or a conversation of one message.

    Example: `full_text("<think>", [{"role": "assistant", "content": "1</think>"}])` is `"<think>1</think>"`.
    """
    if not isinstance(completion, str):
        (message,) = completion
        completion = message["content"]
    return (prefill or "") + completion


def prefill_of(prompt: str | list[dict[str, str]]) -> str:
    """The tail of a prompt that belongs to the answer: an opened `<think>` at its end, or nothing.

    Args:
        prompt: a text, or a conversation, of which an assistant's last message may have begun the answer.

    Example: `prefill_of("User: 1 + 2?\\nAssistant: <think>\\n")` is `"<think>\\n"`.
    """
    if not isinstance(prompt, str):
        last = prompt[-1] if prompt else {}
        prompt = last.get("content") or "" if last.get("role") == "assistant" else ""
    start = prompt.rfind(THINK_OPEN)
    tail = prompt[start:] if start >= 0 else ""
    return tail if not tail.removeprefix(THINK_OPEN).strip() else ""


def turn_parts(text: str) -> tuple[str, str, str, str] | None:
    """(reasoning, what is between the blocks, answer, what follows) of a text that has each tag once and in order.

    None where a tag is missing, misplaced or repeated, or where the text, stripped, does not begin with `<think>`.

    Example: `turn_parts("<think>1+2</think>So: <answer>3</answer>.")` is `("1+2", "So: ", "3", ".")`.
    """
    text = text.strip()
    if not text.startswith(THINK_OPEN):
        return None
    if any(text.count(tag) != 1 for tag in (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)):
        return None
    reasoning, _, rest = text[len(THINK_OPEN) :].partition(THINK_CLOSE)
    between, _, rest = rest.partition(ANSWER_OPEN)
    # If a tag comes too early, the search for the next one fails, and nothing closes the answer.
    answer, closed, after = rest.partition(ANSWER_CLOSE)
    return (reasoning, between, answer, after) if closed else None


def answer_block(text: str) -> str | None:
    """The content of the only `<answer>...</answer>`, if that follows a closed think block; else None.

    A second answer tag anywhere, even one quoted in the reasoning, gives None, since the answer is then ambiguous.
    Text after the block, between the blocks or before `<think>` does not matter here.

    Example: `answer_block("<think></think>So: <answer>1+2</answer> Bye!")` is `"1+2"`.
    """
    if text.count(ANSWER_OPEN) != 1 or text.count(ANSWER_CLOSE) != 1:
        return None
    before, _, rest = text.partition(ANSWER_OPEN)
    answer, closed, _ = rest.partition(ANSWER_CLOSE)
    # The last think tag before the answer must be a closing one; otherwise the answer is part of the reasoning.
    thought = -1 < before.rfind(THINK_OPEN) < before.rfind(THINK_CLOSE)
    return answer if closed and thought else None
