"""What the tests of `make check` share: recipes to break, a place to do it, and the errors that it prints."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from repository import ROOT

MINE = "recipes/mine.yaml: "
# On a CPU, with the tiny model; on GPUs, with the tiny model, or with one of which only the size is known.
CPU = "extends: countdown-tiny.yaml\nmodel_name_or_path: {model}\noutput_dir: out\ntask_args: {n: 300}\n"
GPU = (
    "extends: countdown.yaml\nmodel_name_or_path: {model}\noutput_dir: out\ndataset_id_or_path: null\n"
    "task_args: {n: 500}\nmax_completion_length: 64\n"
)
LARGE = GPU.replace("{model}", "Qwen/Qwen2.5-3B-Instruct").replace("64", "1024")
LORA = GPU + "use_peft: true\nlora_target_modules: [all-linear]\n"


class Place:
    """A working directory with the shipped recipes, and data in which one row lacks a column. No GPU is visible."""

    def __init__(self, folder: Path, monkeypatch, capsys, run_script: Callable, model: Path):
        self.folder, self._capsys, self._run_script, self.model = folder, capsys, run_script, model
        shutil.copytree(ROOT / "recipes", folder / "recipes")
        (folder / "data").mkdir()
        (folder / "data" / "rows.jsonl").write_text('{"nums": [1, 2], "target": 3}\n{"nums": [1, 3]}\n')
        monkeypatch.chdir(folder)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")

    def write(self, text: str) -> str:
        """Make `text` the recipe recipes/mine.yaml; of lines for the same key, the last one counts."""
        lines = {line.partition(":")[0]: line for line in text.splitlines()}
        (self.folder / "recipes" / "mine.yaml").write_text(
            "\n".join(lines.values()).replace("{model}", str(self.model))
        )
        return "recipes/mine.yaml"

    def check(self, text: str, *flags: object) -> tuple[int, list[str], list[str]]:
        """Exit status, lines on stderr, lines on stdout of `make check` of a recipe."""
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            self._run_script("check.py", "--config", self.write(text), *flags)
        said = self._capsys.readouterr()
        return stopped.value.code, said.err.splitlines(), said.out.splitlines()

    def errors(self, text: str, *flags: object) -> list[str]:
        """What is wrong with a recipe; the status must be 2, and nothing else on stderr."""
        status, errors, _ = self.check(text, *flags)
        assert status == 2
        assert all(line.startswith("error: ") for line in errors), errors
        return [line.removeprefix("error: ") for line in errors]
