"""Reads recipe files, the files that they extend, and their stages. Each stage is the flat values of one run.

A file without `stages` is one run. A file with `stages` is an experiment, a map from name to stage, in order:

    task: countdown                  # a key above the stages holds for all stages whose kind has it
    stages:
      base: {run: build_model, output_dir: "runs/{recipe}-base-s{seed}", model_sizes: {...}}
      cold-start: {run: sft, extends: _base/sft.yaml, init_from: base, num_traces: 48000}
      rl: {run: r1_grpo, extends: _base/grpo.yaml, init_from: cold-start}
      greedy: {run: evaluate, extends: rl, init_from: rl, top_k: 1}      # starts from the keys of rl
      other: {from: logic-rl-tiny, stage: rl}                            # that run itself, in its run directory

A stage's run directory is its own `output_dir`, or else runs/<file>-s<seed>/<stage>. Stages inherit none.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mini_r1.config.keys import RUN, did_you_mean
from mini_r1.config.kinds import ONLY_SAMPLE, wrong_kind
from mini_r1.config.schema import keys_of_kind
from mini_r1.config.yaml_file import load_yaml, short_path
from mini_r1.errors import RecipeError

COMMAND_LINE = "command line"
REFERENCES = {  # word that names an earlier stage -> key that gets the run directory of that stage
    "init_from": "model_name_or_path",
    "data_from": "sft_datasets",
    "teacher_from": "teacher_model_name_or_path",
}
# Keys in which `{recipe}` and `{seed}` are filled in, and the lists whose maps have such keys.
PLACEHOLDER_KEYS = ("output_dir", "run_name", "model_name_or_path", "teacher_model_name_or_path")
PLACES = {*PLACEHOLDER_KEYS, "sft_datasets", "path", "tasks", "reward_funcs", "reward_model"}
RENAMED = {  # deleted recipe whose run directory no stage has -> (file, stage)
    "countdown-tiny-samples-sft": ("countdown-tiny-rejection", "from-base"),
    "logic-rl-tiny-two-eval": ("study-knights-knaves", "rl-trained"),
}

Flat = tuple[dict[str, Any], dict[str, str]]  # values, and per key its origin
Layer = tuple[dict[str, Any], dict[str, str], bool]  # values, origin, and whether they hold for all stages


def find_recipe(text: str) -> tuple[Path, str | None]:
    """Returns (file, stage or None) of a path or a name; a `RecipeError` if there is none.

    A name is that of a file below recipes/, or of a stage's run directory: `countdown-tiny-sft` finds the stage that
    runs in runs/countdown-tiny-sft-s<seed>. So does `recipes/countdown-tiny-sft.yaml`, a path that is not there.
    """
    path = Path(text)
    if path.is_file():
        return path, None
    root = extends_root(path)
    inside = root.name == "recipes"
    root = root if inside else Path.cwd() / "recipes"
    if (inside or "/" not in text) and (found := _by_name(_name(text), root)):
        return Path(short_path(found[0])), found[1]
    if path.exists():
        return path, None
    files = {file.name for file in (*path.parent.glob("*.yaml"), *root.rglob("*.yaml"))}
    raise RecipeError(f"no such recipe{did_you_mean(f'{_name(text)}.yaml', files)}", file=short_path(path))


def merge(base: dict, over: dict) -> dict:
    """Merges maps; lists and everything else replace."""
    merged = dict(base)
    for key, value in over.items():
        both_maps = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both_maps else value
    return merged


class RecipeFile:
    """A recipe file and the files that it extends.

    Attributes:
        name: the file's stem, the value of `{recipe}`.
        stages: name -> keys of the stage in this file and the files that it extends; empty if the file is one run.
    """

    def __init__(self, path: Path, told: dict[str, Any] | None = None, seen: tuple[Path, ...] = ()):
        """Reads the file and those that it extends.

        Args:
            told: `seed` and `STAGE.key` of the command line.
            seen: files that wait for this one, to find circles.
        """
        self.path, self.name, self.told = path, path.stem, told or {}
        self._waiting = (*seen, path.resolve())
        self._others: dict[Path, RecipeFile] = {}
        self._known: dict[str, list[Layer]] = {}  # what `_raw` has found
        self._layers: list[tuple[str, dict, dict]] = []  # furthest first: (source, keys above the stages, stages)
        self._base: tuple[Path, str | None] | None = None  # the run of an experiment that this one run extends
        self.stages: dict[str, dict] = {}
        values, source = load_yaml(path), short_path(path)
        stages = _checked(values.pop("stages"), source) if "stages" in values else {}
        chosen, extends = values.pop("stage", None), values.pop("extends", None)
        if stages and "output_dir" in values:
            raise RecipeError("belongs to a stage: all of them would share it", key="output_dir", file=source)
        if extends is not None:
            base, named = _extended(extends, path, source, self._waiting)
            other = self.other(base)
            if other.stages and not stages:
                self._base = (base, named or chosen)
            else:
                self._layers, self._base, self.stages = [*other._layers], other._base, dict(other.stages)
        self._layers.append((source, values, stages))
        for name, entry in stages.items():
            replaces = "from" in entry or name not in self.stages
            self.stages[name] = entry if replaces else merge(self.stages[name], entry)
        for name, entry in self.stages.items():
            self._check_entry(name, entry)
        for key in self.told:
            if "." in key and self.stages:
                name = self.stage(key.rpartition(".")[0], f"--{key}", COMMAND_LINE)
                if "from" in self.stages[name]:
                    source = self.stages[name]["from"]
                    problem = f"{name} is a run of {source}: change it there, or say extends for from"
                    raise RecipeError(problem, key=f"--{key}", file=COMMAND_LINE)

    def other(self, path: Path) -> "RecipeFile":
        """Returns another file that this one names, read with the command line's seed."""
        if path not in self._others:
            seed = {"seed": self.told["seed"]} if "seed" in self.told else {}
            self._others[path] = RecipeFile(path, seed, self._waiting)
        return self._others[path]

    def stage(self, name: str, key: str, file: str | None = None) -> str:
        """Returns the name of a stage; a `RecipeError` about `key`, which gave the name, if there is no such stage."""
        if name in self.stages:
            return name
        there = f"it has {', '.join(self.stages)}{did_you_mean(name, self.stages)}" if self.stages else "it is one run"
        raise RecipeError(f"{short_path(self.path)} has no stage {name!r}; {there}", key=key, file=file)

    def pick(self, kind: str | None) -> str:
        """Returns the stage to run if none is named: the only one of that kind, or the one in runs/<file>-s<seed>.

        Stages of other files do not count.
        """
        kinds = {name: self.kind(name) for name, entry in self.stages.items() if "from" not in entry}
        found = [name for name in kinds if kind in (None, kinds[name])]
        if not found and kind in ONLY_SAMPLE:  # these kinds take any recipe
            found = [name for name in kinds if kinds[name] == "r1_grpo"]
        tail = {"evaluate": "-eval", "generate": "-generate"}.get(str(kind), "")
        folders = (f"runs/{self.name}{tail}-s{{seed}}", f"runs/{self.name}-s{{seed}}")
        main = [name for name in found if self.folder(name) in folders]
        for names in (main, found) if kind is None else (found, main):
            if len(names) == 1:
                return names[0]
        which = f"{len(found) or 'no'} stages" + (f" with run: {kind}" if kind else "")
        raise RecipeError(
            f"has {which}, and one run is wanted: name one with --stage {', '.join(found or self.stages)}",
            file=short_path(self.path),
        )

    def kind(self, name: str) -> str:
        """Returns the stage's `run`."""
        run = next((values[RUN] for values, _, _ in reversed(self._raw(name)) if RUN in values), None)
        if problem := wrong_kind(run):
            raise RecipeError(f"stage {name}: {problem}", key=RUN, file=short_path(self.path))
        return str(run)

    def source(self, name: str) -> tuple[Path, str | None] | None:
        """Returns the (file, stage or None) that a stage with `from` names; None for any other stage."""
        return self._named_run(name, "from") if "from" in self.stages[name] else None

    def folder(self, name: str) -> str:
        """Returns the stage's run directory. `{seed}` in it is the experiment's; a stage's own seed is filled in."""
        if source := self.source(name):
            return self._other(*source)[0]["output_dir"]
        text = self.told.get(f"{name}.output_dir", self.stages[name].get("output_dir"))
        if not isinstance(text, str):
            return f"runs/{self.name}-s{{seed}}/{name}"
        own, common = self._seeds(name)
        return (text if own == common else text.replace("{seed}", str(own))).replace("{recipe}", self.name)

    def references(self, name: str) -> dict[str, str]:
        """Returns the stages that a stage starts from, by `init_from`, `data_from` and `teacher_from`."""
        return {} if "from" in self.stages[name] else self._merged(name)[2]

    def run(self, name: str) -> Flat:
        """Returns values and origin of one stage."""
        values, origin, named = self._merged(name)
        where, (own, common) = self._where(name), self._seeds(name)

        def place(stage: str) -> str:
            folder = self.folder(stage)
            return folder if own == common else folder.replace("{seed}", str(common))

        for word, wanted in named.items():
            folder, key = place(self.stage(wanted, word, where)), REFERENCES[word]
            if word == "data_from":
                values[key] = with_path(values.get(key), f"{folder}/dataset")
                origin.setdefault(key, where)
            else:
                values[key], origin[key] = folder, where
        values["output_dir"], origin["output_dir"] = place(name), where
        for key in PLACES & values.keys() - {"run_name"}:
            values[key] = filled(key, values[key], lambda text: text.replace("{recipe}", self.name))
        told = {key.rpartition(".")[2]: value for key, value in self.told.items() if key.rpartition(".")[0] == name}
        told.pop("output_dir", None)
        return merge(values, told), origin | dict.fromkeys(told, COMMAND_LINE)

    def alone(self, kind: str | None = None) -> Flat:
        """Returns values and origin of a file that is one run.

        Args:
            kind: the kind of run; chooses the stage if the file extends an experiment and names no stage of it.
        """
        values: dict[str, Any] = {}
        origin: dict[str, str] = {}
        if self._base:
            said = [own[RUN] for _, own, _ in self._layers if RUN in own]
            kind = said[-1] if said else None if kind in ONLY_SAMPLE else kind
            values, origin = self._other(*self._base, kind)
            values["output_dir"] = "runs/{recipe}-s{seed}"
        for source, own, _ in self._layers:
            values = merge(values, own)
            origin |= dict.fromkeys(own, source)
        return values, origin

    def _raw(self, name: str, below: tuple[str, ...] = ()) -> list[Layer]:
        """Returns the layers that make a stage, furthest first."""
        if name in self._known:
            return self._known[name]
        entry, where = self.stages[name], self._where(name)
        base = entry.get("extends")
        layers: list[Layer] = []
        if source := self.source(name):
            layers = [(*self._other(*source), False)]
        elif base in self.stages:
            if base in (name, *below):
                chain = " -> ".join([*below, name, base])
                raise RecipeError(f"goes in a circle: {chain}", key="extends", file=where)
            layers = [*self._raw(base, (*below, name))]
        else:
            if base is not None:
                layers = [(*self._other(*self._named_run(name, "extends"), entry.get(RUN)), False)]
            if self._base:
                layers.append((*self._other(*self._base), True))
        for file, own, stages in [] if source else self._layers:
            if base not in self.stages:
                layers.append((own, dict.fromkeys(own, file), True))
            said = {key: value for key, value in stages.get(name, {}).items() if key not in ("extends", "stage")}
            layers.append((said, dict.fromkeys(said, f"{file}: stage {name}"), False))
        self._known[name] = [
            ({key: value for key, value in values.items() if key != "output_dir"}, origin, for_all)
            for values, origin, for_all in layers
        ]
        return self._known[name]

    def _merged(self, name: str) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
        """Returns (values, origin, word of `REFERENCES` -> stage); a nearer key replaces its word."""
        values: dict[str, Any] = {}
        origin: dict[str, str] = {}
        named: dict[str, str] = {}
        kinds = {self.kind(each) for each, entry in self.stages.items() if "from" not in entry}
        # a key that no stage's kind has stays, and is refused later
        of_others = {key for kind in kinds for key in keys_of_kind(kind)} - keys_of_kind(self.kind(name)).keys()
        for own, source, for_all in self._raw(name):
            for word, key in REFERENCES.items():
                if key in own:
                    named.pop(word, None)
                if word in own:
                    if key in own and word != "data_from":
                        problem = f"says the same as {word}: leave one of the two out"
                        raise RecipeError(problem, key=key, file=source[key])
                    named[word] = own[word]
            left_out = {*REFERENCES, *(of_others if for_all else ())}
            own = {key: value for key, value in own.items() if key not in left_out}
            values = merge(values, own)
            origin |= {key: source[key] for key in own}
        return values, origin, named

    def _seeds(self, name: str) -> tuple[Any, Any]:
        """Returns (the stage's own seed, that of the experiment)."""
        said = [(values["seed"], for_all) for values, _, for_all in self._raw(name) if "seed" in values]
        own = self.told.get("seed", said[-1][0] if said else None)
        default = None if "seed" in self.stages[name] else own
        common = self.told.get("seed", next((seed for seed, for_all in reversed(said) if for_all), default))
        return self.told.get(f"{name}.seed", own), common

    def _other(self, path: Path, stage: str | None, kind: str | None = None) -> Flat:
        """Returns one run of another file, with that file's name filled in."""
        other = self.other(path)
        if other.stages:
            return other.run(other.stage(stage, "stage", short_path(self.path)) if stage else other.pick(kind))
        values, origin = other.alone(kind)
        if "output_dir" in values:
            values["output_dir"] = filled(
                "output_dir", values["output_dir"], lambda text: text.replace("{recipe}", other.name)
            )
        return values, origin

    def _named_run(self, name: str, key: str) -> tuple[Path, str | None]:
        """Returns the (file, stage or None) of a stage's `from` or `extends`; the default stage has the same name."""
        path, named = _extended(self.stages[name][key], self.path, self._where(name), self._waiting, key)
        stage = named or self.stages[name].get("stage")
        return path, str(stage) if stage is not None else name if name in self.other(path).stages else None

    def _where(self, name: str) -> str:
        return f"{short_path(self.path)}: stage {name}"

    def _check_entry(self, name: str, entry: dict) -> None:
        if "from" in entry and len(entry) > 1 + ("stage" in entry):
            more = next(key for key in entry if key not in ("from", "stage"))
            problem = "cannot be set beside from, which takes a run as it is; say extends for a stage like it"
            raise RecipeError(problem, key=more, file=self._where(name))
        if "stage" in entry and not entry.keys() & {"from", "extends"}:
            raise RecipeError("goes with from or extends, and names a stage there", key="stage", file=self._where(name))


