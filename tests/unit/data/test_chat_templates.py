"""Prompts and conversations under every chat template that TRL ships: what is asked, prefilled and learned."""

import datetime
import json
import random
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from byte_tokenizer import byte_tokenizer

from mini_r1 import tasks
from mini_r1.config.arguments import SFTArguments
from mini_r1.data import prompts
from mini_r1.data.conversations import conversation_dataset, to_texts
from mini_r1.data.mixture import Part
from mini_r1.data.prompts import get_template, prompt_ids, render, render_turns
from mini_r1.data.traces import IGNORED, write_traces
from mini_r1.errors import RecipeError
from mini_r1.launch.check_data import gold_completion
from mini_r1.rewards import equation_reward, format_reward

FOLDER = Path(find_spec("trl").origin).parent / "chat_templates"
SHIPPED = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.jinja"))}
PICTURES = {"llava_next", "idefics3", "smolvlm"}  # take lists of images and texts as contents, no plain text
TEXT = [name for name in SHIPPED if name.removesuffix("_training") not in PICTURES]
# the families whose generation prompt opens <think>
OPENING = {
    "deepseek_r1_distill", "deepseekv3", "nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super",
    "nemotron_3_ultra", "qwen3_5_think", "qwen3_6", "qwen3_8",
}  # fmt: skip
COUNTDOWN, MINI_R1 = tasks.get("countdown"), get_template({"base": "mini_r1", "system": None})
ROW = {"nums": [44, 19, 35], "target": 98, "difficulty": 3}
ASKED = [{"role": "user", "content": "What is 1 + 2?"}]
REASONED = {"role": "assistant", "content": "<think>One and two.</think>\n<answer>3</answer>"}
PLAIN = {"role": "assistant", "content": "It is 3."}


def tokenizer_of(name: str, adds_bos: bool = False):
    return byte_tokenizer(adds_bos, SHIPPED[name])


def family(name: str) -> str:
    return name.removesuffix("_training")


@pytest.mark.parametrize("name", TEXT)
def test_a_prefill_follows_the_generation_prompt(name):
    if family(name) == "qwen3_5_nothink":
        with pytest.raises(RecipeError, match=r"^chat_template_kwargs: the model's chat template closes the thinking"):
            render(MINI_R1, COUNTDOWN, ROW, tokenizer_of(name))
        return
    tokenizer = tokenizer_of(name)
    prompt = render(MINI_R1, COUNTDOWN, ROW, tokenizer)
    turns = prompts.messages(MINI_R1, COUNTDOWN, ROW)
    begun = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert prompt.text.startswith(begun) or "strftime_now" in SHIPPED[name]
    assert "</think>" not in prompt.text.rpartition("for example")[2].partition("</answer>")[2], "no closed block"
    if family(name) in OPENING:
        assert (prompt.text, prompt.prefill) == (begun, "<think>\n")
    else:
        assert prompt.prefill == "<think>"
        assert prompt.text.endswith("Let me solve this step by step.\n<think>")


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("qwen2_5", "<|im_start|>assistant\nLet me solve this step by step.\n<think>"),
        ("qwen3", "<|im_start|>assistant\nLet me solve this step by step.\n<think>"),
        ("glm4moe", "<|assistant|>Let me solve this step by step.\n<think>"),
        ("gptoss", "<|start|>assistant<|channel|>final<|message|>Let me solve this step by step.\n<think>"),
        ("muse_glimmer", "<|start|>assistant to=user<|message|>Let me solve this step by step.\n<think>"),
        ("qwen3_6", "<|im_end|>\n<|im_start|>assistant\n<think>\n"),
        ("deepseek_r1_distill", "<｜Assistant｜><think>\n"),
    ],
)
def test_tails(name, tail):
    assert render(MINI_R1, COUNTDOWN, ROW, tokenizer_of(name)).text.endswith(tail)


