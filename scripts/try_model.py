"""Ask a trained model a question and watch it think.

python scripts/try_model.py --config recipes/NAME.yaml [--row '{"nums": [3, 5, 7], "target": 36}'] [--key value]
"""

import random
import sys
from pathlib import Path

import tasks
from mini_r1 import hub, prompts
from mini_r1.data import load_rows
from mini_r1.errors import RecipeError, exit_on_recipe_error
from mini_r1.recipe import build, check, parse_command_line, resolve
from mini_r1.reward_loader import check_available, load_rewards
from mini_r1.stages import dataclass_types


def main() -> None:
    path, flags = parse_command_line(sys.argv[1:])
    raw = flags.pop("row", None)
    recipe = resolve(path, flags)
    hub.offline_if_unreachable(recipe.values)
    types = dataclass_types("r1_grpo")
    recipe = check(recipe, types)
    with recipe.blame():
        args, config, _ = build(recipe, types)
        task, template = tasks.get(args.task), prompts.get_template(args.prompt_template)
        rewards = load_rewards(args.reward_funcs, args.reward_values, args.require_format, task, template)
        check_available(rewards, task)
        folder = Path(config.output_dir)
        if not (folder / "summary.json").exists():
            raise RecipeError(f"{folder} holds no finished run; first run: make train-{recipe.name}", key="output_dir")
        ask(folder, args, config, task, template, rewards, raw)


def ask(folder: Path, args, config, task, template, rewards, raw: dict | None) -> None:
    from transformers import AutoModelForCausalLM, TextStreamer

    tokenizer = hub.load_tokenizer(str(folder))
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    if raw is None:
        row = random.choice(load_rows(args, task).test)
    else:
        try:
            row = task.parse_row(raw)
        except ValueError as error:
            raise RecipeError(str(error), key="row", file="command line") from error
    prompt = prompts.render(template, task, row, tokenizer)
    print(prompt, end="", flush=True)
    inputs = tokenizer(prompt, return_tensors="pt")
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
    columns = {name: [value] for name, value in row.items()} | {"prefill": [template.answer_prefill]}
    columns["completion_ids"] = [ids]
    for reward in rewards:
        print(f"{reward.__name__}: {reward(completions=[completion], prompts=[prompt], **columns)[0]}")


if __name__ == "__main__":
    exit_on_recipe_error(main)