def filled(key: str, value: Any, fill: Callable[[str], str]) -> Any:
    """Returns a key's value with the placeholders in it, and in its maps, filled in."""
    if key not in PLACES:
        return value
    if isinstance(value, list):
        return [filled(key, each, fill) for each in value]
    if isinstance(value, dict):
        return {name: filled(name, each, fill) for name, each in value.items()}
    return fill(value) if isinstance(value, str) else value


def _extended(
    base: Any, path: Path, source: str, chain: tuple[Path, ...], key: str = "extends"
) -> tuple[Path, str | None]:
    """Returns the (file, stage or None) that `extends` or `from` names: a path below recipes/, or a name.

    Args:
        path: the file with the key; errors call it `source`.
        chain: the files that wait for the wanted one.
    """
    here = {"key": key, "file": source}
    if not isinstance(base, str):
        raise RecipeError(f"got {base!r}, expected the name of one file, such as _base/grpo.yaml", **here)
    root = extends_root(path)
    roots = [extends_root(Path(base)) if Path(base).is_absolute() else root, Path.cwd() / "recipes"]
    file = next((each / base for each in roots if (each / base).is_file()), None)
    found = (file, None) if file else next(filter(None, (_by_name(_name(base), each, chain) for each in roots)), None)
    if not found:
        files = list(root.rglob("*.yaml"))
        options = [*(str(file.relative_to(root)) for file in files), *(file.name for file in files)]
        raise RecipeError(
            f"no file {base} in {short_path(root)}{did_you_mean(base.removesuffix('.yaml') + '.yaml', options)}",
            **here,
        )
    if found[0].resolve() in chain:
        way = " -> ".join(short_path(each) for each in (*chain, found[0]))
        raise RecipeError(f"goes in a circle: {way}", **here)
    return found


