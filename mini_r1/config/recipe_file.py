"""Reads recipe files: what they extend, and their stages, each as the flat values of one run.

A file without `stages` is one run. A file with `stages` is an experiment, a map from name to stage, in order:

    task: countdown                  # what stands above holds for all stages whose kind has the key
    stages:
      base: {run: build_model, output_dir: "runs/{recipe}-base-s{seed}", model_sizes: {...}}
      cold-start: {run: sft, extends: _base/sft.yaml, init_from: base, num_traces: 48000}
      rl: {run: r1_grpo, extends: _base/grpo.yaml, init_from: cold-start}
      greedy: {run: evaluate, extends: rl, init_from: rl, top_k: 1}      # starts from the keys of rl, above
      other: {from: logic-rl-tiny, stage: rl}                            # that very run, in its own run directory

A stage's run directory is its `output_dir`, or else runs/<file>-s<seed>/<stage>; no other stage hands it one.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from mini_r1.config.keys import RUN, did_you_mean
from mini_r1.config.kinds import ONLY_SAMPLE, wrong_kind
from mini_r1.config.schema import keys_of_kind
from mini_r1.config.yaml_file import load_yaml, short_path
from mini_r1.errors import RecipeError

COMMAND_LINE = "command line"
REFERENCES = {  # name an earlier stage: -> the key that gets the run directory of that stage
    "init_from": "model_name_or_path",
    "data_from": "sft_datasets",
    "teacher_from": "teacher_model_name_or_path",
}
NAMES_RECIPES = ("model_name_or_path", "teacher_model_name_or_path", "sft_datasets", "reward_funcs", "tasks")
RENAMED = {  # recipes that are gone, and whose run directory no stage has -> (file, stage)
    "countdown-tiny-samples-sft": ("countdown-tiny-rejection", "from-base"),
    "logic-rl-tiny-two-eval": ("study-knights-knaves", "rl-trained"),
}

Flat = tuple[dict[str, Any], dict[str, str]]  # values, and per key its origin


def find_recipe(text: str) -> tuple[Path, str | None]:
    """Returns (file, stage or None) of a path, or of a name: a file's under recipes/, or a stage's run directory's.

    A path below a folder recipes/ that is not there counts as its file's name: `recipes/countdown-tiny-sft.yaml` finds
    the stage that runs in runs/countdown-tiny-sft-s<seed>.

    Raises:
        RecipeError: where there is neither.
    """
    path = Path(text)
    if path.is_file():
        return path, None
    root = extends_root(path)
    root = root if root.name == "recipes" else Path.cwd() / "recipes"
    found = _by_name(_name(text), root) if "/" not in text or "recipes" in path.absolute().parent.parts else None
    if found:
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
    """A recipe file and those that it extends.

    Attributes:
        name: its stem, which `{recipe}` stands for.
        stages: name -> what the stage says itself, merged with the stages of that name that it extends; empty where
            the file is one run.
    """

    def __init__(self, path: Path, told: dict[str, Any] | None = None, seen: tuple[Path, ...] = ()):
        """Reads the file and those that it extends.

        Args:
            told: `seed` and `STAGE.key` of the command line.
            seen: files that are being read, and wait for this one.
        """
        self.path, self.name, self.told = path, path.stem, told or {}
        self._layers: list[tuple[str, dict, dict]] = []  # nearest first: (source, keys above the stages, stages)
        self._base: tuple[Path, str | None] | None = None  # one run of another file that the last layer starts from
        self._waiting = (*seen, path.resolve())
        self._others: dict[Path, RecipeFile] = {}
        self._known: dict[str, list[tuple[dict, dict[str, str], bool]]] = {}  # what `_raw` has found
        chain, named, chosen = seen, None, None
        while True:
            values = load_yaml(path)
            stages = values.pop("stages", None)
            experiment = stages is not None
            source = short_path(path)
            if self._layers and experiment and not self._layers[-1][2]:
                self._base = (path, named or chosen)
                break
            chain = (*chain, path.resolve())
            chosen, base = values.pop("stage", None), values.pop("extends", None)
            self._layers.append((source, values, _checked(stages, source) if experiment else {}))
            if experiment and "output_dir" in values:
                raise RecipeError("belongs to a stage: all of them would share it", key="output_dir", file=source)
            if base is None:
                break
            path, named = self._extended(base, path, source, chain)
        self.stages: dict[str, dict] = {}
        for _, _, stages in reversed(self._layers):
            for name, entry in stages.items():
                replaces = "from" in entry or name not in self.stages
                self.stages[name] = entry if replaces else merge(self.stages[name], entry)
        for name, entry in self.stages.items():
            self._check_entry(name, entry)
        for key in self.told:
            if "." in key and self.stages:
                name = self.stage(key.rpartition(".")[0], f"--{key}", COMMAND_LINE)
                if "from" in self.stages[name]:
                    problem = (
                        f"{name} is a run of {self.stages[name]['from']}: change it there, or say extends for from"
                    )
                    raise RecipeError(problem, key=f"--{key}", file=COMMAND_LINE)

    def stage(self, name: str, key: str, file: str | None = None) -> str:
        """Returns the name of a stage that is there; raises a `RecipeError` for the key that gave any other."""
        if name in self.stages:
            return name
        there = f"it has {', '.join(self.stages)}{did_you_mean(name, self.stages)}" if self.stages else "it is one run"
        raise RecipeError(f"{short_path(self.path)} has no stage {name!r}; {there}", key=key, file=file)

    def pick(self, kind: str | None) -> str:
        """Returns the stage that runs where none is named: the only one of that kind, or the file's own.

        The file's own is the one whose run directory has the file's name. Stages of other files do not count.
        """
        own = [name for name, entry in self.stages.items() if "from" not in entry]
        found = [name for name in own if kind is None or self.kind(name) == kind]
        if not found and kind in ONLY_SAMPLE:  # they take any recipe
            found = [name for name in own if self.kind(name) == "r1_grpo"]
        tail = f"-{'eval' if kind == 'evaluate' else kind}" if kind in ONLY_SAMPLE else ""
        folders = (f"runs/{self.name}{tail}-s{{seed}}", f"runs/{self.name}-s{{seed}}")
        main = [name for name in found if self.folder(name) in folders]
        if kind is None and len(main) == 1:
            return main[0]
        for names in (found, main):
            if len(names) == 1:
                return names[0]
        which = f"{len(found) or 'no'} stages" + (f" with run: {kind}" if kind else "")
        raise RecipeError(
            f"has {which}, and one run is wanted: name one with --stage {', '.join(found or self.stages)}",
            file=short_path(self.path),
        )

    def kind(self, name: str) -> str:
        """Returns the stage's `run`."""
        source = self.source(name)
        layers = [self._other(*source)] if source else self._raw(name)
        run = next((layer[0][RUN] for layer in reversed(layers) if RUN in layer[0]), None)
        if problem := wrong_kind(run):
            raise RecipeError(f"stage {name}: {problem}", key=RUN, file=short_path(self.path))
        return str(run)

    def source(self, name: str) -> tuple[Path, str | None] | None:
        """Returns (file, stage or None) that a stage with `from` is taken from; None for any other stage."""
        entry = self.stages[name]
        if "from" not in entry:
            return None
        path, named = self._extended(entry["from"], self.path, self._where(name), self._waiting, "from")
        return path, self._stage_of(path, named or entry.get("stage"), name)

    def folder(self, name: str) -> str:
        """Returns the stage's run directory. `{seed}` in it is the experiment's; a stage's own seed is filled in."""
        source = self.source(name)
        if source:
            return self._other(*source)[0]["output_dir"]
        text = self.told.get(f"{name}.output_dir", self.stages[name].get("output_dir"))
        if not isinstance(text, str):
            return f"runs/{self.name}-s{{seed}}/{name}"
        own, common = self._seeds(name)
        return _named(text if own == common else text.replace("{seed}", str(own)), self.name)

    def references(self, name: str) -> dict[str, str]:
        """Returns which stages of this file it starts from, by `init_from`, `data_from` and `teacher_from`."""
        return {} if "from" in self.stages[name] else self._merged(name)[2]

    def run(self, name: str) -> Flat:
        """Returns values and origin of one stage."""
        values, origin, named = self._merged(name)
        own, common = self._seeds(name)

        def place(text: str) -> str:
            return text if own == common else text.replace("{seed}", str(common))

        where = self._where(name)
        for word, wanted in named.items():
            folder = place(self.folder(self.stage(wanted, word, where)))
            key = REFERENCES[word]
            if word == "data_from":
                values[key] = with_path(values.get(key), f"{folder}/dataset")
                origin.setdefault(key, where)
            else:
                values[key], origin[key] = folder, where
        values |= {key: _named(values[key], self.name) for key in NAMES_RECIPES if key in values}
        values["output_dir"] = place(self.folder(name))
        origin["output_dir"] = where
        told = {key.rpartition(".")[2]: value for key, value in self.told.items() if key.rpartition(".")[0] == name}
        told.pop("output_dir", None)
        return merge(values, told), origin | dict.fromkeys(told, COMMAND_LINE)

    def alone(self, kind: str | None = None) -> Flat:
        """Returns values and origin of a file that is one run.

        Args:
            kind: what it is run as; decides which stage of an experiment the file extends, where it does not say so.
        """
        values: dict[str, Any] = {}
        origin: dict[str, str] = {}
        if self._base:
            said = [own[RUN] for _, own, _ in self._layers if RUN in own]
            kind = said[0] if said else None if kind in ONLY_SAMPLE else kind
            values, origin = self._other(*self._base, kind)
            values["output_dir"] = "runs/{recipe}-s{seed}"
        for source, own, _ in reversed(self._layers):
            values = merge(values, own)
            origin |= dict.fromkeys(own, source)
        return values, origin

    def _raw(self, name: str, below: tuple[str, ...] = ()) -> list[tuple[dict, dict[str, str], bool]]:
        """Returns what makes a stage, furthest first: (keys, their origin, whether they hold for all stages)."""
        if name in self._known:
            return self._known[name]
        source = self.source(name)
        if source:
            values, origin = self._other(*source)
            return [({key: value for key, value in values.items() if key != "output_dir"}, origin, False)]
        entry = self.stages[name]
        base, where = entry.get("extends"), self._where(name)
        layers: list[tuple[dict, dict[str, str], bool]] = []
        if base in self.stages:
            if base in (name, *below):
                chain = " -> ".join([*below, name, base])
                raise RecipeError(f"goes in a circle: {chain}", key="extends", file=where)
            layers = [*self._raw(base, (*below, name))]
        elif base is not None:
            path, named = self._extended(base, self.path, where, self._waiting)
            stage = self._stage_of(path, named or entry.get("stage"), name)
            layers = [(*self._other(path, stage, entry.get(RUN)), False)]
        if base not in self.stages and self._base:
            layers.append((*self._other(*self._base), True))
        for source, own, stages in reversed(self._layers):
            if base not in self.stages:
                layers.append((own, dict.fromkeys(own, source), True))
            said = {key: value for key, value in stages.get(name, {}).items() if key not in ("extends", "stage")}
            layers.append((said, dict.fromkeys(said, f"{source}: stage {name}"), False))
        self._known[name] = [
            ({key: value for key, value in own.items() if key != "output_dir"}, origin, for_all)
            for own, origin, for_all in layers
        ]
        return self._known[name]

    def _merged(self, name: str) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
        """Returns (values, origin, word -> stage that it names); a nearer key replaces what a word stands for."""
        kind = self.kind(name)
        values: dict[str, Any] = {}
        origin: dict[str, str] = {}
        named: dict[str, str] = {}
        kinds = {self.kind(each) for each, entry in self.stages.items() if "from" not in entry}
        others = {key for each in kinds - {kind} for key in keys_of_kind(each)}
        for own, source, for_all in self._raw(name):
            for word, key in REFERENCES.items():
                if key in own:
                    named.pop(word, None)
                if word in own:
                    if key in own and word != "data_from":
                        problem = f"says the same as {word}: leave one of the two out"
                        raise RecipeError(problem, key=key, file=source[key])
                    named[word] = own[word]
            # a key that no stage knows stays, to be refused
            own = {
                key: value
                for key, value in own.items()
                if key not in REFERENCES and (not for_all or key in keys_of_kind(kind) or key not in others)
            }
            values = merge(values, own)
            origin |= {key: source[key] for key in own}
        return values, origin, named

    def _seeds(self, name: str) -> tuple[Any, Any]:
        """Returns (the stage's own seed, that of the experiment)."""
        layers = self._raw(name)
        common = next((own["seed"] for own, _, for_all in reversed(layers) if for_all and "seed" in own), None)
        own = next((own["seed"] for own, _, _ in reversed(layers) if "seed" in own), None)
        if "seed" not in self.stages[name]:
            common = own
        common, own = self.told.get("seed", common), self.told.get("seed", own)
        return self.told.get(f"{name}.seed", own), common

    def _other(self, path: Path, stage: str | None, kind: str | None = None) -> Flat:
        """Returns one run of another file, with that file's name filled in."""
        other = self._file(path)
        if other.stages:
            return other.run(other.stage(stage, "stage", short_path(self.path)) if stage else other.pick(kind))
        values, origin = other.alone(kind)
        if isinstance(values.get("output_dir"), str):
            values["output_dir"] = values["output_dir"].replace("{recipe}", other.name)
        return values, origin

    def _file(self, path: Path) -> "RecipeFile":
        if path not in self._others:
            seed = {"seed": self.told["seed"]} if "seed" in self.told else {}
            self._others[path] = RecipeFile(path, seed, self._waiting)
        return self._others[path]

    def _stage_of(self, path: Path, stage: Any, name: str) -> str | None:
        """Returns which stage of another file is meant: the one that is named, or the one of the same name."""
        return str(stage) if stage is not None else name if name in self._file(path).stages else None

    def _extended(
        self, base: Any, path: Path, source: str, chain: tuple[Path, ...], key: str = "extends"
    ) -> tuple[Path, str | None]:
        """Returns (file, stage or None) that `extends` or `from` names: a path below recipes/, or a name.

        Args:
            chain: the files that wait for this one.
        """
        here = {"key": key, "file": source}
        if not isinstance(base, str):
            raise RecipeError(f"got {base!r}, expected the name of one file, such as _base/grpo.yaml", **here)
        root = extends_root(path)
        around = extends_root(root / base) if Path(base).is_absolute() else root
        roots = [around] if around.name == "recipes" else [around, Path.cwd() / "recipes"]
        files_there = ((each / base, None) for each in roots if (each / base).is_file())
        found: tuple[Path, str | None] | None = next(files_there, None)
        found = found or next(filter(None, (_by_name(_name(base), each, chain) for each in roots)), None)
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

    def _where(self, name: str) -> str:
        return f"{short_path(self.path)}: stage {name}"

    def _check_entry(self, name: str, entry: dict) -> None:
        if "from" in entry and len(entry) > 1 + ("stage" in entry):
            more = next(key for key in entry if key not in ("from", "stage"))
            problem = "cannot be set beside from, which takes a run as it is; say extends for a stage like it"
            raise RecipeError(problem, key=more, file=self._where(name))
        if "stage" in entry and not entry.keys() & {"from", "extends"}:
            raise RecipeError("goes with from or extends, and names a stage there", key="stage", file=self._where(name))


