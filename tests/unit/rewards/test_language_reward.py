"""The share of the reasoning in one language: a table of (reasoning, English, Chinese, reason), then any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_r1.rewards.language import MAX_SPANS, language_consistency_reward, reasoning

MEGABYTE = 1_000_000

# (reasoning, share of English, share of Chinese, reason)
SHARES = [
    ("Let me try 44 + 19 = 63 first.", 1, 0, "English"),
    ("先试44加19等于63。", 0, 1, "Chinese; its full stop is no word"),
    ("so 三 is", 2 / 3, 1 / 3, "each Han character is a word, and so is each run of a-z"),
    ("I don't know 好", 2 / 3, 1 / 3, "an apostrophe belongs to the word; I is a single letter"),
    ("I don’t know 好", 2 / 3, 1 / 3, "a typographic apostrophe, too"),
    ("well-known 好", 2 / 3, 1 / 3, "a hyphen does not: it is the minus sign"),
    ("x - y = a, 所以 b", 0, 1, "single letters are variables"),
    ("x1, num_2, 3km 好", 2 / 3, 1 / 3, "num and km; a letter next to a digit is a variable still"),
    # Other languages
    ("voilà le chat", 2 / 3, 0, "an accent tells, its absence does not"),
    ("voilà, ça été ô", 0, 0, "accents throughout; other languages' single letters are words"),
    ("Это ответ so", 1 / 3, 0, "Russian"),
    ("답은 이다 so", 1 / 3, 0, "Korean: a word is a run, as in every alphabet"),
    ("これは so", 1 / 4, 0, "Japanese: each kana is a word"),
    ("答えは so", 1 / 4, 1 / 4, "a kanji is taken for Chinese"),
    ("ngữ tiếng so", 1 / 3, 0, "Vietnamese: three bytes in UTF-8, and part of the word"),
    ("نعم so", 1 / 2, 0, "Arabic"),
    ("και so", 1 / 2, 0, "Greek"),
    ("so 2πr, Δx = αβ, θ", 1, 0, "Greek letters by ones and twos are variables"),
    ("the x̄ of 2×4, a×b, 6÷c, x², ½", 1, 0, "signs of mathematics"),
    ("so “yes” — ok … → ≈ ≤ ∑ √ € ✓ 🤔", 1, 0, "typographic signs and emoji"),
    # No words
    ("3 * 4 = 12", 1, 1, "numbers are at fault in no language"),
    ("x = y", 1, 1, "variables alone"),
    ("`the_code`", 1, 1, "code alone"),
    ("", 0, 0, "nothing"),
    (" \n\t", 0, 0, "blank"),
    (" \u3000\u200b ", 0, 0, "blank in other alphabets"),
    ("... --- ！。、", 0, 0, "punctuation alone says nothing"),
    ("🤔" * 9, 0, 0, "neither do emoji"),
    ("ｔｈｉｎｋ 𝐭𝐡𝐢𝐧𝐤", 0, 0, "nor letters dressed up"),
    ("\ud800 \udfff", 0, 0, "half of a surrogate pair"),
    # Code, LaTeX, URLs and tags
    ("用 `for i in range(n)` 算", 0, 1, "inline code"),
    ("如下：\n```python\nfor i in range(9):\n    print(`i`)\n```\n好", 0, 1, "a fenced block, with backticks in it"),
    ("好 ```so this", 2 / 3, 1 / 3, "a fence that is not closed hides nothing"),
    ("好 `so\nthis`", 2 / 3, 1 / 3, "inline code ends with the line"),
    ("由 $\\sin ab$ 和 $$\nab\n$$ 得", 0, 1, "LaTeX between dollars"),
    (r"由 \(ab + \frac{ab}{cd}\) 和 \[ab\] 得", 0, 1, "LaTeX between backslashed brackets"),
    (r"得 \boxed{5} \frac{1}{2}", 0, 1, "a LaTeX command by itself"),
    (r"得 \(so this", 2 / 3, 1 / 3, "LaTeX that is not closed hides nothing"),
    ("见 https://example.org/some-page 和 http://example.org 。", 0, 1, "URLs"),
    ("见 <b>5</b> <br/> 好", 1 / 3, 2 / 3, "tags are neutral, others' brackets are not: br"),
    ("so x <so y> so 好", 3 / 4, 1 / 4, "what looks like a tag and is none is text; y is a variable"),
    ("so `先试一下` on", 2 / 6, 4 / 6, "Chinese cannot hide in code"),
    ("so $先试$ on ```voilà```", 2 / 5, 2 / 5, "nor in LaTeX, and French not in a fence"),
]


@pytest.mark.parametrize("text, english, chinese, reason", SHARES, ids=[reason for *_, reason in SHARES])
def test_share(text, english, chinese, reason):
    completions = [f"{text}</think>\n<answer>some 话</answer>"] * 2
    rewards = language_consistency_reward(completions, ["<think>"] * 2, language=["en", "zh"])
    assert rewards == pytest.approx([english, chinese]), reason
    assert all(isinstance(reward, float) for reward in rewards)


@pytest.mark.parametrize(
    "text, expected, reason",
    [
        ("<think>a</think><answer>b</answer>", "a", "the form asked for"),
        ("hi <think>a</think> b <answer>c</answer>", "a", "words around it do not matter"),
        ("<think>a<answer>b</answer>", "a<answer>b</answer>", "never closed: all the rest"),
        ("<think>", "", "the prefill alone"),
        ("a</think><answer>b</answer>", "a", "never opened: from the start"),
        ("a <answer>b</answer> c", "a ", "no thinking: all before the answer"),
        ("a", "a", "no tags"),
        ("<think>a</think>b<think>c</think>d", "a</think>b<think>c", "a second block does not escape"),
        ("</think>a<think>b", "b", "the wrong way round"),
        ("", "", "empty"),
    ],
)
def test_reasoning(text, expected, reason):
    assert reasoning(text) == expected, reason


def test_languages_of_rows():
    texts = ["<think>so 好</think>", "<think>so</think>", "<think>so</think>"]
    assert language_consistency_reward(texts) == [0.5, 1.0, 1.0], "English unless told otherwise"
    assert language_consistency_reward(texts, language="zh") == [0.5, 0.0, 0.0]
    assert language_consistency_reward(texts, language=["zh", None, "en"]) == [0.5, None, 1.0]
    assert language_consistency_reward(texts, language=None) == [None] * 3
    assert language_consistency_reward([], language=[]) == []


def test_called_as_trl_does():
    completions = [[{"role": "assistant", "content": "so 好</think>"}], "so</think>"]
    others = {"prompts": ["p"] * 2, "completion_ids": [[1]] * 2, "trainer_state": object(), "nums": [[1]] * 2}
    assert language_consistency_reward(completions=completions, prefill=["<think>", None], **others) == [0.5, 1.0]


@pytest.mark.parametrize("language", ["fr", "English", "EN", "", ["en", "xx"], [None, 5]])
def test_a_language_that_is_not_supported(language):
    with pytest.raises(ValueError, match="is not one of en, zh"):
        language_consistency_reward(["a", "b"], language=language)


def test_as_many_languages_as_rows():
    with pytest.raises(ValueError, match="zip"):
        language_consistency_reward(["a", "b"], language=["en"])


PARTS = [
    "so",
    "the",
    "x",
    "好",
    "先试",
    "voilà",
    "это",
    "か",
    "。",
    "αβγ",
    "12",
    " ",
    "\n",
    "`",
    "```",
    "$",
    "$$",
    "\\(",
]
PARTS += ["\\)", "\\frac", "<think>", "</think>", "<answer>", "</answer>", "<b>", "<", "https://", "’", "\ud800", "🤔"]


@given(st.text() | st.lists(st.sampled_from(PARTS)).map("".join))
def test_any_text_gets_a_share(text):
    english, chinese = (language_consistency_reward([text], language=code)[0] for code in ("en", "zh"))
    assert 0 <= english <= 1 and 0 <= chinese <= 1
    if any(character.isascii() and character.isalnum() for character in reasoning(text)):
        assert english + chinese <= 1 or english == chinese == 1, "no word is of two languages"


@given(st.lists(st.sampled_from(["so", "the", "know"]), min_size=1), st.text(alphabet="先试一好", min_size=1))
def test_share_is_words_by_words(english, chinese):
    text = "<think>" + " ".join([*english, chinese]) + "</think>"
    expected = len(english) / (len(english) + len(chinese))
    assert language_consistency_reward([text]) == pytest.approx([expected])
    assert language_consistency_reward([text], language="zh") == pytest.approx([1 - expected])


# Each would take minutes with quadratic work: (what is repeated, share of English, share of Chinese)
MEGABYTES = [
    ("the ", 1, 0),
    ("好", 0, 1),
    ("the 好 ", 0.5, 0.5),
    ("é a ", 0, 0),
    (" ", 0, 0),
    (":", 0, 0),
    ("`", 0, 0),
    ("`\n", 0, 0),
    ("```a", 1, 1),
    ("$", 0, 0),
    ("\\(", 0, 0),
    ("\\", 0, 0),
    ("<a", 1, 1),
    ("://", 0, 0),
    ("\ud800", 0, 0),
    ("<think>", 1, 0),  # tags after the cap are text
]


@pytest.mark.parametrize("part, english, chinese", MEGABYTES, ids=[ascii(part) for part, *_ in MEGABYTES])
def test_megabytes(part, english, chinese):
    text = "<think>" + part * (MEGABYTE // len(part))
    assert language_consistency_reward([text, text], language=["en", "zh"]) == [english, chinese]


def test_spans_after_the_cap_are_text():
    text = "<think>好" + "`so` " * (MAX_SPANS + 3)
    assert language_consistency_reward([text], language="zh") == [1 / 4]
