"""Access to the hub: its local cache where it cannot be reached, and tokenizers that keep our tags."""

import itertools
import json
import os
import re
import socket
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mini_r1.config.arguments import RecipeArguments
from mini_r1.config.run_config import RunConfig
from mini_r1.errors import RecipeError
from mini_r1.rewards.text import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN

KEY = "model_name_or_path"
# Blanks, line ends, and characters beyond ASCII, as answers have them
PROBE = "Two  blanks,\ta tab , and 12 + 3 = 15 .\n\n  A line:\r\n1/2 \u00bd \u6570 \u00e9 e\u0301 \U0001f642 it 's <b>"


class LostTextError(RecipeError):
    """A tokenizer with which no completion could ever be rewarded, since what rewards read is not what was written."""


def offline_if_unreachable(config: RunConfig, parts: Sequence[RecipeArguments]) -> None:
    """Sets HF_HUB_OFFLINE if a run names something on the hub and the hub does not answer.

    Call it before transformers or datasets are imported, since they read the variable once. Without it they ask five
    times for every file, for about a minute.

    Args:
        parts: the arguments of the run's tasks.
    """
    names = [config.model_name_or_path, config.teacher_model_name_or_path]
    names += [each.dataset_id_or_path for each in parts] + reward_models(parts)
    wanted = [name for name in names if name is not None and not looks_local(name)]
    behind_proxy = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    if not wanted or behind_proxy or "HF_HUB_OFFLINE" in os.environ:
        return
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    try:
        socket.create_connection((endpoint.hostname, port), timeout=3).close()
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"
        print(f"note: {endpoint.hostname} cannot be reached from here; only what is in the local cache can be used")


def reward_models(parts: Sequence[RecipeArguments]) -> list[str]:
    """The hub ids and folders of the reward models in the `reward_funcs` of a run's tasks."""
    entries = [entry for each in parts for entry in each.reward_funcs if isinstance(entry, dict)]
    return [entry["reward_model"] for entry in entries if isinstance(entry.get("reward_model"), str)]


def looks_local(name: str) -> bool:
    """Whether the name of a model or dataset is a path, not a hub id (owner/name)."""
    path = name.startswith((".", "/", "~", "runs/")) or name.count("/") != 1
    return path or Path(name).expanduser().exists()


LFS = b"version https://git-lfs"
_SHARD = re.compile(r"(.*-)(\d{5})-of-(\d{5})(\..*)")


def is_lfs_pointer(file: Path) -> bool:
    """Whether a file is what git leaves in the place of a large file that Git LFS has not fetched."""
    with file.open("rb") as opened:
        return opened.read(len(LFS)) == LFS


def missing_shards(names: Sequence[str]) -> list[str]:
    """Names of the files that lack, where files are numbered like `train-00000-of-00003.parquet`."""
    found = [match for name in names if (match := _SHARD.fullmatch(name))]
    there = {(one[1], int(one[2]), one[3]) for one in found}
    return sorted(
        f"{one[1]}{number:05d}-of-{one[3]}{one[4]}"
        for one in found
        for number in range(int(one[3]))
        if (one[1], number, one[3]) not in there
    )


def check_model_folder(folder: Path) -> None:
    """Refuses a local model folder with files that are Git LFS pointers, or without some of its shards.

    Raises:
        RecipeError: with the first of them, and the remedy.
    """
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".safetensors", ".bin", ".json", ".model")]
    if pointer := next((file for file in files if is_lfs_pointer(file)), None):
        raise RecipeError(f"{pointer} is a Git LFS pointer; run git lfs pull in {folder}", key=KEY)
    names = {file.name for file in files}
    for index in (file for file in files if file.name.endswith(".index.json")):
        named = set(_read_json(index, "weight_map").values())
        if lacking := sorted(named - names):
            raise RecipeError(f"{folder} lacks {lacking[0]}, which {index.name} names; download it again", key=KEY)


def adapter_base(name: str | None) -> str | None:
    """The base model of a local folder that holds an adapter (LoRA) alone; None for any other model."""
    file = Path(name or "") / "adapter_config.json"
    if not name or not file.is_file() or (Path(name) / "config.json").is_file():
        return None
    return _read_json(file, "base_model_name_or_path")


