"""Checks the teacher of an on-policy distillation: that there is one, and that it shares the student's tokens.

TRL compares the two sizes of vocabulary, once both models are loaded. Two tokenizers of one size would pass.
"""

from mini_r1.config.run_config import RunConfig
from mini_r1.data.hub import load_tokenizer
from mini_r1.errors import RecipeError

KEY = "teacher_model_name_or_path"
INSTEAD = (
    "take a teacher of the student's own family, or sample from this one (scripts/generate.py) and train the student "
    "on its answers with scripts/run_sft.py"
)


def check_teacher(config: RunConfig, tokenizer) -> None:
    """Compares the student's tokenizer with the teacher's. Reads tokenizers and configurations only, no weights.

    Args:
        tokenizer: the student's.

    Raises:
        RecipeError: where there is no teacher; where the distributions of the two cannot be compared token by token; or
            where the student's completions would go on behind the token with which the teacher ends its own.
    """
    name, revision = config.teacher_model_name_or_path, config.teacher_model_revision
    if not name:
        raise RecipeError("is missing; name the model to learn from, a hub id or a local folder", key=KEY)
    try:
        theirs = load_tokenizer(name, revision=revision)
    except RecipeError as error:
        raise RecipeError(error.problem, key=KEY) from error
    ours, other = tokenizer.get_vocab(), theirs.get_vocab()
    if ours != other:
        differing = next((token for token in [*other, *ours] if ours.get(token) != other.get(token)), None)
        raise RecipeError(
            f"{name} has another tokenizer than the student ({len(other)} tokens and {len(ours)}; {differing!r} is "
            f"{_number(other, differing)} and {_number(ours, differing)}), so no token has the same meaning; {INSTEAD}",
            key=KEY,
        )
    sizes = [_rows(name, revision), _rows(config.model_name_or_path, config.model_revision)]
    if sizes[0] != sizes[1]:
        raise RecipeError(
            f"{name} shares the student's tokenizer, and its vocabulary is padded to {sizes[0]} rows, the student's to "
            f"{sizes[1]} (Qwen2.5 up to 3B has 151936, from 7B on 152064); {INSTEAD}",
            key=KEY,
        )
    ends = _ends(config.model_name_or_path, config.model_revision, tokenizer)
    if theirs.eos_token_id not in ends:
        raise RecipeError(
            f"{name} ends its answers with {theirs.eos_token!r}, where the student goes on; use a student that ends "
            "with it (an instruction-tuned one, say), or add it to eos_token_id in its generation_config.json",
            key=KEY,
        )


def _number(vocabulary: dict[str, int], token: str | None) -> str:
    return f"number {vocabulary[token]}" if token in vocabulary else "none"


def _rows(name: str, revision: str | None) -> int:
    """Rows of a model's embedding, as its configuration says."""
    from transformers import AutoConfig  # takes a second

    return AutoConfig.from_pretrained(name, revision=revision).get_text_config().vocab_size


def _ends(name: str, revision: str | None, tokenizer) -> set[int | None]:
    """The tokens that end a completion: TRL takes the tokenizer's and those of the generation's configuration."""
    from transformers import GenerationConfig  # takes a second

    try:
        found = GenerationConfig.from_pretrained(name, revision=revision or "main").eos_token_id
    except OSError:  # a model need not have one
        found = None
    return {tokenizer.eos_token_id, *(found if isinstance(found, list) else [found])}
