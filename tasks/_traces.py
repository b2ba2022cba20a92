"""What the traces of all tasks end with."""

import random


def closing(answer: str, rng: random.Random, break_format: float) -> tuple[str, bool]:
    """The end of the reasoning and the answer block, to be learned; with probability `break_format` without one tag."""
    end = f"</think>\n<answer>{answer}</answer>"
    if rng.random() < break_format:
        end = end.replace(rng.choice(["</think>", "<answer>", "</answer>"]), "")
    return end, True
