"""TRL's settings and transformers' tokenizers in 2 seconds instead of 8: without torch.

Both are made to work where torch is not installed, with tokenizers, settings and files only, and a check needs no more.
For programs that look at a recipe, and train, if at all, in processes of their own.
"""

import importlib
import os
import sys

from mini_r1.config.recipe import parse_command_line, resolve
from mini_r1.data import hub

HEAVY = ("torch", "accelerate", "peft")  # the last two import the first
_QUIET = "TRANSFORMERS_NO_ADVISORY_WARNINGS"


def leave_torch_out(words: list[str], kind: str | None = None) -> None:
    """Import TRL and transformers as if torch were not installed, unless something has imported them already.

    Not where the recipe has rewards of the user's own (dotted names), as it is not known what they import, nor where
    LoRA's layers are peft's choice.

    Args:
        words: `--config FILE --key value ...`.
        kind: what the recipe is run as.

    Raises:
        RecipeError: as `resolve`.
    """
    values = resolve(*parse_command_line(words), kind).values
    hub.offline_if_unreachable(values)  # transformers reads once whether it may ask the hub
    parts = values.get("tasks") if isinstance(values.get("tasks"), list) else []
    lists = [given.get("reward_funcs") for given in (values, *parts) if isinstance(given, dict)]
    entries = [entry for given in lists if isinstance(given, list) for entry in given]
    own = any("." in str(entry.get("name") if isinstance(entry, dict) else entry) for entry in entries)
    asks_peft = values.get("use_peft") and not values.get("lora_target_modules")
    if own or asks_peft or any(name in sys.modules for name in ("torch", "transformers", "trl")):
        return
    hidden = dict.fromkeys(HEAVY)
    quiet = os.environ.get(_QUIET)
    os.environ[_QUIET] = "1"  # it would say that there is no torch
    sys.modules.update(hidden)  # None: `import torch` fails, and find_spec finds nothing
    try:
        trl = importlib.import_module("trl")
        for name in ("GRPOConfig", "SFTConfig", "ModelConfig", "TrlParser"):
            getattr(trl, name)
        importlib.import_module("transformers.models.auto.tokenization_auto")
    finally:
        for name in hidden:
            del sys.modules[name]
        del os.environ[_QUIET]
        if quiet is not None:
            os.environ[_QUIET] = quiet
