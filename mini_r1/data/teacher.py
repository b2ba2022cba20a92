"""Checks the teacher of an on-policy distillation: that there is one, and that it shares the student's tokens.

TRL compares the two sizes of vocabulary, once both models are loaded. Two tokenizers of one size would pass.
"""

from mini_r1.config.run_config import RunConfig
from mini_r1.data.hub import load_tokenizer, no_model
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
        RecipeError: where there is no teacher, where the two distributions cannot be compared token by token, or where
            the student does not stop at the token with which the teacher ends its answers.
    """
    name = config.teacher_model_name_or_path
    if not name:
        raise RecipeError("is missing; name the model to learn from, a hub id or a local folder", key=KEY)
    try:
        teacher = load_tokenizer(name, revision=config.teacher_model_revision)
    except RecipeError as error:
        raise RecipeError(error.problem, key=KEY) from error
    ours, theirs = tokenizer.get_vocab(), teacher.get_vocab()
    if ours != theirs:
        token = next(token for token in [*theirs, *ours] if ours.get(token) != theirs.get(token))
        raise RecipeError(
            f"{name} has another tokenizer than the student ({len(theirs)} tokens and {len(ours)}; {token!r} is "
            f"{_place(theirs, token)} and {_place(ours, token)}), so tokens cannot be compared; {INSTEAD}",
            key=KEY,
        )

    from transformers import AutoConfig, GenerationConfig  # takes a second

    models = ((name, config.teacher_model_revision), (config.model_name_or_path, config.model_revision))
    try:
        rows, own_rows = (
            AutoConfig.from_pretrained(model, revision=revision).get_text_config().vocab_size
            for model, revision in models
        )
    except (OSError, ValueError) as error:
        raise RecipeError(no_model(name, error), key=KEY) from error
    if rows != own_rows:
        raise RecipeError(
            f"{name} shares the student's tokenizer, but its vocabulary is padded to {rows} rows, the student's to "
            f"{own_rows} (Qwen2.5 up to 3B has 151936, from 7B on 152064); {INSTEAD}",
            key=KEY,
        )
    try:
        ends = GenerationConfig.from_pretrained(
            config.model_name_or_path, revision=config.model_revision or "main"
        ).eos_token_id
    except OSError:  # a model need not have one
        ends = None
    # TRL ends a completion at the tokenizer's token and at those of the generation's configuration
    if teacher.eos_token_id not in (tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])):
        raise RecipeError(
            f"{name} ends its answers with {teacher.eos_token!r}, where the student goes on; use a student that ends "
            "with it (an instruction-tuned one, say), or add it to eos_token_id in its generation_config.json",
            key=KEY,
        )


def _place(vocabulary: dict[str, int], token: str) -> str:
    return f"number {vocabulary[token]}" if token in vocabulary else "not in it"
