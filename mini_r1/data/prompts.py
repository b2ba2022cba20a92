"""Prompt templates: from a task's question to the exact string, and so the exact token ids, that the policy continues.

TRL renders conversations with a generation prompt and never continues an assistant prefill, so prompts are rendered
here and handed over as strings. TRL tokenizes strings with special tokens on; `chat_prompt` makes sure that this gives
the chat template's own ids, with no second BOS.
"""

from dataclasses import dataclass
from types import ModuleType

from jinja2 import TemplateError

from mini_r1.config.keys import did_you_mean
from mini_r1.errors import RecipeError


@dataclass(frozen=True)
class PromptTemplate:
    """How a question is put.

    Attributes:
        user: what is said, with {question} and {example}; a chat turn, or with `chat=False` the whole plain text.
        system: the system line of a chat, with the same two; None for none.
        prefill: how the answer begins, already in the prompt. What rewards see of it starts at `<think>`. Empty where
            the model opens the tag itself.
        chat: whether the tokenizer's chat template is applied (instruction-tuned models) or not (base models).
        format_reward: the one of `rewards.FORMAT_REWARDS` that says whether a completion has the form asked for.
    """

    user: str
    system: str | None
    prefill: str
    chat: bool
    format_reward: str = "format_reward"

    @property
    def answer_prefill(self) -> str:
        """The tail of the prompt that belongs to the answer: from `<think>` on, or nothing."""
        start = self.prefill.find("<think>")
        return self.prefill[start:] if start >= 0 else ""

    @property
    def opening(self) -> str:
        """What a completion has to begin with: the tag, where the prefill has not opened it."""
        return "" if self.answer_prefill else "<think>"

    @property
    def asks_for_summary(self) -> bool:
        """Whether the answer is to stand in a summary of the reasoning."""
        return self.format_reward == "summary_format_reward"

    @property
    def trace_settings(self) -> dict:
        """What a task's `trace` is told, so that a cold start writes the form that the prompts ask for."""
        return {"summary": True} if self.asks_for_summary else {}


# Reasoning that checks itself and goes back, for `few_shot`; problems that no task here has.
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
    # Mini-R1 (the Countdown tutorial): a chat prompt whose answer is begun for the model.
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
    # Logic-RL (arXiv:2502.14768): the form of the answer is part of the system line, and the puzzle stands alone.
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
    # Reinforce-Lite (GSM8K): the two blocks are asked for in a chat, and the model opens both itself.
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
    # Traces for a cold start from a model that has not been trained for it (arXiv:2501.12948, 2.3.1): shown how.
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


def get_template(name: str) -> PromptTemplate:
    """The template called `name`. Raises `RecipeError` with the nearest name where there is none."""
    if name not in TEMPLATES:
        hint = did_you_mean(name, TEMPLATES) or "; choose one of: " + ", ".join(TEMPLATES)
        raise RecipeError(f"there is no template {name!r}{hint}", key="prompt_template")
    return TEMPLATES[name]


def messages(template: PromptTemplate, task: ModuleType, row: dict) -> list[dict]:
    """The conversation of a question; the last message is the assistant's prefill."""
    words = {"question": task.question(row), "example": task.ANSWER_EXAMPLE}
    turns = [("system", template.system), ("user", template.user)]
    asked = [{"role": role, "content": text.format(**words)} for role, text in turns if text is not None]
    return [*asked, {"role": "assistant", "content": template.prefill}]


def render(template: PromptTemplate, task: ModuleType, row: dict, tokenizer) -> str:
    """The prompt of a question, as one string for `prompt_ids`.

    Args:
        tokenizer: a transformers tokenizer.

    Raises:
        RecipeError: as `chat_prompt`, or where the tokenizer has no chat template.
    """
    *asked, begun = messages(template, task, row)
    if not template.chat:
        return asked[-1]["content"] + template.prefill
    if not tokenizer.chat_template:
        raise RecipeError("this tokenizer has no chat template; for a base model choose r1_zero", key="prompt_template")
    return chat_prompt([*asked, begun] if template.prefill else asked, tokenizer)


def chat_prompt(turns: list[dict], tokenizer) -> str:
    """A conversation under the chat template: one string for `prompt_ids`, whose ids are the template's own.

    Args:
        turns: where the last one is the assistant's, it is left open, for the model to go on with.

    Raises:
        RecipeError: where the chat template refuses the turns, or no string gives its token ids.
    """
    go_on = turns[-1]["role"] == "assistant"
    how = {"continue_final_message": go_on, "add_generation_prompt": not go_on}
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, **how)
    except TemplateError as error:  # such as Gemma's, which refuses a system turn
        raise RecipeError(f"the model's chat template refuses it: {error}", key="prompt_template") from error
    if tokenizer.num_special_tokens_to_add() == 0:  # as the chat template adds none
        return text
    wanted = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=True, **how)["input_ids"]
    # Llama 3: both the chat template and the tokenizer write the BOS
    for prompt in (text, text.removeprefix(tokenizer.bos_token or "")):
        if prompt_ids(prompt, tokenizer) == wanted:
            return prompt
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
