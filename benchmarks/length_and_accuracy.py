"""Are longer answers better answers? Right and wrong completions of the same prompt, compared within a training run.

.venv/bin/python benchmarks/length_and_accuracy.py RUN_DIRECTORY... [--reward roles_reward]

Reads the completions that training has logged. Harder problems ask for longer answers, so lengths are compared only
within groups (completions of one prompt, sampled at one step) that have both right and wrong ones, cut-off completions
left out. Three parts of the run are shown apart, as the policy's lengths move.
"""

import argparse
import itertools
import statistics
from pathlib import Path

import pandas
from transformers import AutoTokenizer

PARTS = ("first", "second", "last")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--reward", default="roles_reward", help="its highest value is a right answer")
    args = parser.parse_args()
    print(
        "| run | third | accuracy | mean length | right, less wrong, same prompt | groups | of them right longer |\n"
        "|---|---|---|---|---|---|---|"
    )
    for folder in args.folders:
        for part, cells in zip(PARTS, thirds(read(folder, args.reward)), strict=True):
            print(f"| {folder} | {part} | {' | '.join(cells)} |")


def read(folder: Path, reward: str) -> pandas.DataFrame:
    """One row for each completion: step, prompt, tokens, right, ended."""
    files = sorted((folder / "completions").glob("*.parquet"))
    table = pandas.concat([pandas.read_parquet(file) for file in files], ignore_index=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    table["tokens"] = [
        len(ids) for ids in tokenizer(table["completion"].tolist(), add_special_tokens=False)["input_ids"]
    ]
    table["right"] = table[reward] == table[reward].max()
    table["ended"] = table["completion"].str.rstrip().str.endswith("</answer>")
    return table[["step", "prompt", "tokens", "right", "ended"]]


def thirds(table: pandas.DataFrame) -> list[list[str]]:
    """For each third of the steps: accuracy, mean length, and what is within groups."""
    steps = sorted(table["step"].unique())
    cuts = [steps[len(steps) * i // 3] for i in range(3)] + [steps[-1] + 1]
    rows = []
    for low, high in itertools.pairwise(cuts):
        part = table[(table["step"] >= low) & (table["step"] < high)]
        gaps = []
        for _, group in part[part["ended"]].groupby(["step", "prompt"]):
            right, wrong = group[group["right"]]["tokens"], group[~group["right"]]["tokens"]
            if len(right) and len(wrong):
                gaps.append(float(right.mean() - wrong.mean()))
        longer = sum(gap > 0 for gap in gaps) / len(gaps) if gaps else 0.0
        gap = f"{statistics.mean(gaps):+.1f} tokens" if gaps else "-"
        rows.append(
            [f"{part['right'].mean():.3f}", f"{part['tokens'].mean():.1f}", gap, str(len(gaps)), f"{longer:.0%}"]
        )
    return rows


if __name__ == "__main__":
    main()
