"""One typed run: the values of a recipe and a command line, with the schema's defaults for all other keys."""

import dataclasses
import json
import os
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mini_r1.config.arguments import ARGUMENTS
from mini_r1.config.keys import check_values, type_text
from mini_r1.config.kinds import KINDS, dataclass_types
from mini_r1.config.recipe import Recipe, parse_command_line, resolve
from mini_r1.config.schema import keys_of_kind
from mini_r1.errors import RecipeError


@dataclass(frozen=True)
class RunConfig:
    """One run. Each key of its kind is an attribute: `config.num_generations`, `config.task`.

    Attributes:
        kind: a key of `kinds.KINDS`.
        recipe: the path, the given values, and the origin of each.
        args: the keys of this repository, as the dataclass of arguments.py for this kind.
        training, model: TRL's `GRPOConfig` (or its like) and `ModelConfig`, after `build`.
        parts: the run's tasks (`mixture.Part`), after `load_run`.
        rewards: the reward functions for TRL, if the kind trains on rewards.
    """

    kind: str
    recipe: Recipe
    args: Any
    training: Any = None
    model: Any = None
    parts: Sequence[Any] = ()
    rewards: Sequence[Callable[..., list]] = ()

    def __getattr__(self, key: str) -> Any:
        """The given value of a key, or the schema's default; None for a key that only other kinds have."""
        keys = keys_of_kind(self.kind)
        if key in keys:
            return self.recipe.values.get(key, keys[key]["default"])
        if not any(key in keys_of_kind(kind) for kind in KINDS):
            raise AttributeError(f"a recipe has no key {key}")
        return None

    def given(self, key: str) -> Any:
        """The value that the recipe or a flag gives, or None; for keys whose default in TRL is not the right one."""
        return self.recipe.values.get(key)

    @contextmanager
    def blame(self) -> Iterator[None]:
        """Inside, a `RecipeError` that names a key but no file gets the file that set the key."""
        try:
            yield
        except RecipeError as error:
            error.file = error.file or self.recipe.origin.get(str(error.key), self.recipe.path)
            raise

    def with_values(self, **changes: Any) -> "RunConfig":
        """The same run with some other values, unchecked."""
        return run_config(self.kind, dataclasses.replace(self.recipe, values=self.recipe.values | changes))


def read_run(kind: str, argv: list[str]) -> RunConfig:
    """Resolves and checks what `argv` (without the program's name) asks for. Imports neither TRL nor torch.

    Raises:
        RecipeError: if a flag, a file, a key or the type of a value is wrong.
    """
    return check(kind, resolve(*parse_command_line(argv), kind))


def help_text(kind: str) -> str:
    """A text with all keys of a kind of run, ours first, with type, default and help."""
    keys = keys_of_kind(kind)
    own = [field.name for field in dataclasses.fields(ARGUMENTS[kind])]
    lines = [f"usage: {KINDS[kind]} --config RECIPE [--key value ...]"]
    for title, names in (("keys of this repository", own), ("keys of TRL", [key for key in keys if key not in own])):
        lines += ["", f"{title}:"] if names else []
        for key in names:
            node = keys[key]
            default = json.dumps(node["default"], ensure_ascii=False)
            lines += textwrap.wrap(
                f"--{key}: {type_text(node)} (default: {default})", 100, initial_indent="  ", subsequent_indent="      "
            )
            said = node.get("description", "")
            lines += textwrap.wrap(said, 100, initial_indent="      ", subsequent_indent="      ")
    return "\n".join(lines)


def check(kind: str, recipe: Recipe) -> RunConfig:
    """Makes a run of a recipe; a `RecipeError` for the first key that is unknown or has a value of another type."""
    values = check_values(recipe.values, recipe.origin, keys_of_kind(kind))
    return run_config(kind, dataclasses.replace(recipe, values=values))


def run_config(kind: str, recipe: Recipe) -> RunConfig:
    """Makes a run of a recipe whose values are already checked."""
    own = ARGUMENTS[kind]
    names = {field.name for field in dataclasses.fields(own)}
    return RunConfig(kind, recipe, own(**{key: value for key, value in recipe.values.items() if key in names}))


def build(config: RunConfig, **instead: Any) -> RunConfig:
    """Builds TRL's own settings, and exports `env`. Imports TRL, and with it torch.

    Args:
        instead: values for TRL on this machine, instead of the recipe's.

    Raises:
        RecipeError: if TRL refuses a combination of values.
    """
    here = config.with_values(**instead)
    os.environ.update(config.env)
    if here.use_cpu:
        # accelerate calls them cpu:0 and cpu:1, which `torch.load` does not know when a run resumes
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
    training, model = (construct(each, here.recipe.values, config) for each in dataclass_types(config.kind)[1:])
    return dataclasses.replace(config, training=training, model=model)


def construct(dataclass_type: type, values: dict[str, Any], config: RunConfig) -> Any:
    """Makes one of TRL's dataclasses from the values of its fields; a `RecipeError` if it refuses them."""
    names = {field.name for field in dataclasses.fields(dataclass_type) if field.init}
    try:
        return dataclass_type(**{key: value for key, value in values.items() if key in names})
    except ValueError as error:
        raise RecipeError(" ".join(str(error).split()), file=config.recipe.path) from error
