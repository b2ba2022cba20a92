"""Supervised training on several tasks: whose traces and conversations are learned, in which shares, in which order."""

import json

import pytest
from mixed import SETTINGS

from configs import config_of
from mini_r1.config.arguments import SFTArguments
from mini_r1.data.conversations import conversation_dataset
from mini_r1.data.mixture import read_parts
from mini_r1.data.problems import load_parts
from mini_r1.data.prompts import messages, prompt_ids, render
from mini_r1.data.traces import IGNORED, trace_dataset
from mini_r1.errors import RecipeError

PHASES = [{"share": 0.5}, {"share": 0.5, "give_up": 1.0}]
ENTRIES = [
    {"task": "countdown", "weight": 3, "task_args": SETTINGS["countdown"], "trace_phases": PHASES},
    {"task": "gsm8k", "task_args": SETTINGS["gsm8k"], "prompt_template": "r1_zero"},
]


def parts_of(entries=ENTRIES) -> list:
    return read_parts(config_of({"tasks": entries, "test_fraction": 0.2, "max_prompt_tokens": 512}, "sft").args)


def rows_of(parts) -> list[list[dict]]:
    return [rows.train for rows in load_parts(parts)]


def whose(dataset, parts, rows, tokenizer) -> list[str]:
    """The task of each example, by its prompt."""
    prompts = {
        tuple(prompt_ids(render(part.template, part.task, row, tokenizer).text, tokenizer)): part.name
        for part, own in zip(parts, rows, strict=True)
        for row in own
    }
    starts = [next(i for i, label in enumerate(labels) if label != IGNORED) for labels in dataset["labels"]]
    # gsm8k's trace opens no tag of its own under r1_zero: both prompts end where the labels begin
    return [prompts[tuple(ids[:start])] for ids, start in zip(dataset["input_ids"], starts, strict=True)]


def test_each_task_writes_its_share_under_its_own_template(mixed_tokenizer):
    parts = parts_of()
    rows = rows_of(parts)
    made = trace_dataset(parts, rows, 400, mixed_tokenizer, seed=1, batch_size=4)
    tasks = whose(made, parts, rows, mixed_tokenizer)
    assert tasks.count("countdown") == 300 and tasks.count("gsm8k") == 100
    for start in range(0, 400, 64):  # windows of 16 batches, in each of which the tasks take turns
        window = tasks[start : start + 64]
        assert abs(window.count("gsm8k") - len(window) / 4) <= 1
    assert made["input_ids"][:] == trace_dataset(parts, rows, 400, mixed_tokenizer, 1, 4)["input_ids"][:]
    assert made["input_ids"][:] != trace_dataset(parts, rows, 400, mixed_tokenizer, 2, 4)["input_ids"][:]


def test_phases_keep_their_places(mixed_tokenizer):
    """What a task's second phase teaches comes in the second half of all traces."""
    parts = parts_of()
    rows = rows_of(parts)
    made = trace_dataset(parts, rows, 512, mixed_tokenizer, seed=1, batch_size=4)
    gave_up = ["I give up" in mixed_tokenizer.decode(ids) for ids in made["input_ids"]]
    assert not any(gave_up[:256]) and sum(gave_up[256:]) > 100


@pytest.mark.parametrize(
    ("change", "total", "said"),
    [
        ({"trace_phases": [{"share": 0.5}]}, 100, "gsm8k: trace_phases: every phase needs a `share`, and the shares"),
        ({"trace_phases": [{"share": 1, "limit": 9}]}, 100, "gsm8k: trace_phases: "),
        ({"weight": 0.001}, 100, "gsm8k: a weight of 0.001 is not one of the run's 100 traces; raise it"),
    ],
)
def test_what_is_wrong_names_the_task(mixed_tokenizer, change, total, said):
    parts = parts_of([ENTRIES[0], {**ENTRIES[1], **change}])
    with pytest.raises(RecipeError) as error:
        trace_dataset(parts, rows_of(parts), total, mixed_tokenizer, 1, 4)
    assert error.value.key == "tasks" and error.value.problem.startswith(said)


def test_phases_are_a_matter_of_one_task():
    with pytest.raises(RecipeError, match=r"^trace_phases: is about one task; put it into an"):
        read_parts(config_of({"tasks": ENTRIES, "trace_phases": PHASES}, "sft").args)


def test_conversations_of_every_task_are_put_as_its_part_asks(tmp_path, mixed_tokenizer):
    """Sampled under another template, learned under the part's own; what a part holds out is not learned."""
    sampled = read_parts(config_of({"tasks": [{**one, "prompt_template": "mini_r1"} for one in ENTRIES]}, "sft").args)
    parts = parts_of()
    loaded = load_parts(parts)
    path, held_out = tmp_path / "kept.jsonl", [rows.test for rows in loaded]
    assert all(held_out)
    with path.open("w") as file:
        for part, rows in zip(sampled, loaded, strict=True):
            for row in rows.train[:10] + rows.test:
                answer = part.template.prefill + "so</think>\n<answer>1</answer>"
                turns = [*messages(part.template, part.task, row), {"role": "assistant", "content": answer}]
                file.write(json.dumps({"messages": turns, "task": part.name, "row": json.dumps(row)}) + "\n")
    args = SFTArguments(sft_datasets=[{"path": str(path)}])
    dataset, left_out, _ = conversation_dataset(args, parts, mixed_tokenizer, 1, 4, None, held_out)
    assert left_out == sum(map(len, held_out))
    tasks = whose(dataset, parts, [rows.train for rows in loaded], mixed_tokenizer)
    assert tasks.count("countdown") == tasks.count("gsm8k") == 10