def test_thinking_is_turned_on_by_a_variable():
    template = get_template("logic_rl", {"enable_thinking": True})
    prompt = render(template, COUNTDOWN, ROW, tokenizer_of("qwen3_5_nothink"))
    assert prompt.text.endswith("<|im_start|>assistant\n<think>\n") and prompt.prefill == "<think>\n"
    off = get_template("mini_r1", {"enable_thinking": False})
    with pytest.raises(RecipeError, match="closes the thinking"):
        render(off, COUNTDOWN, ROW, tokenizer_of("qwen3"))


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        (
            "enable_thinkin",
            "'enable_thinkin' is no variable of the model's chat template; did you mean enable_thinking?",
        ),
        ("tokenize", "'tokenize' is no variable of the model's chat template"),
        ("strftime_now", "'strftime_now' is not for a recipe to set"),
    ],
)
def test_a_variable_that_nothing_reads_is_refused(variable, said):
    with pytest.raises(RecipeError, match=re.escape(f"chat_template_kwargs: {said}")):
        render(get_template("mini_r1", {variable: True}), COUNTDOWN, ROW, tokenizer_of("qwen3"))


@pytest.mark.parametrize("name", ["deepseek_r1_distill", "qwen3", "qwen3_6", "llama3_2"])
def test_gold_earns_both_rewards_whoever_opens_the_tag(name):
    prompt = render(MINI_R1, COUNTDOWN, ROW, tokenizer_of(name))
    gold = gold_completion(COUNTDOWN, MINI_R1, ROW, prompt)
    assert (prompt.text + gold).count("<think>") == prompt.text.count("<think>")
    assert format_reward([gold], [prompt.prefill]) == [1.0]
    assert equation_reward([gold], [prompt.prefill], nums=[ROW["nums"]], target=[ROW["target"]]) == [1.0]


@pytest.mark.parametrize("name", ["llama3_2", "gptoss", "muse_glimmer"])
def test_prompts_do_not_depend_on_the_day(name, monkeypatch):
    import transformers.utils.chat_template_utils as utils

    class Tomorrow(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 5, 6)

    today = render(MINI_R1, COUNTDOWN, ROW, tokenizer_of(name))
    monkeypatch.setattr(utils, "datetime", Tomorrow)
    tokenizer = tokenizer_of(name)
    assert "2031" in tokenizer.apply_chat_template(ASKED, tokenize=False), "the template does write a date"
    assert render(MINI_R1, COUNTDOWN, ROW, tokenizer) == today
    assert "2024" in today.text


@pytest.mark.parametrize("name", ["llama3", "gemma3", "llama3_2", "qwen3"])
def test_a_conversation_has_one_bos(name, tmp_path):
    tokenizer = tokenizer_of(name, adds_bos=name != "qwen3")
    own = tokenizer.apply_chat_template(
        ASKED, add_generation_prompt=True, return_dict=True, strftime_now=prompts.FIXED_DATE.strftime
    )["input_ids"]
    assert own.count(tokenizer.bos_token_id) == (name != "qwen3")
    dataset, *_ = conversation(tmp_path, tokenizer, [{"messages": [*ASKED, REASONED]}])
    (ids,), (labels,) = dataset["input_ids"], dataset["labels"]
    assert ids[: labels.count(IGNORED)] == own
    with_bos = {"prompt": tokenizer.decode(own), "completion": REASONED["content"]}
    dataset, *_ = conversation(tmp_path, tokenizer, [with_bos])
    assert dataset["input_ids"] == [ids]


def conversation(tmp_path, tokenizer, rows: list[dict], **more):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    args = SFTArguments(task="countdown", sft_datasets=[{"path": str(path)}], **more)
    parts = [Part("countdown", COUNTDOWN, MINI_R1, args)]
    return conversation_dataset(args, parts, tokenizer, 0, 4, None, held_out=[[]])