def extends_root(path: Path) -> Path:
    """Returns the nearest folder above a recipe that is named recipes, or else the recipe's own folder."""
    folders = path.absolute().parents
    return next((folder for folder in folders if folder.name == "recipes"), folders[0])


def _checked(stages: Any, source: str) -> dict[str, dict]:
    if isinstance(stages, list):
        raise RecipeError(
            "a list of stages is a pipeline, which scripts/run_pipeline.py runs", key="stages", file=source
        )
    if not isinstance(stages, dict) or not stages:
        raise RecipeError("expected a map of names to stages", key="stages", file=source)
    for name, entry in stages.items():
        if not isinstance(entry, dict) or not all(isinstance(key, str) for key in entry):
            raise RecipeError(f"got {entry!r}, expected a map of keys to values", key=str(name), file=source)
    return {str(name): entry for name, entry in stages.items()}


def _name(text: str) -> str:
    return Path(text).name.removesuffix(".yaml")


def _by_name(name: str, root: Path, besides: tuple[Path, ...] = ()) -> tuple[Path, str | None] | None:
    """Returns the file of that name, or the stage whose run directory is runs/NAME-s<seed>.

    Args:
        besides: files that are being read; their stages do not count.
    """
    files = sorted(root.rglob("*.yaml"), key=lambda file: (len(file.parts), file))
    for file in files:
        if file.stem == name:
            return file, None
    if name in RENAMED:
        stem, stage = RENAMED[name]
        return next(((each, stage) for each in files if each.stem == stem), None)
    for file in files:
        text = file.read_text(encoding="utf-8", errors="replace")
        may_have_it = "stages:" in text and (name.startswith(file.stem) or name in text)
        if may_have_it and file.resolve() not in besides:
            with suppress(RecipeError):  # a broken file has no stages
                for stage, entry in RecipeFile(file).stages.items():
                    if str(entry.get("output_dir")).replace("{recipe}", file.stem) == f"runs/{name}-s{{seed}}":
                        return file, stage
    return None


def with_path(sources: list[dict] | None, path: str) -> list[dict]:
    """Puts a path into the first entry of `sft_datasets` without path and task, or else into the first with a path."""
    sources = sources or []
    open_ones = [number for number, one in enumerate(sources) if not one.keys() & {"path", "task"}]
    named = [number for number, one in enumerate(sources) if "path" in one]
    if not open_ones + named:
        return [{"path": path}]
    first = (open_ones + named)[0]
    return [one | {"path": path} if number == first else one for number, one in enumerate(sources)]
