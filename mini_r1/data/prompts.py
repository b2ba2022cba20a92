"""Prompts: from a question or a conversation to the exact string, and so the token ids, that the policy continues.

TRL never continues an assistant turn, and many chat templates render a finished one in another form than one that is
being written (Qwen3 puts an empty think block before it). So a prompt is rendered here with the generation prompt, the
prefill is appended as text, and TRL gets a string. TRL tokenizes strings with special tokens on; `render_turns` makes
sure that this gives the chat template's own ids, with no second BOS.
"""

import datetime
import re
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

from jinja2 import TemplateError

from mini_r1.config.keys import did_you_mean
from mini_r1.errors import RecipeError
from mini_r1.rewards import FORMAT_REWARDS
from mini_r1.rewards.text import THINK_CLOSE, THINK_OPEN

KEY = "prompt_template"
# Some chat templates write today's date. A run that is resumed tomorrow must ask what it asked today, so the date is
# always the one that Llama 3.2's template falls back on.
FIXED_DATE = datetime.datetime(2024, 7, 26)
_OURS = {"messages", "add_generation_prompt", "strftime_now"}  # what a chat template gets from here
_OPENED = re.compile(r"<think>\s*\Z")
_CLOSED = re.compile(r"</think>\s*\Z")
_PLACEHOLDER = re.compile(r"\{(question|example)\}")


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt.

    Attributes:
        text: what the tokenizer gets.
        prefill: the tail of `text` that belongs to the answer, from `<think>` on, whether our template or the model's
            own chat template wrote it; empty where the model opens the tag itself.
    """

    text: str
    prefill: str

    @property
    def opening(self) -> str:
        """What a completion has to begin with: the tag, where the prompt has not opened it."""
        return "" if self.prefill else THINK_OPEN

    def completion(self, answer: str) -> str:
        """What is left to say of a whole answer after this prompt.

        An answer without reasoning closes the think block that the prompt has opened.

        Raises:
            ValueError: where the answer begins otherwise than the prompt ends.

        Example: `Prompt("...<think>\\n", "<think>\\n").completion("<think>hm</think>7")` is `"hm</think>7"`.
        """
        if not self.prefill or answer.startswith(self.prefill):
            return answer[len(self.prefill) :]
        begun = self.prefill.removeprefix(THINK_OPEN).strip()
        if not answer.lstrip().startswith(THINK_OPEN):
            if begun:
                raise ValueError(f"has no reasoning, and the prompt begins it with {begun!r}")
            return f"{THINK_CLOSE}\n\n{answer}"
        rest = answer.lstrip().removeprefix(THINK_OPEN).lstrip()
        if not rest.startswith(begun):
            raise ValueError(f"does not begin its reasoning with {begun!r}, as the prompt does")
        return rest.removeprefix(begun)


@dataclass(frozen=True)
class PromptTemplate:
    """The wording of a prompt, and the form of answer that it asks for.

    Attributes:
        user: the user's turn of a chat, or with `chat=False` the whole text, with {question} and {example}.
        system: the system turn of a chat, with the same two; None for none.
        prefill: the begin of the answer, which the prompt has already; "" where the model opens the think tag itself.
        chat: whether the tokenizer's chat template is applied (instruction-tuned models) or not (base models).
        format_reward: the one of `rewards.FORMAT_REWARDS` that says whether a completion has the form asked for.
        chat_template_kwargs: variables of the model's own chat template, such as {"enable_thinking": True}.
    """

    user: str
    system: str | None
    prefill: str
    chat: bool
    format_reward: str = "format_reward"
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def answer_prefill(self) -> str:
        """The tail of the prefill that belongs to the answer: from `<think>` on, or nothing."""
        start = self.prefill.find(THINK_OPEN)
        return self.prefill[start:] if start >= 0 else ""

    @property
    def asks_for_summary(self) -> bool:
        """Whether the answer stands in a summary of the reasoning."""
        return self.format_reward == "summary_format_reward"

    @property
    def trace_settings(self) -> dict:
        """The settings of a task's `trace` that make a cold start write the form that the prompts ask for."""
        return {"summary": True} if self.asks_for_summary else {}