@pytest.mark.parametrize("name", ["deepseek_r1_distill", "qwen3_6"])
def test_an_answer_never_opens_a_second_think_block(name):
    tokenizer = tokenizer_of(name)
    prompt, completion = to_texts({"messages": [*ASKED, REASONED]}, None, tokenizer)
    assert prompt.endswith("<think>\n") and completion == "One and two.</think>\n<answer>3</answer>"
    _, completion = to_texts({"messages": [*ASKED, PLAIN]}, None, tokenizer)
    assert completion == "</think>\n\nIt is 3.", "an answer without reasoning closes the block"
    part = Part("countdown", COUNTDOWN, MINI_R1, SFTArguments(task="countdown"))
    _, completion = to_texts({"messages": [*ASKED, REASONED]}, (part, ROW), tokenizer)
    assert completion == "One and two.</think>\n<answer>3</answer>"
    [[(asked, pieces)]] = write_traces(part, [ROW], 1, tokenizer, random.Random(0))
    text = tokenizer.decode([*asked, *(token for ids, _ in pieces for token in ids)])
    assert text.count("<think>") == 2, "one in the question, one in the prefill"


FIELDS = ("reasoning_content", "reasoning", "thinking")


@pytest.mark.parametrize("field", FIELDS)
def test_reasoning_in_a_field_of_its_own_is_learned(field, tmp_path):
    answer = {"role": "assistant", "content": "<answer>3</answer>", field: "One and two."}
    expected = "<think>\nOne and two.\n</think>\n\n<answer>3</answer>"
    assert to_texts({"messages": [*ASKED, answer]}, None, tokenizer_of("qwen2_5"))[1] == expected
    assert format_reward([expected]) == [1.0]
    prompt, completion = to_texts({"messages": [*ASKED, answer]}, None, tokenizer_of("qwen3_6"))
    assert prompt.endswith("<think>\n") and completion == expected.removeprefix("<think>\n")


def test_reasoning_twice_is_refused_where_it_differs():
    tokenizer = tokenizer_of("qwen2_5")
    same = {**REASONED, "reasoning": "One and two."}
    assert to_texts({"messages": [*ASKED, same]}, None, tokenizer)[1] == REASONED["content"]
    for other in ({**REASONED, "reasoning": "Else."}, {**PLAIN, "reasoning": "a", "thinking": "b"}):
        with pytest.raises(ValueError, match="reasoning in"):
            to_texts({"messages": [*ASKED, other]}, None, tokenizer)


@pytest.mark.parametrize(
    ("row", "asked", "learned"),
    [
        (
            {"conversations": [{"from": "human", "value": "What is 1 + 2?"}, {"from": "gpt", "value": "It is 3."}]},
            ASKED,
            "It is 3.",
        ),
        (
            {"conversations": [{"from": "system", "value": "Be brief."}, {"from": "user", "value": "?"},
                               {"from": "assistant", "value": "3"}]},
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "?"}],
            "3",
        ),
        ({"instruction": "What is 1 + 2?", "input": "", "output": "3"}, ASKED, "3"),
        ({"instruction": "Add.", "input": "1, 2", "output": "3"}, [{"role": "user", "content": "Add.\n\n1, 2"}], "3"),
        ({"instruction": "Add.", "output": "3"}, [{"role": "user", "content": "Add."}], "3"),
    ],
)  # fmt: skip
def test_forms_of_other_collections(row, asked, learned):
    tokenizer = tokenizer_of("qwen2_5")
    assert to_texts(row, None, tokenizer) == (render_turns(asked, tokenizer).text, learned)


ODD = [
    ([{"role": "user", "content": None}], "message 0 whose content is None"),
    ([{"role": "user", "content": [{"type": "text", "text": "hm"}]}], "message 0 whose content is \\[{'type'"),
    ([*ASKED, *ASKED], "refuses it: Conversation roles must alternate"),
    ([{"role": None, "content": "?"}], "message 0 whose role is None"),
    ([*ASKED, {"role": "assistant", "content": 7}, *ASKED], "message 1 whose content is 7"),
]


