"""Completions for benchmarks/rewards.py: ordinary right ones of a given length, and stress texts of a given size.

Completions begin after the prefill `<think>`.
"""

import random
import unicodedata

from mini_r1 import tasks

PREFILL = "<think>"
LENGTHS = (200, 1_000, 8_000)  # tokens
CHARACTERS_A_TOKEN = 4.2  # a token is counted as so many characters, whatever the tokenizer

# The rewards, each with the task whose texts and golds it is given; then the tasks' settings.
TASK_OF = {
    "format_reward": "countdown",
    "equation_reward": "countdown",
    "number_reward": "gsm8k",
    "roles_reward": "knights_knaves",
    "language_consistency_reward": "gsm8k",
}
SETTINGS = {"countdown": {"count": [4]}, "gsm8k": {"steps": [2]}, "knights_knaves": {"count": [5]}}

# What reasoning about each task sounds like; a, b, c are numbers, s their sum, p, q, r are names.
SENTENCES = {
    "countdown": (
        "Let me try {a} + {b} + {c} = {s} first. That is too large, so one of them has to be taken away. ",
        "What about {a} * {b}, divided by {c}? That is not a whole number, so it will not do. ",
        "Wait, each number may be used only once, and {a} is used already. ",
        "If I start from {s} - {c}, then {a} and {b} are left, and ({a} - {b}) has to make up the rest. ",
        "Hmm, ({a} - {b}) * {c} is far away from the target. Next I will look at quotients.\n",
    ),
    "gsm8k": (
        "{p} has {a} apples in one box, {b} in another and {c} at home, which makes {a} + {b} + {c} = {s}. ",
        "So we need to know how many of the {s} are left after {q} takes {a} of them.\n",
        "Half of that is easy to find, and then {c} more are added for the second week. ",
        "Let me check this again: if {p} pays ${a}.50 for each, the first {b} cost more than ${c}. ",
        "Therefore the amount before the discount is {s} dollars, as the question says. ",
    ),
    "knights_knaves": (
        "Suppose that {p} is a knight; then what {p} says is true, so {q} is a knave. ",
        "But {q} said that {p} is a knave if and only if {r} is a knight, which does not fit. ",
        "So we have a contradiction, and {r} cannot be a knave after all.\n",
        "Case {a}: {p} lies. Then at least one of {q} and {r} has to be a knight as well. ",
        "Let me check the statement of {r} again, as it depends on {q} alone. ",
    ),
}
NAMES = ("Ada", "Ben", "Carla", "Dmitri", "Elif", "Grace", "Hugo", "Ines")


def ordinary(task_name: str, tokens: int, count: int) -> tuple[list[str], dict[str, list]]:
    """`count` right completions, all different, of `tokens` tokens each, and the columns of their rows."""
    task, rng = tasks.get(task_name), random.Random(tokens)
    rows = [task.parse_row(raw) for raw in task.generate(count, 0, **SETTINGS[task_name])]
    completions = []
    for row in rows:
        end = f"</think>\n<answer>{task.gold_answer(row)}</answer>"
        size, reasoning = int(tokens * CHARACTERS_A_TOKEN) - len(PREFILL) - len(end), ""
        while len(reasoning) < size:
            a, b, c = (rng.randint(2, 99) for _ in range(3))
            p, q, r = rng.sample(NAMES, 3)
            reasoning += rng.choice(SENTENCES[task_name]).format(a=a, b=b, c=c, s=a + b + c, p=p, q=q, r=r)
        completions.append(reasoning[:size] + end)
    return completions, {column: [row[column] for row in rows] for column in rows[0]}


# What stress texts are made of: a piece, over and over, everywhere, or in the reasoning or the answer of a right text.
PIECES = {
    "everywhere": ["<think>", "</think>", "<answer>", "</answer>", "<", "</think", "</think><answer>"],
    "in the reasoning": [
        *("so 12 plus 3 is 15, ", "x", "1", "1-", " ", "\n", "'", "é", "e\u0301", "α", "🤔", "我们先试一试。", "ひ"),
        *("`", "```", "`a", "$", "$$", "\\", "\\(", "\\a", "<a", "</a>", "a:", "https://", "http://a ", "\0", "\ud800"),
    ],
    "in the answer": [
        *("1", "1-", "1/(", "1,", "1.", "1 ", "1\n", "(1) ", " ", "\n", "<", "<think>", "(", ")", "-", "$", "*", "_"),
        *("`", "\\", "\\frac{1", "{", "|", "||", "'", "a'", '"', "e\u0301", "\u0301", "我", "１", "½", "🤔", "km^2"),
        *("not ", "Zoey is a knight, ", "Zoey ", "Zoey, ", "Zoey\n", "- Zoey: knight\n", "Knights: Zoey, "),
    ],
}
STRESS = [(piece, where) for where, pieces in PIECES.items() for piece in pieces]
# A right answer to each task, and its gold.
GOLDS = {
    "countdown": ("44 + 19 + 35", {"nums": [44, 19, 35], "target": 98}),
    "gsm8k": ("72", {"answer": "72"}),
    "knights_knaves": ("Zoey is a knight\nNoah is a knave", {"names": ["Zoey", "Noah"], "roles": ["knight", "knave"]}),
}


def stress_text(piece: str, where: str, size: int, task_name: str) -> str:
    """`size` characters of `piece`, framed by the rest of a right text unless it is everywhere."""
    answer, _ = GOLDS[task_name]
    start, end = {
        "everywhere": ("", ""),
        "in the reasoning": ("", f"</think><answer>{answer}</answer>"),
        "in the answer": ("hm</think><answer>", f"{answer}</answer>"),
    }[where]
    size -= len(start) + len(end)
    return start + (piece * (size // len(piece) + 1))[:size] + end


def label(piece: str, where: str) -> str:
    """The piece for people: quoted, or the Unicode name of its first character that is not ASCII."""
    foreign = [character for character in piece if not character.isascii()]
    what = unicodedata.name(foreign[0], "surrogate").lower() if foreign else repr(piece)
    return f"{what} {where}"
