"""The cases of rewards/corpus, by file: what the tests of verdicts, votes and explanations share."""

import json

from repository import ROOT

FOLDER = ROOT / "rewards" / "corpus"


def read(name: str) -> list[dict]:
    with (FOLDER / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


FILES = {path.stem: read(path.stem) for path in sorted(FOLDER.glob("*.jsonl"))}