@pytest.mark.parametrize(("turns", "said"), ODD)
def test_a_refused_conversation_is_the_rows_fault(tmp_path, turns, said):
    tokenizer, bad, good = tokenizer_of("gemma3"), {"messages": [*turns, PLAIN]}, {"messages": [*ASKED, PLAIN]}
    with pytest.raises(RecipeError, match=r"row 0 of \S+\.jsonl: .*" + said) as error:
        conversation(tmp_path, tokenizer, [bad])
    assert error.value.key == "sft_datasets" and "skip_bad_rows" in str(error.value)
    dataset, left_out, _ = conversation(tmp_path, tokenizer, [bad, good], skip_bad_rows=True)
    assert (len(dataset), left_out) == (1, 1)


def test_fields_that_nothing_is_made_of_are_named(tmp_path):
    call = {"role": "assistant", "content": "I call it.", "tool_calls": [{"name": "add"}]}
    rows = [
        {"messages": [*ASKED, call, *ASKED, {**PLAIN, "name": "Ann"}]},
        {"messages": [*ASKED, {**PLAIN, "name": ""}]},
    ]
    _, _, unused = conversation(tmp_path, tokenizer_of("qwen2_5"), rows)
    assert unused == {"tool_calls": 1, "name": 1}


def test_gemma_2_is_told_how_to_go_without_a_system_turn():
    with pytest.raises(
        RecipeError, match=r"System role not supported; \{base: NAME, system: null\} leaves the system turn out"
    ):
        render(get_template("mini_r1"), COUNTDOWN, ROW, tokenizer_of("gemma"))
    assert render(MINI_R1, COUNTDOWN, ROW, tokenizer_of("gemma")).text.count("<start_of_turn>") == 2


@pytest.mark.parametrize("example", ["{x}", "\\frac{1}{2}", '{"a": {0}}', "100%", "{question}"])
def test_only_the_two_placeholders_are_replaced(example):
    class Task:
        ANSWER_EXAMPLE = example

        @staticmethod
        def question(row):
            return "Is {example} a {question}?"

    template = get_template({"user": 'JSON {"a": 1}, \\boxed{7}, {}: {question} as {example}', "chat": False})
    prompt = render(template, Task, {}, None)
    assert prompt.text == f'JSON {{"a": 1}}, \\boxed{{7}}, {{}}: Is {{example}} a {{question}}? as {example}<think>'


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"base": "mini_r"}, "there is no template 'mini_r'; did you mean mini_r1?"),
        ({}, "a map needs user, or the base"),
        ({"system": "x"}, "a map needs user, or the base"),
        ({"base": "mini_r1", "sytem": "x"}, "'sytem' is no key of a prompt; did you mean system?"),
        ({"base": "mini_r1", "user": "Say hello."}, "user has no {question}"),
        ({"base": "mini_r1", "prefill": 3}, "prefill: got 3, expected a text"),
        ({"base": "mini_r1", "chat": "no"}, "chat: got 'no', expected true or false"),
        ({"base": "mini_r1", "prefill": "<think></think>"}, "prefill closes the thinking"),
        ({"base": "mini_r1", "format_reward": "x"}, "format_reward: got 'x', expected one of format_reward"),
        ({"base": 3}, "base: got 3, expected the name of a template"),
    ],
)
def test_maps_that_are_refused(given, said):
    with pytest.raises(RecipeError) as error:
        get_template(given)
    assert error.value.key == "prompt_template" and error.value.problem.startswith(said)


def test_a_map_inherits_from_its_base():
    changed = get_template({"base": "mini_r1", "system": None, "prefill": ""})
    assert (changed.system, changed.prefill) == (None, "")
    assert changed.user == get_template("mini_r1").user


def test_qwen_25_keeps_its_ids():
    """Those of the prompt as every earlier version rendered it: the finished assistant turn, left open."""
    tokenizer = tokenizer_of("qwen2_5")
    template = get_template("mini_r1")
    turns = [*prompts.messages(template, COUNTDOWN, ROW), {"role": "assistant", "content": template.prefill}]
    earlier = tokenizer.apply_chat_template(turns, return_dict=True, continue_final_message=True)["input_ids"]
    assert prompt_ids(render(template, COUNTDOWN, ROW, tokenizer).text, tokenizer) == earlier
