"""What a recipe would do, without loading weights."""

from pathlib import Path
from types import ModuleType

import yaml

from mini_r1.data import load_rows
from mini_r1.errors import RecipeError
from mini_r1.hub import load_tokenizer
from mini_r1.prompts import PromptTemplate, prompt_ids, render
from mini_r1.recipe import Recipe

BUNDLED_TEMPLATES = {  # part of a model's name -> the chat template that TRL ships for its family
    "qwen2.5": "qwen2_5",
    "qwen3": "qwen3",
    "llama-3.2": "llama3_2",
    "llama-3": "llama3",
    "phi-3.5": "phi3_5",
}


def show_recipe(recipe: Recipe) -> None:
    print(f"--- {recipe.path}, resolved\n{yaml.safe_dump(recipe.values, sort_keys=False, width=110)}")


def show_example(
    row: dict, task: ModuleType, template: PromptTemplate, tokenizer, rewards: list, note: str = ""
) -> None:
    """Print one rendered prompt, and what each reward gives for the gold answer and for an empty completion."""
    prompt = render(template, task, row, tokenizer)
    print(f"--- one prompt{note}\n{prompt}\n")
    gold = gold_completion(task, template, row)
    print(f"--- rewards (gold completion: {gold!r})")
    columns = {name: [value] for name, value in row.items()} | {"prefill": [template.answer_prefill]}
    for reward in rewards:
        values = []
        for text in (gold, ""):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            values += reward(completions=[text], prompts=[prompt], completion_ids=[ids], **columns)
        print(f"{reward.__name__}: gold {values[0]}, empty {values[1]}")


def gold_completion(task: ModuleType, template: PromptTemplate, row: dict) -> str:
    """A right completion of the row's prompt, in the right format."""
    opening = "" if template.answer_prefill else "<think>"
    return f"{opening} the gold answer is known </think>\n<answer>{task.gold_answer(row)}</answer>"


def bundled_tokenizer(model_name: str):
    """A stand-in that renders the chat template TRL ships for the model's family, or None for an unknown family.

    It has no vocabulary: it shows text, and says nothing of token ids.
    """
    import trl
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    name = next((file for part, file in BUNDLED_TEMPLATES.items() if part in model_name.lower()), None)
    if name is None:
        return None
    text = (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"?": 0}, unk_token="?")),
        unk_token="?",
        bos_token="<|begin_of_text|>",  # Llama 3's, the only family here whose template writes one
        chat_template=text,
    )


def dry_run_grpo(recipe: Recipe, args, model_args, plan, task: ModuleType, template: PromptTemplate, rewards) -> None:
    """Print the resolved recipe, the batch arithmetic, one prompt and what its rewards give."""
    show_recipe(recipe)
    print(f"--- batch\n{plan.describe()}")
    try:
        rows = load_rows(args, task)
        print(rows.describe())
        row = rows.train[0]
    except RecipeError as error:
        if error.key != "dataset_id_or_path" or Path(args.dataset_id_or_path).exists():
            raise
        print(f"note: {error.problem}; the example below is a generated problem")
        row = task.parse_row(task.generate(1, 0)[0])
    note = ""
    try:
        tokenizer = load_tokenizer(model_args.model_name_or_path, revision=model_args.model_revision)
        prompt_tokens = len(prompt_ids(render(template, task, row, tokenizer), tokenizer))
        note = f" ({prompt_tokens} tokens, the chat template's own ids)"
    except RecipeError as error:
        tokenizer = bundled_tokenizer(model_args.model_name_or_path or "")
        if tokenizer is None or error.key != "model_name_or_path":
            raise
        print(f"note: {error.problem}")
        note = " (rendered with TRL's chat template for this family; token ids unchecked)"
    show_example(row, task, template, tokenizer, rewards, note)
