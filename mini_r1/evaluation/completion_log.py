"""The log of sampled completions: an evaluation that was killed reads it and samples no problem twice."""

import json
import os
import sys
from pathlib import Path

from tqdm import tqdm

from mini_r1.evaluation.records import FOLDER
from mini_r1.evaluation.sampler import Completion


class CompletionLog:
    """`<run>/evaluation/<name>-<process>.jsonl`: one line for each batch of finished problems.

    Args:
        run: the run directory.
        name: of the measurement, such as `after`.
        process: number of this process, which writes its own file and reads those of all.
    """

    def __init__(self, run: Path, name: str, process: int = 0):
        self.folder, self.name = run / FOLDER, name
        self.path = self.folder / f"{name}-{process}.jsonl"
        self.folder.mkdir(parents=True, exist_ok=True)

    def read(self) -> dict[int, list[Completion]]:
        """Returns {number of the problem: its completions}, from the files of all processes."""
        found = {}
        for path in sorted(self.folder.glob(f"{self.name}-*.jsonl")):
            for finished in read_lines(path):
                found |= {int(number): [Completion(*one) for one in drawn] for number, drawn in finished.items()}
        return found

    def add(self, finished: dict[int, list[Completion]]) -> None:
        """Writes the completions of finished problems; they are on the disk when this returns."""
        line = {number: [(one.text, one.tokens, one.cut_off) for one in drawn] for number, drawn in finished.items()}
        add_line(self.path, line)

    def delete(self) -> None:
        """Deletes the files of all processes, once a parquet file has their content."""
        for path in self.folder.glob(f"{self.name}-*.jsonl"):
            path.unlink()


def read_lines(path: Path) -> list[dict]:
    """Returns the lines of a log that nobody writes to now, and cuts off the half line that a kill can leave."""
    content = path.read_bytes() if path.exists() else b""
    end = content.rfind(b"\n") + 1
    if len(content) > end:
        os.truncate(path, end)
    return [json.loads(line) for line in content[:end].splitlines()]


def add_line(path: Path, values: dict) -> None:
    """Appends `values` to the file as a line of JSON; it is on the disk when this returns."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(values, ensure_ascii=True) + "\n")
        file.flush()
        os.fsync(file.fileno())


def progress_bar(name: str, unit: str, total: int, done: int, shown: bool = True):
    """A `tqdm` bar that begins at `done`. It writes a line every 20 s where stderr is a file."""
    interval = 0.5 if sys.stderr.isatty() else 20
    return tqdm(total=total, initial=done, desc=name, unit=f" {unit}", disable=not shown, mininterval=interval)