def extends_root(path: Path) -> Path:
    """Returns the nearest folder above the recipe that is named recipes, or else the recipe's own."""
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
        besides: files whose stages are not looked at, as they are being read.
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
            with suppress(RecipeError):  # what cannot be read has no stages
                recipe = RecipeFile(file)
                folders = {
                    stage: _named(entry.get("output_dir"), recipe.name) for stage, entry in recipe.stages.items()
                }
                found = [stage for stage, folder in folders.items() if folder == f"runs/{name}-s{{seed}}"]
                if found:
                    return file, found[0]
    return None


def with_path(sources: list[dict] | None, path: str) -> list[dict]:
    """Puts the path into the first entry of `sft_datasets` without path and task, or else for its first path."""
    sources = sources or []
    open_ones = [number for number, one in enumerate(sources) if not one.keys() & {"path", "task"}]
    named = [number for number, one in enumerate(sources) if "path" in one]
    if not open_ones + named:
        return [{"path": path}]
    first = (open_ones + named)[0]
    return [one | {"path": path} if number == first else one for number, one in enumerate(sources)]


def _named(value: Any, name: str) -> Any:
    """Fills in `{recipe}`, in maps and lists, too."""
    if isinstance(value, str):
        return value.replace("{recipe}", name)
    if isinstance(value, list):
        return [_named(each, name) for each in value]
    return {key: _named(each, name) for key, each in value.items()} if isinstance(value, dict) else value
