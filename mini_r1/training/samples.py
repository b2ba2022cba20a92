"""Completions for people to read: whole, some right, some wrong."""

import json
import os
import re
from pathlib import Path

from mini_r1.rewards import explain

SAMPLES_FILE = "success_completion_samples.txt"  # the tutorial's: a right one at each generation
FOLDER = "samples"
OF_EACH = 2  # right and wrong ones of a step


def append_success(folder: str | Path, step: int, prompts: list[str], completions: list[str], right: list) -> None:
    """Append the first right completion of a rollout to `success_completion_samples.txt`."""
    first = next((i for i, value in enumerate(right) if value), None)
    with open(Path(folder) / SAMPLES_FILE, "a", encoding="utf-8") as file:
        if first is not None:
            file.write(f"===== step {step}\n{prompts[first]}{completions[first]}\n\n")


def write_samples(
    folder: str | Path,
    step: int,
    prompts: list[str],
    completions: list[str],
    graded: dict[str, list],
    tokens: list[int],
    rewards: list[dict[str, float]],
) -> None:
    """Write `samples/step-00020.txt`: some right and some wrong completions, each of another problem, with the reason.

    Args:
        graded: `Grader.grade`'s columns.
        rewards: name -> reward, of each completion.
    """
    right, wrong = {}, {}  # of different problems
    for i, value in enumerate(graded["right"]):
        if value is not None:
            (right if value else wrong).setdefault(prompts[i], i)
    blocks = []
    for i in [*right.values()][:OF_EACH] + [*wrong.values()][:OF_EACH]:
        numbers = ", ".join(f"{name} {value:g}" for name, value in rewards[i].items())
        why = explain(graded["prefill"][i] + completions[i], json.loads(graded["row"][i]))
        blocks.append(f"===== step {step}, {tokens[i]} tokens, {numbers}\n===== {why}\n{prompts[i]}{completions[i]}\n")
    path = Path(folder) / FOLDER / f"step-{step:05d}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(blocks), encoding="utf-8")


def drop_samples_after(folder: str | Path, checkpoint: str | None) -> None:
    """Cut samples of steps after the checkpoint, which a resumed run will write again; without one, all of them.

    So goes one whose heading was cut off while it was being written.
    """
    step = json.loads((Path(checkpoint) / "trainer_state.json").read_text())["global_step"] if checkpoint else 0
    path = Path(folder) / SAMPLES_FILE
    if not path.exists():
        return
    head, *blocks = ("\n" + path.read_text(encoding="utf-8")).split("\n===== step ")
    kept = [block for block in blocks if re.match(r"\d+\n", block) and int(block.split("\n", 1)[0]) <= step]
    scratch = path.with_suffix(".tmp")
    scratch.write_text((head + "".join("\n===== step " + block for block in kept)).lstrip("\n"), encoding="utf-8")
    os.replace(scratch, path)
