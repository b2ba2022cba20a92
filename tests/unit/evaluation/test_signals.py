"""What `read_signals` sees in texts: tables of (text, expected, reason), then real traces, hostile and any texts."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import MEGABYTE, table

from mini_r1 import tasks
from mini_r1.evaluation.signals import BEHAVIOURS, LOOP_COPIES, SHORTEST, Signals, read_signals
from mini_r1.rewards.language import words_by_script

# (text, verification, backtracking, alternatives and summary counts, reason)
REFLECTION = [
    ("", (0, 0, 0, 0), "nothing"),
    ("12 + 7 = 19, 19 * 2 = 38, 38 / 19", (0, 0, 0, 0), "numbers alone"),
    ("We add 3 and 4, so it is 7. Next, we divide.", (0, 0, 0, 0), "plain reasoning"),
    ("Wait, 3 + 4 is 7. Let me check: yes.", (1, 1, 0, 0), "one of each"),
    ("WAIT. Hold on! hang on", (0, 3, 0, 0), "case does not matter"),
    ("wait wait wait", (0, 3, 0, 0), "one after the other"),
    ("Wait a minute", (0, 1, 0, 0), "the longest phrase, and each place once"),
    ("waiter, awaits, waiting, paychecks, checkers, thusly", (0, 0, 0, 0), "whole words"),
    ('(wait) *check* "however" don\'t-check', (2, 1, 1, 0), "any other character ends a word"),
    ("Wait only 5? Wait to see", (0, 1, 0, 0), "the words behind it are whole, too"),
    ("You wait for 5 minutes, they wait until noon, wait 10 days", (0, 0, 0, 0), "waiting in a story"),
    ("Check out at 5; a check for $50", (0, 0, 0, 0), "checks in a story"),
    ("double-check, recheck, check again, verify", (4, 0, 0, 0), "verification"),
    ("Is that right? Make sure; to be sure, confirm it.", (4, 0, 0, 0), "verification in phrases"),
    ("That's wrong, it doesn't work; a mistake", (0, 3, 0, 0), "backtracking"),
    ("That’s not right, it won’t work", (0, 2, 0, 0), "typographic apostrophes"),
    ("Actually, go back and start over. Rethink!", (0, 4, 0, 0), "more of it"),
    ("They go back home", (0, 0, 0, 0), "going back in a story"),
    ("Alternatively, another way: what if 3? On the other hand", (0, 0, 4, 0), "alternatives"),
    ("Try 5 instead. Let me try again. However, 4", (0, 0, 3, 0), "let me try again is two words for one place"),
    ("5 instead of 4, however many", (0, 0, 0, 0), "no alternatives"),
    ("So far 5; in summary, therefore 6. To conclude, putting it all together", (0, 0, 0, 5), "summary"),
    ("等等，这样不对。让我检查一下，或者换一种方法。因此是三，总之", (1, 2, 2, 2), "Chinese"),
    ("再检查一遍", (1, 0, 0, 0), "the longest Chinese phrase"),
    ("苹果、梨等等", (0, 0, 0, 0), "and so on"),
    ("wait等等 check检查", (2, 2, 0, 0), "both without blanks between"),
    # The traces of tiny runs
    ("<think>\n1 - 8 fails\nNext: 1 + 8 = 9, want 9: yes\n</think>", (2, 0, 1, 0), "a tiny Countdown trace"),
    (
        "\n1 + 2 = 3, want 4: no\nNext: 1 * 2 = 2, want 4: no\nI give up and guess.\n",
        (2, 0, 1, 0),
        "giving up is nothing",
    ),
    ("\n11 * 1 = 11\nNext: 20 - 11 = 9\nDone.\n", (0, 0, 0, 0), "in GSM8K it is the next step"),
    (
        " Mia says that Leo is a knave: Leo knight, no; Mia knight, fails\nNext: Mia knave, then",
        (1, 0, 1, 0),
        "a world",
    ),
    ("Next: it fails, as no glove fits me: no, yes", (0, 0, 0, 0), "the same words elsewhere in a line"),
]

WORDS = "The sum of the first two is far from what we want here and the third is no better than that. "
LINE = "So 3 + 4 = 7 is what we have.\n"
COUNTING = "".join(f"Try number {i}: {i} + {i + 3} = {2 * i + 3}, which is no good.\n" for i in range(40))
LONG_LOOP = "First we add the two.\nThen we take the third away.\nThat leaves too much, and we begin anew.\n"

# (text, whether it is repetitive, reason)
REPETITIONS = [
    ("and " * 200, True, "a word"),
    ("<think>" + "and " * 25, True, "a word, in a short text"),
    (LINE * 20, True, "a line twenty times"),
    (WORDS * 6, True, "a sentence six times"),
    (LONG_LOOP * 8, True, "three lines in turn"),
    ("ha" * 100, True, "no blanks"),
    ("我们再试一次。" * 30, True, "Chinese"),
    (COUNTING + "and so on " * 100, True, "a loop at the end, to the cut"),
    ("no " * 300 + COUNTING, True, "a loop at the start"),
    (COUNTING[:1000] + LINE * 40 + COUNTING[1000:], True, "a loop in the middle"),
    ("".join(f"{LINE}{i}\n" for i in range(20)), True, "the same line, with others between"),
    ("", False, "nothing"),
    ("and " * (SHORTEST // 4 - 1), False, "below the shortest"),
    (WORDS * (LOOP_COPIES - 1), False, "one copy too few"),
    (COUNTING, False, "lines that differ in numbers"),
    (COUNTING + "and so on " * 20, False, "a loop that is a small part"),
    ("3" * 500, False, "digits"),
    (" + 1" * 200, False, "a sum"),
    ("-" * 500 + "\n|---|---|\n" * 30, False, "lines drawn"),
    (" \n" * 300, False, "blank"),
]

# (text, whether it mixes languages, reason)
MIXES = [
    ("Let us see what the sum of the two is 我们先试一试", True, "English and Chinese"),
    ("先试四十四加十九 so we have it right here 等于六十三", True, "Chinese with English in it"),
    ("мы сначала попробуем это число and then we add the other", True, "Russian and English"),
    ("먼저 두 수를 더해 보자 그리고 나서 and then we add the other", True, "Korean and English"),
    ("Let us see, 好的", False, "fewer than five words of Chinese"),
    (WORDS * 20 + "我们试一试", False, "five words among hundreds"),
    (WORDS * 20 + "我们先试一试这个数", True, "a sentence among hundreds"),
    ("先试四十四加十九等于六十三。", False, "Chinese alone"),
    (WORDS, False, "English alone"),
    ("Zoey是骑士，Oliver是无赖，Noah是骑士，Emma是骑士，Mia是无赖，Leo是骑士", False, "names"),
    (
        "由 $\\sin ab$ 和 `for word in words for word` 得 \\frac{1}{2} 这样就好了 <think> </think>",
        False,
        "code and LaTeX",
    ),
    ("déjà vu où est l'été à côté and then we add the other one", False, "French is in Latin letters"),
    ("so 2πr, Δx = αβ, θ ≈ 3 × 4 ÷ 2 → ok, that is what we want “here”", False, "signs of mathematics"),
    ("🤔" * 50 + WORDS, False, "emoji"),
]

# (text, whether the thinking was opened again, reason)
REOPENED = [
    ("<think>hm</think><answer>1</answer>", False, "the form asked for"),
    ("<think>hm<think>hm</think>", False, "opened twice, never again after its end"),
    ("<think>hm</think><think>hm</think><answer>1</answer>", True, "after its end"),
    ("<think>hm</think><answer>1</answer>\n<think>hm", True, "after the answer"),
    ("<answer>1</answer><think>hm</think>", True, "after an answer without thinking"),
    ("hm</think><answer>1</answer>", False, "never opened in the text"),
    ("<Think></think> <THINK>", False, "tags are case-sensitive"),
    ("", False, "nothing"),
]


@table("text, counts, reason", REFLECTION)
def test_behaviours(text, counts, reason):
    signals = read_signals(text)
    assert signals[:4] == counts, reason
    assert signals.reflection == sum(counts)


@table("text, repetitive, reason", REPETITIONS)
def test_repetition(text, repetitive, reason):
    assert read_signals(text).repetition is repetitive, reason


@table("text, mixed, reason", MIXES)
def test_mixed_languages(text, mixed, reason):
    assert read_signals(text).mixed_languages is mixed, reason


@table("text, reopened, reason", REOPENED)
def test_reopened_thinking(text, reopened, reason):
    assert read_signals(text).reopened_thinking is reopened, reason


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_every_word_counts_once_and_as_its_own(behaviour):
    for word in BEHAVIOURS[behaviour]:
        signals = read_signals(f"1, {word.capitalize()}.")
        assert (getattr(signals, behaviour), signals.reflection) == (1, 1), word


def test_no_word_is_listed_twice():
    words = [word for words in BEHAVIOURS.values() for word in words]
    assert len(set(words)) == len(words)
    assert words == [word.lower() for word in words]


SEARCHES = [
    ("countdown", {"count": [3, 4], "in_order": True}),
    ("knights_knaves", {"count": [2, 3, 4], "in_order": True, "plain": True}),
]


@pytest.mark.parametrize(("name", "settings"), SEARCHES)
def test_the_search_of_a_tiny_run_shows_and_is_no_loop(name, settings):
    task, rng = tasks.get(name), random.Random(0)
    tries, found = [], []
    for raw in task.generate(60, 0, **settings):
        text = "<think>" + "".join(piece for piece, _ in task.trace(task.parse_row(raw), rng))
        signals = read_signals(text)
        assert not (signals.repetition or signals.mixed_languages or signals.reopened_thinking)
        assert signals.backtracking == signals.summary == 0
        assert signals.verification > signals.alternatives
        tries.append(text.count("Next:"))
        found.append(signals.alternatives)
    assert found == tries and max(tries) > 5


def test_words_by_script():
    assert words_by_script("so Zoey 是 a `code` naïve ×") == (2, 1)
    assert words_by_script("これは so, αβγ") == (1, 4)


HOSTILE = [
    *(
        "wait",
        "w",
        " ",
        "\n",
        "a ",
        "so far ",
        "next:",
        ": no\n",
        "fails\nnext:",
        "等",
        "等等",
        "ab",
        "aab",
        "'",
        "İ",
        "`",
    ),
    *("<think>", "</think>", "</answer>", "\ud800", "\\(", "3", "3 + 4 = 7, ", "that's not ", "putting it all "),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_one_piece_over_and_over(piece):
    size = MEGABYTE // 4
    signals = read_signals(piece * (size // len(piece)))
    assert signals.repetition is any(map(str.isalpha, piece))
    words = {"so far ": 1, ": no\n": 1, "fails\nnext:": 1}.get(piece, 0) * (size // len(piece))
    assert words - 2 <= signals.reflection <= words + 1  # the ends of the text, and the first 等等


def test_pieces_within_pieces():
    """Texts that look like loops from most places, and are none."""
    text, other = "a", "b"
    while len(text) < MEGABYTE // 4:  # Thue-Morse: no piece of it three times in a row
        text, other = text + other, other + text
    assert not read_signals(text).repetition
    assert not read_signals("".join("a" * i + "b" for i in range(1200))).repetition


PIECES = [
    "wait",
    "check",
    "Next:",
    " fails\n",
    ": no\n",
    "等等",
    "因此",
    " ",
    "\n",
    "<think>",
    "</think>",
    "</answer>",
    "é",
    "я",
    "5",
    "İ",
]
TEXTS = st.text() | st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=60).map("".join)


@given(TEXTS, st.integers(1, 30))
def test_any_text(text, times):
    signals = read_signals(text * times)
    assert isinstance(signals, Signals)
    assert all(type(count) is int and count >= 0 for count in signals[:4])
    assert all(type(warning) is bool for warning in signals[4:])
    assert read_signals((text * times).upper()).verification >= 0


@given(st.text(alphabet="0123456789+-*/=., \n()", max_size=300), st.integers(1, 20))
def test_numbers_alone_show_nothing(text, times):
    assert read_signals(text * times) == (0, 0, 0, 0, False, False, False)