# Reasoning that checks itself and goes back, for `few_shot`, on problems that no task has.
WORKED = (
    (
        "A ribbon of 50 cm is cut into pieces of 8 cm. How many cm are left over?",
        "<think>Pieces of 8 cm: 8 * 6 = 48, so 6 pieces, and 50 - 48 = 2 cm are left. Check: 2 is less than 8, so no "
        "seventh piece fits, and 48 + 2 = 50. Right.</think>\nSix pieces use 48 of the 50 cm, so <answer>2</answer> cm "
        "are left.",
    ),
    (
        "What is the smallest number above 30 that both 4 and 6 divide?",
        "<think>4 * 6 = 24, and twice that is 48: 48 / 4 = 12 and 48 / 6 = 8, so 48 will do. But is it the smallest? "
        "Wait, 12 is a multiple of both, too, so I should count in steps of 12: 24, 36, 48. 36 is above 30, and "
        "36 / 4 = 9, 36 / 6 = 6. So 48 was too large, and there is no multiple of 12 between 30 and 36.</think>\nBoth "
        "divide the multiples of 12, and the first one above 30 is <answer>36</answer>.",
    ),
)

TEMPLATES = {
    # Mini-R1 (the Countdown tutorial): a chat prompt that begins the answer for the model.
    "mini_r1": PromptTemplate(
        system="You are a careful assistant. You think a problem through first and only then give the answer.",
        user=(
            "{question} Show your reasoning in <think> </think> tags, then give only the final answer in "
            "<answer> </answer> tags, for example <answer>{example}</answer>."
        ),
        prefill="Let me solve this step by step.\n<think>",
        chat=True,
    ),
    # DeepSeek-R1-Zero (arXiv:2501.12948, table 1): plain text for base models, which know no chat format.
    "r1_zero": PromptTemplate(
        system=None,
        user=(
            "The following is a dialogue between a User and an Assistant. The Assistant first reasons about the "
            "User's question and then answers it. The reasoning stands in <think> </think> tags and the final answer "
            "in <answer> </answer> tags, as in: <think> reasoning </think> <answer>{example}</answer>.\n"
            "User: {question}\nAssistant: "
        ),
        prefill="<think>",
        chat=False,
    ),
    # Logic-RL (arXiv:2502.14768): the system turn describes the form of the answer; the user's is the puzzle alone.
    "logic_rl": PromptTemplate(
        system=(
            "You are a helpful assistant. You first reason about what the user asks and only then answer. The "
            "reasoning goes into <think> </think> tags and the answer into <answer> </answer> tags, that is: "
            "<think> reasoning </think> <answer> answer </answer>. For a logic problem about several people, the "
            "answer lists the role of each of them, one a line. An answer looks like this: <answer>{example}</answer>."
        ),
        user="{question}",
        prefill="<think>",
        chat=True,
    ),
    # Reinforce-Lite (GSM8K): a chat that asks for two blocks, both of which the model opens itself.
    "reinforce_lite": PromptTemplate(
        system=(
            "Reply in two blocks and write nothing outside of them:\n<think>\nyour reasoning, step by step\n</think>\n"
            "<answer>\nthe final answer alone, for a calculation a single number\n</answer>"
        ),
        user="{question}\nAn answer block looks like this: <answer>{example}</answer>",
        prefill="",
        chat=True,
    ),
    # DeepSeek-R1's cold start (arXiv:2501.12948, 2.3.1): reasoning, then a summary of it for a reader.
    "readable": PromptTemplate(
        system="You are a careful assistant. You think a problem through first and then tell the reader what came out.",
        user=(
            "{question} Think it through in <think> </think> tags. Then sum up in one to three plain sentences, for "
            "somebody who does not read your thoughts, and put the final answer there once in <answer> </answer> tags, "
            "for example <answer>{example}</answer>."
        ),
        prefill="<think>",
        chat=True,
        format_reward="summary_format_reward",
    ),
    # Samples cold-start traces from a model that was not trained to write them (arXiv:2501.12948, 2.3.1): shows two.
    "few_shot": PromptTemplate(
        system=(
            "You reason step by step in <think> </think> tags, check each result, and go back where a check fails. "
            "Then you sum up in one to three plain sentences that hold the final answer once, in <answer> </answer> "
            "tags. You write in one language."
        ),
        user="".join(f"Problem: {problem}\n{answer}\n\n" for problem, answer in WORKED)
        + "Problem: {question} An answer looks like this: <answer>{example}</answer>",
        prefill="<think>",
        chat=True,
        format_reward="summary_format_reward",
    ),
}


