"""Prompts: the exact token ids of the chat template, one BOS at most, and every task's gold through the whole path."""

from functools import partial

import pytest
from byte_tokenizer import BOS, TURN, byte_tokenizer

from mini_r1 import tasks
from mini_r1.data.conversations import to_texts
from mini_r1.data.prompts import TEMPLATES, WORKED, PromptTemplate, get_template, messages, prompt_ids, render
from mini_r1.data.reward_loader import check_available, load_rewards
from mini_r1.errors import RecipeError
from mini_r1.launch.check_data import gold_completion
from mini_r1.rewards import FORMAT_REWARDS, number_reward, summary_format_reward

CHAT = [name for name, template in TEMPLATES.items() if template.chat]
PLAIN = [name for name in TEMPLATES if name not in CHAT]
TURNS = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ROW = {"nums": [44, 19, 35], "target": 98, "difficulty": 3}


@pytest.fixture(scope="module")
def tokenizers(tiny_tokenizer) -> dict:
    return {
        "tiny": tiny_tokenizer,
        "no BOS": byte_tokenizer(False, TURNS),
        "template writes BOS": byte_tokenizer(False, "{{ bos_token }}" + TURNS),
        "both write BOS": byte_tokenizer(True, "{{ bos_token }}" + TURNS),
        "tokenizer adds BOS": byte_tokenizer(True, TURNS),
        "no chat template": byte_tokenizer(True, None),
    }


@pytest.mark.parametrize(
    ("name", "bos"), [("tiny", 0), ("no BOS", 0), ("template writes BOS", 1), ("both write BOS", 1)]
)
@pytest.mark.parametrize("template_name", CHAT)
def test_token_ids_are_the_chat_templates_own(tokenizers, name, bos, template_name):
    tokenizer, template = tokenizers[name], get_template(template_name)
    prompt = render(template, tasks.get("countdown"), ROW, tokenizer).text
    turns = messages(template, tasks.get("countdown"), ROW)
    own = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) + template.prefill
    ids = prompt_ids(prompt, tokenizer)
    assert ids == tokenizer(own, add_special_tokens=False)["input_ids"]
    assert ids.count(tokenizer.convert_tokens_to_ids(BOS)) == bos or name == "tiny"
    assert prompt.endswith(f"{TURN}assistant\n{template.prefill}")  # left open
    assert tokenizer.decode(ids).count(TURN) == prompt.count(TURN) == 2 + (template.system is not None)
    assert str(ROW["nums"]) in prompt and str(ROW["target"]) in prompt


def test_a_conversation_has_the_chat_templates_own_ids_too(tokenizers):
    asked = [{"role": "user", "content": "Combine 1 and 2."}]
    for name in ("tiny", "no BOS", "template writes BOS", "both write BOS"):
        prompt, _ = to_texts({"messages": [*asked, {"role": "assistant", "content": "1 + 2"}]}, None, tokenizers[name])
        own = tokenizers[name].apply_chat_template(asked, tokenize=True, return_dict=True, add_generation_prompt=True)
        assert prompt_ids(prompt, tokenizers[name]) == own["input_ids"], name


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_says_what_the_answer_looks_like(tokenizers, name):
    class Puzzle:
        ANSWER_EXAMPLE = "(1) Zoey is a knight\n(2) Oliver is a knave"

        @staticmethod
        def question(row):
            return "Who is {example}? {0} {"

    prompt = render(get_template(name), Puzzle, {}, tokenizers["no BOS"]).text
    assert Puzzle.question({}) in prompt, "braces of a question are text"
    assert f"<answer>{Puzzle.ANSWER_EXAMPLE}</answer>" in prompt
    assert "<think>" in prompt and "</think>" in prompt and "{question}" not in prompt


def test_tiny_tokenizer_adds_no_bos(tokenizers):
    assert tokenizers["tiny"].bos_token is None
    assert tokenizers["tiny"].decode(prompt_ids("1 + 2", tokenizers["tiny"])) == "1 + 2"


