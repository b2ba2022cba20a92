"""Resolves a recipe: the values of the file, of the files that it extends, and of the command line, with their origin.

A recipe is a YAML map. `extends: _base/grpo.yaml` names another one, relative to recipes/, whose values come
first. Maps merge; lists and all other values replace. Flags come last. run_config.py checks the types.
"""

import functools
import json
import math
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mini_r1.config.keys import COSMETIC, RUN
from mini_r1.config.kinds import KINDS, ONLY_SAMPLE, wrong_kind
from mini_r1.config.recipe_file import COMMAND_LINE, PLACEHOLDER_KEYS, PLACES, RecipeFile, filled, find_recipe, merge
from mini_r1.config.yaml_file import Loader, dump_yaml, short_path
from mini_r1.errors import RecipeError

USAGE = "give a recipe and then any keys to override: --config recipes/NAME.yaml [--key value ...]"
_SECRET_NAME = re.compile(r"(TOKEN|KEY|SECRET|PASSWORD)$", re.IGNORECASE)


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe: flat `values`, and for each key its `origin`, the file that set it or "command line"."""

    path: str
    values: dict[str, Any]
    origin: dict[str, str]

    @property
    def name(self) -> str:
        """The recipe's stem: `countdown-tiny` for `recipes/tiny/countdown-tiny.yaml`."""
        return Path(self.path).stem


def parse_command_line(argv: list[str]) -> tuple[str, dict[str, Any]]:
    """Splits `--config FILE --key value --key=value --switch` into the recipe's path and the overrides.

    A flag without a value means true. A value that starts with `[`, `{` or `"` is JSON, any other is a YAML scalar.
    The last of two equal flags counts. A missing --config, a stray word or broken JSON is a `RecipeError`.
    """
    config, overrides = None, {}
    words = list(argv)
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            raise RecipeError(USAGE)
        key, has_value, text = word.removeprefix("--").partition("=")
        if not word.startswith("--") or not key:
            raise RecipeError(f"unexpected {word!r}; {USAGE}", file=COMMAND_LINE)
        if not has_value and words and not words[0].startswith("--"):
            has_value, text = "=", words.pop(0)
        if key == "config":
            config = text
        elif key == "extends":
            raise RecipeError("belongs in a recipe, not in a flag", key=key, file=COMMAND_LINE)
        else:
            overrides[key] = _flag_value(key, text) if has_value else True
    if not config:
        raise RecipeError(f"--config is missing; {USAGE}", file=COMMAND_LINE)
    return config, overrides


def resolve(path: str | os.PathLike, overrides: dict[str, Any] | None = None, kind: str | None = None) -> Recipe:
    """Resolves one run of a recipe, with `{recipe}` and `{seed}` filled in. Types are not checked.

    Args:
        path: a file, or a name (`find_recipe`).
        overrides: keys, `STAGE.key` for one stage of an experiment, and `stage`, the wanted stage.
        kind: the kind of run; without a wanted stage it chooses the stage (`RecipeFile.pick`).

    Raises:
        RecipeError: if a file is missing or no YAML map, if `extends` goes in a circle, or if a placeholder, a stage
            or the kind is wrong.
    """
    overrides = dict(overrides or {})
    wanted = overrides.pop("stage", None)
    found, stage = find_recipe(str(path))
    told = {key: value for key, value in overrides.items() if "." in key or key == "seed"}
    file = RecipeFile(found, told)
    if wanted is not None:
        stage = file.stage(str(wanted), "--stage", COMMAND_LINE)
    if file.stages:
        stage = stage or file.pick(kind)
        overrides = {key: value for key, value in overrides.items() if "." not in key}
        if f"{stage}.seed" in told:
            overrides["seed"] = told[f"{stage}.seed"]
        if source := file.source(stage):
            file, stage = file.other(source[0]), source[1]
    values, origin = file.run(stage) if stage else file.alone(kind)
    values = merge(values, overrides)
    origin |= dict.fromkeys(overrides, COMMAND_LINE)
    fill_placeholders(values, file.name, origin)
    values = _at_home(values)
    if RUN in values and (problem := wrong_kind(values[RUN])):
        raise RecipeError(problem, key=RUN, file=origin[RUN])
    if kind is not None and RUN in values:
        if values[RUN] != kind and kind not in ONLY_SAMPLE:  # kinds that only sample take any recipe
            problem = f"{values[RUN]} is not run as {kind}; use scripts/{KINDS[values[RUN]]}"
            raise RecipeError(problem, key=RUN, file=origin[RUN])
        values[RUN] = kind
    return Recipe(str(path) if file.path == Path(path) else short_path(file.path), values, origin)