def _read_json(file: Path, key: str) -> Any:
    """The value of a key in a JSON file of a model folder."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))[key]
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError(f"{file} is damaged, it has no {key}; copy or download the folder again", key=KEY) from error


def whole_folder(name: str) -> str:
    """The model to load: `name` itself, or for an adapter the folder in which `whole_model` puts the two merged."""
    return str(Path(name) / "merged") if adapter_base(name) else name


def load_tokenizer(name: str | None, **kwargs):
    """Loads the tokenizer of a hub id or local folder, with padding on the left, as generation needs it.

    Raises:
        RecipeError: where there is none.
        LostTextError: where the tags that rewards read, or blanks, line ends or letters, do not survive it.
    """
    from transformers import AutoTokenizer  # takes a second

    if not name:
        raise RecipeError("is missing; name a hub id or a local folder", key=KEY)
    if looks_local(name) and not Path(name).is_dir():
        raise RecipeError(f"there is no folder {name}{_first(name)}", key=KEY)
    if Path(name).is_dir():
        check_model_folder(Path(name))
    if (base := adapter_base(name)) and not (Path(name) / "tokenizer_config.json").is_file():
        if looks_local(base) and not Path(base).is_dir():
            raise RecipeError(f"{name} is an adapter of {base}, and there is no folder {base}", key=KEY)
        return load_tokenizer(base, **kwargs)  # peft saves none beside an adapter
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left", truncation_side="left", **kwargs)
    except (OSError, ValueError) as error:
        if Path(name).is_dir():
            raise RecipeError(no_model(name, error), key=KEY) from error
        raise RecipeError(f"{name} is not in the local cache, nor reachable on the hub", key=KEY) from error
    if lost := lost_tags(tokenizer):
        raise LostTextError(
            f"{name}: completions are decoded without special tokens, and then {' '.join(lost)} vanish with its "
            "tokenizer, so that every reward would be 0; choose a model whose tokenizer has them as plain text, or "
            'write "special": false beside them in its tokenizer files',
            key=KEY,
        )
    if not survives(PROBE, tokenizer):
        raise LostTextError(f"{name}: its tokenizer changes text: {_remedy(name, tokenizer, kwargs)}", key=KEY)
    return tokenizer


def no_model(folder: str, error: Exception) -> str:
    """What is wrong with a folder that transformers cannot read."""
    first_line = str(error).strip().split("\n")[0].rstrip(".")
    return f"{folder} is not a model folder: {first_line}; it needs a config.json of a causal language model"


def decoded(text: str, tokenizer) -> str:
    """The text as rewards would see it, were it a completion."""
    return tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"], skip_special_tokens=True)


def survives(text: str, tokenizer) -> bool:
    """Whether encoding and decoding give the text back, up to Unicode's NFC (many tokenizers compose accents)."""
    return unicodedata.normalize("NFC", decoded(text, tokenizer)) == unicodedata.normalize("NFC", text)


def check_text_survives(prompt: str, gold: str | None, tokenizer) -> None:
    """Refuses a tokenizer that changes this prompt, or the gold answer as a completion.

    Raises:
        RecipeError: with the first place that differs.
    """
    ids = tokenizer(text=prompt, add_special_tokens=False)["input_ids"]
    answer = gold or ""
    for what, written, read in (
        ("the prompt", prompt, tokenizer.decode(ids)),
        ("the gold answer", answer, decoded(answer, tokenizer)),
    ):
        written, read = (unicodedata.normalize("NFC", text) for text in (written, read))
        if written != read:
            pairs = zip(written, read, strict=False)
            same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
            start = max(0, same - 10)
            raise RecipeError(
                f"its tokenizer changes {what}: {written[start : start + 30]!r} becomes {read[start : start + 30]!r}; "
                "choose a model whose tokenizer keeps text",
                key=KEY,
            )


def _remedy(name: str, tokenizer, kwargs: dict) -> str:
    """What a tokenizer that changes text makes of the probe, and what would be right."""
    from transformers import PreTrainedTokenizerFast  # takes a second

    seen = (
        f"{PROBE[:30]!r} comes back as {decoded(PROBE[:30], tokenizer)!r}, so that rewards would misread every answer"
    )
    class_name = type(tokenizer).__name__
    if survives(PROBE, PreTrainedTokenizerFast.from_pretrained(name, **kwargs)):
        return (
            f"{seen}; transformers loads it as {class_name}, and its tokenizer.json is right: in a local copy of the "
            'model, write "tokenizer_class": "PreTrainedTokenizerFast" into tokenizer_config.json'
        )
    return f"{seen}; transformers loads it as {class_name}; choose a model whose tokenizer keeps text"


def lost_tags(tokenizer) -> list[str]:
    """The think and answer tags that decoded completions lack, at least now and then.

    They lack a tag that is a special token, or part of one (`<think>\\n`).
    """
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    special = [*tokenizer.all_special_tokens, *(token.content for token in added if token.special)]

    def survives(tag: str) -> bool:
        ids = tokenizer(tag, add_special_tokens=False)["input_ids"]
        whole = tag in tokenizer.decode(ids, skip_special_tokens=True)
        return whole and not any(tag in token for token in special)

    return [tag for tag in (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE) if not survives(tag)]


def _first(folder: str) -> str:
    """Says what to run first if the missing folder is the run directory of a recipe."""
    stem = Path(folder).name.rpartition("-s")[0]
    if not folder.startswith("runs/") or not stem:
        return ""
    parent = next((stem.removesuffix(tail) for tail in ("-sft", "-base") if stem.endswith(tail)), stem)
    return f"; first run: make train-{parent}"
