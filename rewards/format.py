"""Did the model think first and then answer, in the tags it was asked to use?"""

from mini_r1.rewards.text import has_right_format
from mini_r1.rewards.verdict import Verdict, reward_from


def format_verdict(text: str) -> Verdict:
    """Correct where the whole text, stripped, is `<think>R</think>`, optional whitespace, `<answer>A</answer>`.

    Each tag occurs exactly once and is case-sensitive, R and A are not blank, nothing comes before or after.
    Everything else is wrong; nothing is unparseable. What the answer says does not matter.

    Example:
        >>> format_reward(completions=["1+2 is 3</think>\\n<answer>1+2</answer>", "1+2"], prefill=["<think>"] * 2)
        [1.0, 0.0]
    """
    return Verdict.CORRECT if has_right_format(text) else Verdict.WRONG


format_reward = reward_from("format_reward", format_verdict)