def _at_home(value: Any) -> Any:
    """The value with the home directory in every text that begins with `~/`, in lists and maps, too."""
    if isinstance(value, dict):
        return {key: _at_home(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_at_home(each) for each in value]
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~/") else value


def kind_of(argv: list[str]) -> str:
    """The kind of run (`run`) of a command line's recipe; r1_grpo if the recipe does not say."""
    return resolve(*parse_command_line(argv)).values.get(RUN, "r1_grpo")


def fill_placeholders(values: dict[str, Any], name: str, origin: dict[str, str]) -> None:
    """Fills in `{recipe}`, the recipe's name, and `{seed}`, in place; a `RecipeError` if that is not possible.

    Args:
        origin: key -> file that set it, for errors.
    """
    for key in PLACES & values.keys():
        fill = functools.partial(_fill, key, name, values.get("seed"), origin[key])
        values[key] = filled(key, values[key], fill)


def _fill(key: str, name: str, seed: Any, source: str, text: str) -> str:
    for placeholder in re.findall(r"\{\w*\}", text):
        if placeholder not in ("{recipe}", "{seed}"):
            raise RecipeError(f"unknown placeholder {placeholder}; use {{recipe}} or {{seed}}", key=key, file=source)
        if placeholder == "{seed}" and seed is None:
            raise RecipeError("{seed} needs the key seed, such as seed: 42", key=key, file=source)
    return text.replace("{recipe}", name).replace("{seed}", str(seed))


def flag_text(key: str, value: Any) -> str:
    """The text after `--key` that `parse_command_line` reads as exactly this value; a `RecipeError` if there is none.

    A text that YAML would read as another type goes in quotes: "no", "1e-5", "null".
    """
    candidates = [value] if isinstance(value, str) else []
    with suppress(TypeError, ValueError):  # a date, a set
        candidates.append(json.dumps(value, ensure_ascii=False))
    if isinstance(value, float) and math.isinf(value):
        candidates.append(".inf" if value > 0 else "-.inf")
    for text in candidates:
        with suppress(RecipeError):  # text such as "[a" is no JSON
            # repr: 1, 1.0 and true are equal to Python
            if repr(parse_command_line(["--config", "x", f"--{key}", text])[1]) == repr({key: value}):
                return text
    raise RecipeError(
        f"{value!r} cannot be set here: only null, true, false, numbers, text, and lists and maps of these, with "
        "keys that are text; put dates and other keys in quotes",
        key=key,
    )


def write_resolved(recipe: Recipe, folder: str | os.PathLike) -> Path:
    """Writes the resolved values to `folder/recipe.yaml`, in one step and without secrets; returns its path.

    The file is a recipe itself: `--config folder/recipe.yaml` is the same run.
    """
    sources = [source for source in dict.fromkeys(recipe.origin.values()) if source != COMMAND_LINE]
    flags = [f"--{key}" for key, source in recipe.origin.items() if source == COMMAND_LINE]
    header = f"# {recipe.path}, resolved by mini_r1/config/recipe.py. Secrets are left out.\n"
    header += f"# files: {', '.join(sources)}\n"
    header += f"# set on the command line: {', '.join(flags)}\n" if flags else ""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target, partial = folder / "recipe.yaml", folder / f".recipe.yaml.{os.getpid()}"
    partial.write_text(header + dump_yaml(_without_secrets(recipe.values)), encoding="utf-8")
    os.replace(partial, target)
    return target


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The differences between two resolved recipes that can change results, as lines `key: old -> new`."""
    old, new = _without_secrets(old), _without_secrets(new)
    keys = [key for key in old | new if key not in COSMETIC and key != RUN]
    changed = [key for key in keys if old.get(key, ...) != new.get(key, ...)]
    return [f"{key}: {_one_line(old, key)} -> {_one_line(new, key)}" for key in changed]


def _flag_value(key: str, text: str) -> Any:
    # "{recipe}-b" is not JSON: the value of a key with placeholders is a text.
    if text[:1] in ("[", "{", '"') and not (key.rpartition(".")[2] in PLACEHOLDER_KEYS and text[0] == "{"):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            problem = f"not JSON at column {error.colno}: {error.msg}; write maps and lists as '{{\"a\": 1}}', '[1, 2]'"
            raise RecipeError(problem, key=key, file=COMMAND_LINE) from None
    loader = Loader("")  # reads one scalar only: no comments, no `a: b` maps
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return loader.construct_object(yaml.ScalarNode(tag, text))
    except (yaml.YAMLError, ValueError):
        return text


def _without_secrets(values: dict) -> dict:
    kept = {key: value for key, value in values.items() if key != "hub_token"}
    if isinstance(kept.get("env"), dict):
        kept["env"] = {name: text for name, text in kept["env"].items() if not _SECRET_NAME.search(name)}
    return kept


def _one_line(values: dict, key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False, default=str) if key in values else "(not set)"