def get_template(what: str | dict, chat_template_kwargs: dict | None = None) -> PromptTemplate:
    """The template that `prompt_template` asks for.

    Args:
        what: a name in `TEMPLATES`; or a map of `user` and, where they differ from those of the template that it names
            as `base`, the other attributes of `PromptTemplate`.
        chat_template_kwargs: the recipe's.

    Raises:
        RecipeError: for an unknown name or key, a value of another type, or a question that is never put.
    """
    template = _from_map(what) if isinstance(what, dict) else _named(what)
    return replace(template, chat_template_kwargs=chat_template_kwargs or {})


def _named(name: str) -> PromptTemplate:
    if name not in TEMPLATES:
        hint = did_you_mean(name, TEMPLATES) or "; choose one of: " + ", ".join(TEMPLATES)
        raise RecipeError(f"there is no template {name!r}{hint}", key=KEY)
    return TEMPLATES[name]


# key of a map -> what it may be
_MAP_TYPES: dict[str, tuple] = {
    "user": (str,), "system": (str, type(None)), "prefill": (str,), "chat": (bool,), "format_reward": (str,),
}  # fmt: skip


def _from_map(values: dict) -> PromptTemplate:
    own = {key: value for key, value in values.items() if key != "base"}
    for key, value in own.items():
        if key not in _MAP_TYPES:
            hint = did_you_mean(str(key), [*_MAP_TYPES, "base"])
            raise RecipeError(f"{key!r} is no key of a prompt{hint}; it has base, {', '.join(_MAP_TYPES)}", key=KEY)
        if not isinstance(value, _MAP_TYPES[key]):
            wanted = "true or false" if key == "chat" else "a text"
            raise RecipeError(f"{key}: got {value!r}, expected {wanted}", key=KEY)
    base = values.get("base")
    if base is not None and not isinstance(base, str):
        raise RecipeError(f"base: got {base!r}, expected the name of a template", key=KEY)
    if base is None and "user" not in own:
        raise RecipeError("a map needs user, or the base that it changes, such as {base: mini_r1}", key=KEY)
    start = _named(base) if base else PromptTemplate(user="", system=None, prefill=THINK_OPEN, chat=True)
    template = replace(start, **own)
    if "{question}" not in template.user:
        raise RecipeError("user has no {question}, so that the model is never asked", key=KEY)
    if THINK_CLOSE in template.prefill:
        raise RecipeError("prefill closes the thinking before it begins; end it with <think>, or leave it out", key=KEY)
    if template.format_reward not in FORMAT_REWARDS:
        raise RecipeError(
            f"format_reward: got {template.format_reward!r}, expected one of {', '.join(FORMAT_REWARDS)}", key=KEY
        )
    return template


def fill(text: str, question: str, example: str) -> str:
    """The text of a template with the question and the example in their places; all other braces are text."""
    values = {"question": question, "example": example}
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


def _fill(text: str, task: ModuleType, row: dict) -> str:
    return fill(text, task.question(row), task.ANSWER_EXAMPLE)


def messages(template: PromptTemplate, task: ModuleType, row: dict) -> list[dict]:
    """The conversation that asks for an answer, as the chat template gets it."""
    system = [] if template.system is None else [{"role": "system", "content": _fill(template.system, task, row)}]
    return [*system, {"role": "user", "content": _fill(template.user, task, row)}]


def render(template: PromptTemplate, task: ModuleType, row: dict, tokenizer) -> Prompt:
    """The prompt that asks for one row's answer.

    Where the model's chat template opens `<think>` itself, the template's own prefill is left out.

    Args:
        tokenizer: a transformers tokenizer.

    Raises:
        RecipeError: where the tokenizer has no chat template, or one that refuses the conversation or has closed the
            thinking before it begins; or where its ids cannot be had from a string.
    """
    if not template.chat:
        return Prompt(_fill(template.user, task, row) + template.prefill, template.answer_prefill)
    if not tokenizer.chat_template:
        raise RecipeError("this tokenizer has no chat template; for a base model choose r1_zero", key=KEY)
    turns = messages(template, task, row)
    try:
        prompt = render_turns(turns, tokenizer, template.chat_template_kwargs)
    except ValueError as error:  # such as Gemma's, which refuses a system turn
        remedy = "; {base: NAME, system: null} leaves the system turn out" if len(turns) > 1 else ""
        raise RecipeError(f"{error}{remedy}", key=KEY) from error
    if prompt.prefill or not template.prefill:
        return prompt
    return Prompt(prompt.text + _channel(prompt.text, turns, tokenizer) + template.prefill, template.answer_prefill)


