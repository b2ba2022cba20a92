"""A value of Python as the text of a command line's flag."""

import json
import math
from contextlib import suppress
from typing import Any

from mini_r1.config.recipe import parse_command_line
from mini_r1.errors import RecipeError


def flag_text(key: str, value: Any) -> str:
    """The text after `--key` that a script reads as exactly this value; `RecipeError` where there is none.

    Text goes as it stands where it is read as text, such as a path, and else in quotes: "no", "1e-5", "null".
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
