"""Builds a policy for a laptop CPU: Qwen2 architecture, random weights, and a tokenizer made for its tasks.

The sizes of the model come from a recipe, the tokens from the prompts and traces of its tasks.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable
from types import ModuleType

from mini_r1.data.prompts import PromptTemplate, joined, render

# The chat format of the Qwen family, reduced to what a prompt needs.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
END_OF_TURN, PADDING = "<|im_end|>", "<|endoftext|>"
SPECIAL_TOKENS = [PADDING, "<|im_start|>", END_OF_TURN]
# Patterns of texts that may become one token, longest first: between numbers, tags and line ends; sentences; words.
PROMPT_PIECES = re.compile(r"\d+|<\|\w+\|>|\n|<think>$|(?:(?!<\|\w+\|>|<think>$)[^\d\n])+")
TRACE_PIECES = re.compile(r"\d+|</?\w+>|(?:(?!</?\w+>)[^\d\n])*\n|(?:(?!</?\w+>)[^\d\n])+")
SENTENCES = re.compile(r"[^.:?!]+[.:?!]*|[.:?!]+")
WORDS = re.compile(r" ?[^\w\s]*\w+[^\w\s]*| ?[^\w\s]+\n?|\s+")


def build_tokenizer(parts: list[tuple[ModuleType, PromptTemplate, list[dict], dict]], seed: int):
    """A byte-level tokenizer in which every number and every fixed phrase of the tasks is one token.

    Any other text falls back to bytes, so nothing is unknown. It is a `Qwen2Tokenizer`, because `AutoTokenizer` makes
    one of whatever lies beside a Qwen2 model. The phrases are added tokens, which that class keeps; special tokens
    would vanish when completions are decoded.

    Args:
        parts: task, template, rows and trace_args of each task.
    """
    from tokenizers import AddedToken  # takes a while
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    vocab = {token: i for i, token in enumerate(SPECIAL_TOKENS + sorted(ByteLevel.alphabet()))}
    tokenizer = Qwen2Tokenizer(
        vocab=vocab, merges=[], unk_token=PADDING, eos_token=END_OF_TURN, pad_token=PADDING,
        additional_special_tokens=SPECIAL_TOKENS[1:2], chat_template=CHAT_TEMPLATE,
    )  # fmt: skip
    rng = random.Random(seed)
    pieces = [piece for part in parts for piece in _pieces(*part, rng, tokenizer)]
    largest = max((int(piece) for piece in pieces if piece.isdigit()), default=-1)  # a task may have no numbers
    pieces = [*map(str, range(largest + 1)), *(piece for piece in pieces if not piece.isdigit())]
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in dict.fromkeys(pieces) if len(piece) > 1])
    return tokenizer


def _pieces(
    task: ModuleType, template: PromptTemplate, rows: list[dict], trace_args: dict, rng: random.Random, tokenizer
) -> list[str]:
    """The pieces of a task's prompts and traces that become one token each."""
    trace_args = {**trace_args, **template.trace_settings}
    broken = {**trace_args, "give_up": 0.5, "break_format": 0.5}  # makes rare phrases frequent enough
    prompts = (render(template, task, row, tokenizer).text for row in rows)
    opening = "" if template.answer_prefill else "<think>"
    traces = (opening + joined(task.trace(row, rng, **settings)) for row in rows for settings in (trace_args, broken))
    rare, fixed = max(2, len(rows) / 500), len(rows) / 10
    smaller = [(SENTENCES, fixed), (WORDS, rare)]
    own = [(task.PHRASES, rare)] if hasattr(task, "PHRASES") else []
    pieces = _common([*own, (PROMPT_PIECES, fixed), *smaller], prompts)
    return pieces + _common([*own, (TRACE_PIECES, fixed), *smaller], traces)


def _common(levels: list[tuple[re.Pattern, float]], texts: Iterable[str]) -> list[str]:
    """All numbers, and all phrases that occur often enough for a model to learn their token.

    Args:
        levels: patterns, from the largest phrases to the smallest, and how often a phrase of each must occur. The next
            level splits rarer phrases, and the text between phrases.
    """
    common: set[str] = set()
    pending = Counter(texts)
    for level, often in levels:
        found: Counter[str] = Counter()
        between: Counter[str] = Counter()
        for text, count in pending.items():
            end = 0
            for match in level.finditer(text):
                between[text[end : match.start()]] += count
                found[match.group()] += count
                end = match.end()
            between[text[end:]] += count
        chosen = {piece for piece, count in found.items() if piece.isdigit() or count >= often}
        common |= chosen
        pending = between + Counter({piece: count for piece, count in found.items() if piece not in chosen})
    return sorted(common)


def build_model(tokenizer, seed: int, **sizes):
    """A `Qwen2ForCausalLM` with random weights for this tokenizer.

    Args:
        sizes: fields of `Qwen2Config`, such as hidden_size, intermediate_size, num_hidden_layers.
    """
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM, set_seed  # takes a second

    set_seed(seed)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    # the output layer's matrix product is fast with a multiple of 16 rows
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=-(-len(tokenizer) // 16) * 16, bos_token_id=None, **ids, **sizes))
    model.generation_config = GenerationConfig(bos_token_id=None, **ids)
    return model