@pytest.mark.parametrize(("name", "bos"), [("tiny", 0), ("no BOS", 0), ("both write BOS", 1), ("no chat template", 1)])
@pytest.mark.parametrize("template_name", PLAIN)
def test_plain_text_for_base_models(tokenizers, name, bos, template_name):
    template, task, tokenizer = get_template(template_name), tasks.get("countdown"), tokenizers[name]
    prompt = render(template, task, ROW, tokenizer).text
    assert prompt.endswith(f"\nUser: {task.question(ROW)}\nAssistant: <think>")
    assert TURN not in prompt and BOS not in prompt
    ids = prompt_ids(prompt, tokenizer)
    assert tokenizer.decode(ids) == BOS * bos + prompt
    assert tokenizer.decode(ids, skip_special_tokens=True) == prompt


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("no chat template", "prompt_template: this tokenizer has no chat template; for a base model choose r1_zero"),
        # <s> before every text, but not in the chat template: no text gives the template's ids
        ("tokenizer adds BOS", "model_name_or_path: the chat template's token ids cannot be had from its text"),
    ],
)
def test_no_usable_chat_template(tokenizers, name, expected):
    with pytest.raises(RecipeError) as error:
        render(get_template("mini_r1"), tasks.get("countdown"), ROW, tokenizers[name])
    assert str(error.value).startswith(expected)


@pytest.mark.parametrize(
    ("prefill", "expected"),
    [
        ("Let me solve this step by step.\n<think>", "<think>"),
        ("<think>", "<think>"),
        ("<think>\nFirst,", "<think>\nFirst,"),
        ("Let me solve this step by step.", ""),
        ("", ""),
    ],
)
def test_answer_prefill(prefill, expected):
    assert PromptTemplate(user="", system=None, prefill=prefill, chat=True).answer_prefill == expected


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_prefill_begins_the_thinking(name):
    template = get_template(name)
    assert template.answer_prefill == ("<think>" if template.prefill else "")


def test_two_templates_ask_for_a_summary():
    assert [name for name, template in TEMPLATES.items() if template.asks_for_summary] == ["readable", "few_shot"]
    assert {template.format_reward for template in TEMPLATES.values()} == set(FORMAT_REWARDS)


def test_what_is_shown_is_in_the_form_and_right():
    for (_, text), gold in zip(WORKED, ("2", "36"), strict=True):
        assert summary_format_reward([text]) == number_reward([text], answer=[gold]) == [1.0]
        assert text.replace("{", "").replace("}", "") == text, "a brace would be a placeholder"


def test_one_template_leaves_the_thinking_to_the_model():
    assert [name for name, template in TEMPLATES.items() if not template.prefill] == ["reinforce_lite"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mini_r", "prompt_template: there is no template 'mini_r'; did you mean mini_r1?"),
        (
            "qwen",
            "prompt_template: there is no template 'qwen'; choose one of: mini_r1, r1_zero, logic_rl, reinforce_lite, "
            "readable, few_shot",
        ),
    ],
)
def test_unknown_template(name, expected):
    with pytest.raises(RecipeError) as error:
        get_template(name)
    assert str(error.value) == expected


def graded(task, template, row, tokenizer, make_completion) -> dict[str, float | None]:
    """What the rewards give, by the path of a rollout: prompt ids, completion ids, decoded, prefill, rewards."""
    prompt = render(template, task, row, tokenizer)
    completion = make_completion(prompt)
    ids = tokenizer(completion, add_special_tokens=False)["input_ids"]
    decoded = tokenizer.decode(ids, skip_special_tokens=True)
    assert prompt.text.endswith(prompt.prefill) and prompt.prefill == template.answer_prefill
    columns = {name: [value] for name, value in row.items()} | {"prefill": [prompt.prefill]}
    rewards = load_rewards([template.format_reward, task.REWARD], task_module=task, template=template)
    return {r.__name__: r(completions=[decoded], prompts=[prompt.text], **columns)[0] for r in rewards}


@pytest.mark.parametrize("template_name", TEMPLATES)
@pytest.mark.parametrize("task_name", tasks.names())
def test_gold_is_right_and_empty_is_wrong_on_the_whole_path(tokenizers, task_name, template_name):
    task, template = tasks.get(task_name), get_template(template_name)
    try:
        check_available([], task)
    except RecipeError as error:
        pytest.skip(str(error))
    for raw in tasks.examples(task, 20 if task.REWARD != "code_reward" else 4):  # each runs its program on 6 tests
        row = task.parse_row(raw)
        for name in ("tiny", "both write BOS"):
            form, gold = template.format_reward, partial(gold_completion, task, template, row)
            assert graded(task, template, row, tokenizers[name], gold) == {form: 1.0, task.REWARD: 1.0}
            assert graded(task, template, row, tokenizers[name], lambda prompt: "") == {form: 0.0, task.REWARD: 0.0}


def test_unknown_task():
    with pytest.raises(RecipeError, match=r"^task: there is no task 'countdwn'; did you mean countdown\?$"):
        tasks.get("countdwn")
    with pytest.raises(RecipeError, match=r"^task: is missing; choose one of: .*countdown"):
        tasks.get(None)
