"""How often a model gives the prompt's example answer as its own, for one or several examples.

.venv-vllm/bin/python benchmarks/example_copying.py --model FOLDER --task gsm8k --data train.parquet --example 72 -17

Each example is shown in the same prompts, for which the same number of completions is sampled. A row of the table is
the example that was shown, a column what was counted in the completions, so that the other rows of a column say how
often that text comes up by itself. With vLLM where it is installed, else with transformers.
"""

import argparse
import importlib.util
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `benchmarks`

from benchmarks._timing import table
from mini_r1 import tasks
from mini_r1.data.hub import load_tokenizer
from mini_r1.data.problems import read_split
from mini_r1.data.prompts import TEMPLATES, render
from mini_r1.evaluation.sampler import Sampling

LAST_LINES = 160  # characters: where a completion without tags says its answer


def prompts_with(example: str, template: str, task, rows: list[dict], tokenizer) -> dict[int, str]:
    """Number of the row -> its prompt with that example."""
    plain = TEMPLATES[template]
    user, system = (text and text.replace("{example}", example) for text in (plain.user, plain.system))
    shown = replace(plain, user=user, system=system)
    return {number: render(shown, task, row, tokenizer).text for number, row in enumerate(rows)}


def gives(example: str, completion: str) -> bool:
    """Whether a completion's last answer block is the example; without a block, whether its end has the example."""
    blocks = re.findall(r"<answer>(.*?)(?:</answer>|\Z)", completion, re.DOTALL)
    if blocks:
        return " ".join(blocks[-1].split()) == " ".join(example.split())
    end = " ".join(completion[-LAST_LINES:].split())
    return re.search(rf"(?<![\w.,-]){re.escape(' '.join(example.split()))}(?![\w])", end) is not None


def make_sampler(model: str, sampling: Sampling, room: int):
    if importlib.util.find_spec("vllm"):
        from mini_r1.evaluation.vllm_sampler import VLLMSampler

        engine = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 3 << 30, "max_num_seqs": 64}
        return VLLMSampler(model, sampling, max_model_length=room + sampling.max_completion_length, **engine)
    from transformers import AutoModelForCausalLM

    from mini_r1.evaluation.transformers_sampler import TransformersSampler

    return TransformersSampler(AutoModelForCausalLM.from_pretrained(model).eval(), load_tokenizer(model), sampling, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="a model folder or hub id")
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", required=True, help="a file with real rows of the task")
    parser.add_argument("--example", nargs="+", help="what the prompt shows; default: the task's own")
    parser.add_argument("--template", default="mini_r1", choices=TEMPLATES)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--samples", type=int, default=2, help="completions for each problem")
    parser.add_argument("--tokens", type=int, default=200, help="of the longest completion")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a .jsonl file for the completions")
    args = parser.parse_args()
    task = tasks.get(args.task)
    rows = [task.parse_row(raw) for raw in read_split(args.data, "train")[: args.problems]]
    examples = args.example or [task.ANSWER_EXAMPLE]
    tokenizer = load_tokenizer(args.model)
    sampling = Sampling(
        args.samples, args.tokens, temperature=1.0, top_p=1.0, top_k=0, min_p=None, repetition_penalty=1.0,
        seed=args.seed,
    )  # fmt: skip
    asked = {example: prompts_with(example, args.template, task, rows, tokenizer) for example in examples}
    longest = max(len(tokenizer(text)["input_ids"]) for prompts in asked.values() for text in prompts.values())
    sampler = make_sampler(args.model, sampling, longest)
    count, of_rows = len(rows) * args.samples, []
    if args.out:
        args.out.write_text("", encoding="utf-8")
    for place, (example, prompts) in enumerate(asked.items(), 1):
        print(f"example {place} of {len(asked)}: {example!r}, {count} completions", file=sys.stderr, flush=True)
        found = {number: texts for part in sampler.sample(prompts) for number, texts in part.items()}
        made = [(number, one.text, one.cut_off) for number, texts in sorted(found.items()) for one in texts]
        golds = [task.gold_answer(row) for row in rows]
        hits = [sum(gives(other, text) and golds[number] != other for number, text, _ in made) for other in examples]
        ends = sum("<answer>" in text for _, text, _ in made), sum(cut_off for _, _, cut_off in made)
        of_rows.append([repr(example), *map(str, [*hits, *ends])])
        if args.out:
            with args.out.open("a", encoding="utf-8") as file:
                for number, text, cut_off in made:
                    shown = {"task": args.task, "example": example, "row": rows[number], "prompt": prompts[number]}
                    file.write(json.dumps(shown | {"completion": text, "cut_off": cut_off}) + "\n")
    notes = (
        f"{args.model}, {args.task}, prompt {args.template}, {len(rows)} problems x {args.samples}, temperature 1, at "
        f"most {args.tokens} tokens, seed {args.seed}: of {count} completions each, how many give that text as the "
        "answer, where it is not the gold."
    )
    columns = ["shown", *(f"gave {example!r}" for example in examples), "have <answer>", "cut off"]
    table("Is the example copied?", notes, columns, of_rows)


if __name__ == "__main__":
    main()