def render_turns(turns: list[dict], tokenizer, chat_template_kwargs: dict | None = None) -> Prompt:
    """The prompt that asks for the next turn of a conversation.

    Args:
        turns: each with a role and a text as its content, as the tokenizer's chat template takes them.

    Raises:
        ValueError: where the chat template refuses the conversation; the message says why.
        RecipeError: where the model's chat template closes the thinking, or its ids cannot be had from a string.
    """
    text = apply_template(turns, tokenizer, chat_template_kwargs, add_generation_prompt=True)
    if _CLOSED.search(text):
        raise RecipeError(
            "the model's chat template closes the thinking before the answer begins; set {enable_thinking: true}, or "
            "the variable with which this template turns thinking on",
            key="chat_template_kwargs",
        )
    opened = _OPENED.search(text)
    return Prompt(without_bos(text, tokenizer), opened[0] if opened else "")


def apply_template(turns: list[dict], tokenizer, chat_template_kwargs: dict | None = None, **how) -> Any:
    """`tokenizer.apply_chat_template`, as text unless `how` says otherwise, with a fixed date.

    Raises:
        ValueError: where a turn is no text, or the chat template refuses the conversation.
        RecipeError: for a variable that the chat template does not have.
    """
    for name in chat_template_kwargs or {}:
        _check_variable(name, tokenizer)
    for number, turn in enumerate(turns):
        for key in ("role", "content"):
            if not isinstance(turn.get(key), str):
                raise ValueError(f"has a message {number} whose {key} is {turn.get(key)!r:.60}, not a text")
    how = {"tokenize": False} | (chat_template_kwargs or {}) | how
    try:
        return tokenizer.apply_chat_template(turns, strftime_now=FIXED_DATE.strftime, **how)
    except TemplateError as error:
        raise ValueError(f"the model's chat template refuses it: {error}") from error


def _check_variable(name: str, tokenizer) -> None:
    words = set(re.findall(r"\w+", str(tokenizer.chat_template)))
    if name in _OURS or name not in words:  # Jinja ignores a variable that nothing reads
        said = "is not for a recipe to set" if name in _OURS else "is no variable of the model's chat template"
        raise RecipeError(f"{name!r} {said}{did_you_mean(name, words - _OURS)}", key="chat_template_kwargs")


def _channel(text: str, turns: list[dict], tokenizer) -> str:
    """What a chat template writes between its generation prompt and an answer, such as gpt-oss's channel.

    A prefill stands where the model would write that itself. An empty think block is none of it.
    """
    probe = "An answer."
    finished = apply_template([*turns, {"role": "assistant", "content": probe}], tokenizer)
    start = finished.rfind(probe)
    head = finished[:start] if start >= 0 else ""
    bos = tokenizer.bos_token or ""
    head = head if text.startswith(bos) else head.removeprefix(bos)
    between = head.removeprefix(text) if head.startswith(text) else ""
    return "" if THINK_CLOSE in between or not between.strip() else between


def without_bos(text: str, tokenizer) -> str:
    """The text for a tokenizer that adds a BOS by itself: without the one that stands there already.

    Raises:
        RecipeError: where the tokenizer adds something else, so that the text's own ids cannot be had.
    """
    if tokenizer.num_special_tokens_to_add() == 0:
        return text
    own = tokenizer(text=text, add_special_tokens=False)["input_ids"]
    bare = text.removeprefix(tokenizer.bos_token or "")
    if prompt_ids(bare, tokenizer) == own:
        return bare
    raise RecipeError(
        "the chat template's token ids cannot be had from its text; choose prompt_template: r1_zero",
        key="model_name_or_path",
    )


def prompt_ids(prompt: str | list[str], tokenizer) -> list:
    """Token ids as TRL makes them of a string prompt, or of each of several."""
    return tokenizer(text=prompt)["input_ids"]


def joined(trace: list[tuple[str, bool]]) -> str:
    """The text of a task's trace."""
    return "".join(text for text, _ in trace)
