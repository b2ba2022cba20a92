"""Reads and writes the YAML of recipes."""

import re
from pathlib import Path

import yaml

from mini_r1.config.keys import did_you_mean
from mini_r1.errors import RecipeError


class Loader(yaml.SafeLoader):
    """Reads YAML; a key that is given twice is an error, and 1e-6 is a number, as in YAML 1.2."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value} appears twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return node


class Dumper(yaml.SafeDumper):
    """Writes YAML that `Loader` reads as the same values: texts such as "1e-6" get quotes. It writes no aliases."""

    def ignore_aliases(self, data):
        return True


for _class in (Loader, Dumper):
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )


def short_path(path: Path) -> str:
    """Returns the path as text for messages, relative to the working directory if it lies below that."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def load_yaml(path: Path) -> dict:
    """Reads a YAML map from a file; a `RecipeError` with line and column if the file has none."""
    try:
        with open(path, encoding="utf-8") as file:
            values = yaml.load(file, Loader=Loader)
    except FileNotFoundError:
        options = (file.name for file in path.parent.glob("*.yaml"))
        raise RecipeError(f"no such recipe{did_you_mean(path.name, options)}", file=short_path(path)) from None
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}", file=short_path(path)) from error
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, error.problem or error.context
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise RecipeError(f"{where}{problem}", file=short_path(path)) from error
    except (yaml.YAMLError, ValueError) as error:  # bytes that are no text, or a date such as 2025-02-31
        raise RecipeError("not YAML: " + " ".join(str(error).split()), file=short_path(path)) from error
    if not isinstance(values, dict):
        raise RecipeError("expected a map of keys to values at the top level", file=short_path(path))
    for key in values:
        if not isinstance(key, str):
            raise RecipeError(f"the key {key!r} is not text; put it in quotes", file=short_path(path))
    return values


def dump_yaml(values: dict) -> str:
    return yaml.dump(values, Dumper=Dumper, sort_keys=False, allow_unicode=True)
