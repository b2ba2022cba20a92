"""GSM8K: is the answer exactly one number, and is it the gold?"""

import re
import unicodedata
from fractions import Fraction
from numbers import Integral

from rewards.text import answer_block
from rewards.verdict import Verdict, reward_from

# Bounds the answer block, never the reasoning: a number, its unit and a few sentences around them.
ANSWER_CAP = 1_000
# Characters of one number. Below the least limit that Python can be given for int() on text, 640.
NUMBER_CAP = 100

_DECIMAL = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
_NUMBER = re.compile(_DECIMAL)
_GOLD = re.compile(rf"([-−]?)\$?([-−]?)({_DECIMAL})")
_DIGIT = re.compile(r"[0-9]")
_LETTER = r"[^\W\d_]"

# Every repetition is over one set of characters and what may follow it is outside that set, so nothing backtracks
# further than the token it is in. The last alternative takes any character: the tokens cover the whole block. The
# first lookahead in an alternative only saves time.
_TOKEN = re.compile(
    rf"""
      (?P<space>[ \t\r\n\f\v]+)
    | (?P<number>[0-9.,]+(?:[ ]?/[ ]?[0-9.,]+)?)
    | (?P<fraction>\\[dt]?frac\{{[0-9,]+\}}\{{[0-9,]+\}})
    | (?P<power_unit>(?=[cdfikmuy])(?:mm|cm|dm|km|m|inches|inch|in|feet|ft|yards|yd|miles|mi|meters|metres|units)
                     (?:\}}?\^\{{?[23]\}}?|[23²³])(?!\w))
    | (?P<currency>(?=[\\$A-Z])(?:\\?\$|(?:USD|US|EUR|GBP|INR|CAD|AUD|Rs\.?)(?!{_LETTER})))
    | (?P<word>{_LETTER}+(?:[_'’]{_LETTER}+)*)
    | (?P<markup>\*+|["'`(){{}}\[\]\#%]+|(?<!{_LETTER})_+|</?(?:b|i|p|br|em|strong|code|span|div)[ ]?/?>
                 |\^\{{?\\circ\}}?|\\[()\[\]{{}},;:!%\# \\]|(?<![\w)\]}}%+\-−–])\+(?=\$?[0-9.])
                 |\\(?:boxed|fbox|text|textbf|textrm|mathrm|mathbf|left|right|displaystyle|quad|qquad)(?![A-Za-z]))
    | (?P<sign>(?<![\w)\]}}%+\-−–—])[-−–](?!\s))
    | (?P<dash>[-−–—/])
    | (?P<stop>[;:=])
    | (?P<bang>!(?!=))
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SMALL = _words(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
# Words that spoil an answer wherever they stand: negation, hedging, a choice, a number or a sum in words.
_SPOILS = _words(
    "not no isnt wasnt arent cannot never neither nor none incorrect wrong false untrue anything unknown unsure "
    "uncertain undefined or either maybe perhaps possibly probably presumably likely might guess guessing estimate "
    "estimated approximately approx roughly circa nearly almost plus doubled tripled squared cubed root factorial "
    "zero twenty thirty forty fourty fifty sixty seventy eighty ninety hundred hundreds thousand thousands million "
    "millions billion billions trillion trillions lakh lakhs crore crores"
)
# Words that spoil the number they stand before: a bound, or something done to the number.
_SPOILS_NEXT = _SMALL | _words(
    "about around over under above below beyond exceeds exceeding than between near close up next but except excluding "
    "unlike instead half twice thrice double triple quadruple times square cube third quarter fourth fifth sixth "
    "seventh eighth ninth tenth hundredth divided multiplied dozen"
)
# Words that the look back from a number passes over, as in "half of the 72".
_PASSED_OVER = _words("a an the of to by only just exactly")
# Words that spoil the number they stand behind: 72 point five, 7 two, 72 bn, 72-ish, 7 tenths.
_SPOILS_LAST = _SMALL | _words(
    "point half halves thirds fourths fifths sixths sevenths eighths ninths tenths hundredths thousandths bn mn mil "
    "mio mln grand ish pi π ⁿ"
)
_SPOILS_LAST_LETTER = _words("k K M b B T x X y z n i e")  # with their case: 72 m is a length, 72 M millions
_SPOILS_AFTER_AND = _SMALL | _words("a an half")  # 72 and a half
_SIGN_WORDS = _words("minus negative")
_SYMBOLS = frozenset("°℃℉㎡✓✔✅")
_NOT_PUNCTUATION = frozenset("‰‱·‧⁓⁇⁈⁉？؟٫٬⁒")


def parse_gold(answer: str | int) -> Fraction:
    """The exact value of a gold answer: digits, thousands commas in threes, a decimal part, a minus, a leading `$`.

    Of a raw rationale, the text after the last `####` counts. An integer is its own value.

    Raises:
        ValueError: where that is not one such number of at most `NUMBER_CAP` characters.

    Example: `parse_gold("She has 1000 + 234 = 1,234 eggs.\\n#### 1,234")` is `Fraction(1234)`.
    """
    if isinstance(answer, str):
        final = answer.rpartition("####")[2].strip()
        match = _GOLD.fullmatch(final) if len(final) <= NUMBER_CAP else None
        if match and not (match[1] and match[2]):
            value = Fraction(_value(match[3]))
            return -value if match[1] or match[2] else value
        answer = final[:NUMBER_CAP]
    elif isinstance(answer, Integral) and not isinstance(answer, bool):
        return Fraction(int(answer))
    raise ValueError(f"a gold answer must be one number such as 72, 1,234, -5 or 2.50, not {answer!r}")


def _value(number: str) -> Fraction | int:
    whole, _, decimals = number.replace(",", "").partition(".")
    if not decimals:
        return int(whole)
    return Fraction(int(whole + decimals), 10 ** len(decimals))  # Fraction(text) is several times slower


def _read(token: str) -> Fraction | int | None:
    """The value of a number or a simple fraction; None where it is malformed, or divides by zero."""
    if len(token) > NUMBER_CAP:
        return None
    if token[0] == "\\":  # \frac{1}{2}
        token = token[token.index("{") + 1 : -1].replace("}{", "/")
    top, slash, bottom = token.replace(" ", "").partition("/")
    if not _NUMBER.fullmatch(top):
        return None
    if not slash:
        return _value(top)
    if "." in top or "." in bottom or not _NUMBER.fullmatch(bottom):
        return None
    denominator = _value(bottom)
    return Fraction(_value(top), denominator) if denominator else None


def _same_again(gap: str) -> bool:
    """Whether a number that comes twice is said again, as in `72 = 72.0`, rather than `7 7`, `7*7` or `7, 7`."""
    again = "=" in gap or "\n" in gap or ". " in gap or (" (" in gap and "*" not in gap)
    return again and "+" not in gap


def _is_gold(block: str, gold: Fraction) -> bool:
    """Whether the one number of `block` is `gold`, and nothing around it makes it another. One pass."""
    block = block.replace("{,}", ",").replace(",\\!", ",")  # thousands commas in LaTeX
    seen = -1  # where the last number ended; below 0: none yet
    sign = ""  # "-" a sign that touches what follows, "minus" the word, "?" a dash or slash that is no clear sign
    before = ""  # the last word, to look back from a number
    after = ""  # "number" or "and": what the next word follows directly
    word_end = -1
    for token in _TOKEN.finditer(block):
        kind, text, start = token.lastgroup, token[0], token.start()
        if kind == "number" and not text.strip(".,"):
            kind = "stop"
        if kind == "other":
            kind = _kind_of(text, block[start - 1 : start])
        if kind in {"number", "fraction"}:
            number = text.rstrip(".,")
            value = _read(number)
            if value is None or start == word_end or sign == "?" or before in _SPOILS_NEXT:
                return False
            if (-value if sign else value) != gold:
                return False
            if seen >= 0 and not _same_again(block[seen:start]):
                return False
            seen = start + len(number)
            sign, before, after = "", "", "number" if number == text else ""
        elif kind == "space" or kind == "stop":
            if sign == "minus" and kind == "stop":
                return False
            if sign == "-":
                sign = "?"
            if kind == "stop" or "\n" in text:
                before = after = ""
        elif kind == "word":
            word, word_end = text.lower(), token.end()
            if word in _SPOILS or word.endswith(("n't", "n’t")) or sign == "minus":
                return False
            if word in {"least", "most"} and before == "at":
                return False
            if not word.isascii() and any(character.isnumeric() for character in word):
                return False
            if after == "number" and (word in _SPOILS_LAST or text in _SPOILS_LAST_LETTER):
                return False
            if after == "and" and word in _SPOILS_AFTER_AND:
                return False
            after = "and" if after == "number" and word == "and" else ""
            if word in _SIGN_WORDS:
                if sign:
                    return False
                sign = "minus"
            else:
                sign = ""
                if word not in _PASSED_OVER:
                    before = "" if word == "up" and before.startswith(("add", "sum", "com")) else word
        elif kind == "sign" or kind == "dash":
            if sign:
                return False
            sign = "-" if kind == "sign" else "?"
        elif kind == "power_unit":
            if after != "number":
                return False
            after, word_end = "", token.end()
        elif kind == "bang":
            if after:
                return False
        elif kind == "wrong":
            return False
    return seen >= 0 and sign != "minus"


def _kind_of(character: str, previous: str) -> str:
    """The kind of a character outside the token table."""
    category = unicodedata.category(character)
    if character.isascii() or character in _NOT_PUNCTUATION:
        return "wrong"
    if category == "Zs":
        return "space"
    if category == "Pd":
        return "dash"
    if category == "Sc":
        return "currency"
    if category[0] == "P":
        return "stop"
    # A mark may join a letter, but over a digit it makes another sign.
    if character in _SYMBOLS or (category[0] == "M" and not previous.isdigit()):
        return "markup"
    return "wrong"


def number_verdict(text: str, answer: str | int) -> Verdict | None:
    r"""Correct where the answer holds exactly one number and that equals the gold `answer` exactly (no floats).

    The same number (gold 72):  `72` `072` `72.` `72.0` `+72` `144/2` `\frac{144}{2}` `$72` `72 €` `USD 72` `72%`
        `72 km/h` `72km` `72 m^2` `72 cm2` `72 dozen` `72nd` `\boxed{72}` `$72$` `**72**` `#### 72` `<b>72</b>`
        `x = 72` `It adds up to 72 eggs!` `72 more than Ann`; gold 1234: `1,234` `1{,}234`
    The sign:                   `-72` `−72` `–72` `-$72` `$-72` `-\boxed{72}` `minus 72` `negative 72` are -72; a dash
        with a blank behind it, an em dash or a word's dash before a number (`- 72`, `—72`, `A-72`) is neither: wrong
    The same number again:      `72 = 72.0`, `$72 (72 dollars)`, `72. So 72`, or on another line is right; `72 72`,
        `72, 72`, `72 and 72`, `72*72` is wrong, as that may be a list, a product or split digits
    More than one number:       `7 2`, `7 and 2`, `1 234`, `72-73`, `72 or 73`, `6*12=72`, `1 1/2`, `12:30`, `Day 3: 72`
    No such number:             `12,34` `1.234,00` `72e0` `0x48` `A72` `1/0` `1/-2` `1.5/3` `1/2/3` `72^1` `72²` `½`
        `√72` `72!` `72+`, other alphabets' digits, more than `NUMBER_CAP` characters
    Words that spoil it:        negation (`not`, `isn't`), hedges (`maybe`, `or`, `?`, `~`), bounds (`over 72`,
        `at least 72`, `more than 72`), arithmetic (`half of 72`, `twice 72`; but `72 times` is fine), scale (`72k`,
        `72 thousand`, whatever the gold), numbers in words where they touch it or are above nineteen
    Other characters:           control and zero-width characters, mathematical signs, unknown LaTeX commands and tags

    Words are judged in English only. Unparseable where there is no answer block, or no digit in it; wrong where it
    has more than `ANSWER_CAP` characters. None where the gold is unusable, see `parse_gold`.

    Example:
        >>> completions = ["hm</think><answer>$1,234.00</answer>", "hm</think><answer>12 or 34</answer>"]
        >>> number_reward(completions, prefill=["<think>"] * 2, answer=["1,234", "34"])
        [1.0, 0.0]
    """
    try:
        gold = parse_gold(answer)
    except ValueError:
        return None
    block = answer_block(text)
    if block is None:
        return Verdict.UNPARSEABLE
    if len(block) > ANSWER_CAP:
        return Verdict.WRONG
    if not _DIGIT.search(block) and (block.isascii() or not any(character.isnumeric() for character in block)):
        return Verdict.UNPARSEABLE
    return Verdict.CORRECT if _is_gold(block, gold) else Verdict.WRONG


number_reward = reward_from("number_reward", number_verdict)
