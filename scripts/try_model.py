"""Asks a trained model a question and shows its answer as it comes, with its rewards.

python scripts/try_model.py --config recipes/NAME.yaml [--row '{"nums": [3, 5, 7], "target": 36}'] [--any_key value]

--row JSON      ask this problem, in the task's own columns. Left out: a held-out one
--any_key value, such as --temperature 0.5, changes the recipe for this once
"""

import random
import sys
from pathlib import Path

from mini_r1.config.recipe import parse_command_line, resolve
from mini_r1.config.run_config import check
from mini_r1.data import hub, prompts
from mini_r1.data.mixture import check_parts, load_part_rewards, read_parts
from mini_r1.data.problems import load_rows
from mini_r1.errors import RecipeError, exit_on_recipe_error


def main() -> None:
    path, flags = parse_command_line(sys.argv[1:])
    raw = flags.pop("row", None)
    if raw is not None and not isinstance(raw, dict):
        raise RecipeError(
            f'got {raw!r}, expected a row as JSON, such as \'{{"nums": [1, 2], "target": 3}}\'', key="--row"
        )
    config = check("r1_grpo", resolve(path, flags))
    with config.blame():
        parts = read_parts(config.args)
        hub.offline_if_unreachable(config, [part.args for part in parts])
        rewards = load_part_rewards(parts)
        check_parts(parts, rewards)
        folder = Path(config.output_dir)
        if not (folder / "summary.json").exists():
            raise RecipeError(
                f"{folder} holds no finished run; first run: make train-{config.recipe.name}", key="output_dir"
            )
        ask(folder, config, parts, rewards, raw)


def ask(folder: Path, config, parts, rewards, raw: dict | None) -> None:
    from transformers import AutoModelForCausalLM, TextStreamer  # imports torch; a wrong recipe is refused before

    tokenizer = hub.load_tokenizer(str(folder))
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    part = random.choice(parts)
    if raw is None:
        with part.blame():
            row = random.choice(load_rows(part.args, part.task).test)
    else:
        part = next((part for part in parts if part.name == raw.get("task")), parts[0])
        try:
            row = part.task.parse_row(raw)
        except ValueError as error:
            raise RecipeError(str(error), key="row", file="command line") from error
    prompt = prompts.render(part.template, part.task, row, tokenizer)
    print(prompt.text, end="", flush=True)
    inputs = tokenizer(prompt.text, return_tensors="pt")
    output = model.generate(
        **inputs,
        max_new_tokens=config.max_completion_length,
        do_sample=True,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        streamer=TextStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True),
    )
    ids = output[0, inputs["input_ids"].shape[1] :].tolist()
    completion = tokenizer.decode(ids, skip_special_tokens=True)
    row = {"prefill": prompt.prefill, **row, **part.columns}
    columns = {name: [value] for name, value in row.items()}
    columns["completion_ids"] = [ids]
    for reward in rewards:
        print(f"{reward.__name__}: {reward(completions=[completion], prompts=[prompt.text], **columns)[0]}")


if __name__ == "__main__":
    exit_on_recipe_error(main, lambda: __doc__)
