"""Verifies GSM8K answers: exactly one number, equal to the gold."""

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from numbers import Integral

from mini_r1.rewards.text import answer_block
from mini_r1.rewards.verdict import Verdict, reward_from
from mini_r1.rewards.wording import listed, short, short_number, too_long

# Bounds the answer block, never the reasoning: a number, its unit and a few sentences around them.
ANSWER_CAP = 1_000
# Characters of one number. Below the least limit that Python can be given for int() on text, 640.
NUMBER_CAP = 100

_DECIMAL = r"(?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
_NUMBER = re.compile(_DECIMAL)
_GOLD = re.compile(rf"([-−]?)\$?([-−]?)({_DECIMAL})")
_DIGIT = re.compile(r"[0-9]")
_LETTER = r"[^\W\d_]"

# Every repetition is over one set of characters, and what may follow it is outside that set, so nothing backtracks
# further than its token. The last alternative takes any character, so the tokens cover the whole block. The first
# lookahead in an alternative only saves time.
_TOKEN = re.compile(
    rf"""
      (?P<space>[ \t\r\n\f\v]+)
    | (?P<number>[0-9.,]+(?:[ ]?/[ ]?[0-9.,]+)?)
    | (?P<fraction>\\[dt]?frac[ ]?\{{[ ]?[0-9,]+[ ]?\}}[ ]?\{{[ ]?[0-9,]+[ ]?\}})
    | (?P<power_unit>(?=[cdfikmuy])(?:mm|cm|dm|km|m|inches|inch|in|feet|ft|yards|yd|miles|mi|meters|metres|units)
                     (?:\}}?\^\{{?[23]\}}?|[23²³])(?!\w))
    | (?P<currency>(?=[\\$A-Z])(?:\\?\$|(?:USD|US|EUR|GBP|INR|CAD|AUD|Rs\.?)(?!{_LETTER})))
    | (?P<word>{_LETTER}+(?:[_'’]{_LETTER}+|&[A-Za-z]s?(?![A-Za-z;]))*|(?<=[ ])&(?=[ ]))
    | (?P<markup>\*+|["'`(){{}}\[\]\#%]+|(?<!{_LETTER})_+|</?(?:b|i|p|br|em|strong|code|span|div)[ ]?/?>
                 |\^\{{?\\circ\}}?|\\[()\[\]{{}},;:!%\# \\]|(?<![\w)\]}}%+\-−–])\+(?=\$?[0-9.])
                 |\\(?:boxed|fbox|text(?:bf|rm)?|math(?:rm|bf)|left|right|displaystyle|q?quad|underline|degree)(?![A-Za-z])
                 |(?<=[0-9])~(?=\\(?:text|mathrm)\{{))
    | (?P<arrow>--?>|=>|[→⇒⟹]|\\(?:therefore|to|implies|[Rr]ightarrow)(?![A-Za-z]))
    | (?P<sign>(?<![\w)\]}}%+\-−–—])[-−–](?!\s))
    | (?P<dash>[-−–—/])
    | (?P<stop>[;:=])
    | (?P<bang>!+(?!=))
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


_JOINED = re.compile(rf"-({_LETTER}{{2,}})")  # makes a T-shirt of T, a one-dollar bill of one
_PLAIN_WORD = re.compile(r"(?<![\\</A-Za-z])[A-Za-z]+")
_SYMBOLS = frozenset("°℃℉㎡✓✔✅")
_NOT_PUNCTUATION = frozenset("‰‱·‧⁓⁇⁈⁉？؟٫٬⁒")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# English words around a number that make it another number, or no answer at all.
SMALL = _words(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
# Words that spoil an answer anywhere: negation, hedging, a choice, a number or a sum in words.
SPOILS = _words(
    "not no isnt wasnt arent cannot never neither nor none incorrect wrong false untrue anything unknown unsure "
    "uncertain undefined impossible doubt hardly or either maybe perhaps possibly probably presumably likely "
    "might guess guessing estimate estimated approximately approx roughly circa nearly almost plus doubled tripled "
    "squared cubed root sqrt reciprocal inverse factorial zero twenty thirty forty fourty fifty sixty seventy eighty "
    "ninety hundred hundreds thousand thousands million millions billion billions trillion trillions lakh lakhs crore"
)
FRACTIONS = "half halves thirds fourths fifths sixths sevenths eighths ninths tenths hundredths thousandths "
# Words that spoil the number after them: a bound, or something done to the number.
SPOILS_NEXT = SMALL | _words(
    FRACTIONS + "about around over under above below beyond exceeds exceeding than between near close next but except "
    "excluding unlike instead twice thrice double triple quadruple times square cube third quarter quarters fourth "
    "fifth sixth seventh eighth ninth tenth hundredth divided multiplied dozen percent cent minimum maximum upwards log"
)
# Words that the look back from a number passes over, as in "half of the 72".
PASSED_OVER = _words("a an the of to by only just exactly as much many her his its my our their this that these those")
BOUNDS = {("at", "least"), ("at", "most"), ("in", "excess")}
OPEN = _words("of than by as")  # no line break or colon after these ends the look back; no comma after SMALL
# Words that spoil the number before them: 72 point five, 7 two, 72 bn, 72-ish, 7 tenths.
SPOILS_LAST = SMALL | _words(FRACTIONS + "point halved bn mn mil mio mln grand ish pi π ⁿ")
SPOILS_LAST_LETTER = _words("k K M b B T x X y z n i e")  # with their case: 72 m is a length, 72 M millions
SPOILS_AFTER_AND = SMALL | _words("half quarter quarters dozen")  # 72 dollars and a half, 72 and two
DONE_BY = _words("times less divided multiplied increased decreased reduced added")  # and a number in words
# Before a hyphen and a word these are part of a thing, a T-shirt or a one-dollar bill, unless one of the second list
# follows: two-thirds.
MAY_BE_JOINED = SMALL | _words("T x X y z n i e")
NEVER_JOINED = SMALL | _words(FRACTIONS + "third quarter quarters fourth fifth eighth tenth dozen fold")
HELPING = _words("do did have had were")  # 72 students do not play
NEW_SUBJECT = _words("i we you it he she they is was are be equals")  # 72 I do not believe, 72 is what they don't
PREPOSITIONS = _words("for in on after from of per at with each every within to through during by over")
SIGN_WORDS = _words("minus negative neg")
JOINS = _words("and times over less into by from of than per another x")  # 72 and 72: a list or a product


def parse_gold(answer: str | int) -> Fraction:
    """The exact value of a gold answer: digits, thousands commas in threes, a decimal part, a minus, a leading `$`.

    A raw rationale counts from its last `####` on. An integer is its own value.

    Raises:
        ValueError: where the answer is not one such number of at most `NUMBER_CAP` characters.

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
    token = token.replace(" ", "").replace("}{", "/").rstrip("}")
    top, slash, bottom = token.rpartition("{")[2].partition("/")  # of \frac{1}{2} too
    if not _NUMBER.fullmatch(top):
        return None
    if not slash:
        return _value(top)
    if "." in top or "." in bottom or not _NUMBER.fullmatch(bottom) or not _value(bottom):
        return None
    return Fraction(_value(top), _value(bottom))


def _same_again(gap: str) -> bool:
    """Whether a repeated number is the same number again, as in `72 = 72.0`, not another as in `7 7`, `7*7`, `7, 7`."""
    words = _PLAIN_WORD.findall(gap.rpartition("=")[2].rpartition(". ")[2])
    if "+" in gap or "&" in gap or (words and words[-1].lower() in JOINS):
        return False
    if "=" in gap or "\n" in gap or ". " in gap:
        return True
    boxed = "\\boxed" in gap and "}" not in gap  # \boxed{7}\boxed{7} may be 77
    return "*" not in gap and (boxed or " (" in gap or "####" in gap or "answer" in gap.lower())


class _Reader:
    """Reads an answer block in one pass. A method reads a token of one kind and says whether it spoils the answer."""

    def __init__(self, block: str, gold: Fraction):
        self.block, self.gold = block.replace("{,}", ",").replace(",\\!", ","), gold  # thousands commas in LaTeX
        self.seen = -1  # where the last number ended; below 0: none yet
        self.sign = ""  # "-" a sign that touches what follows, "minus" the word, "?" a dash or slash, no clear sign
        self.before = self.last = ""  # the last word that is not passed over, and the last of all
        self.after = ""  # what the next word follows: "number", its "unit", a "clause", "helping", "number and", "and"
        self.word_end = -1
        self.spoilt_by = ""  # the token that is_gold stopped at

    def is_gold(self) -> bool:
        for token in _TOKEN.finditer(self.block):
            kind, text, start = token.lastgroup, token[0], token.start()
            if kind == "number" and not text.strip(".,"):
                kind = "stop"
            elif kind == "other":
                kind = _kind_of(text, self.block[start - 1 : start])
            if kind == "space" or kind == "stop":
                spoils = kind == "stop" and self.sign == "minus"
                self.sign = "?" if self.sign == "-" else self.sign
                if kind == "stop" or "\n" in text:
                    self.after = ""
                    if text == "." or self.last not in (SMALL if text in {",", ";"} else OPEN):
                        self.before = self.last = ""
            elif kind == "word":
                spoils = self.word(text, start)
            elif kind == "number" or kind == "fraction":
                spoils = self.number(text, start)
            elif kind == "sign" or kind == "dash":
                spoils = bool(self.sign)
                self.sign = "-" if kind == "sign" else "?"
            elif kind == "power_unit":
                spoils = self.after != "number"
                self.after, self.word_end = "unit", token.end()
            elif kind == "bang":  # after a word it ends a sentence; 72! and !72 are other numbers
                spoils = self.after == "number" or (self.seen < 0 and start != self.word_end)
            else:
                spoils = kind == "wrong" or (kind == "arrow" and self.seen >= 0)
            if spoils:
                self.spoilt_by = text
                return False
        return self.seen >= 0 and not self.sign

    def number(self, text: str, start: int) -> bool:
        """A number spoils the answer where it is not the gold, or not plainly the same number said again."""
        number = text.rstrip(".,")
        value = _read(number)
        if value is None or start == self.word_end or self.sign == "?" or self.before in SPOILS_NEXT:
            return True
        value = -value if self.sign else value
        good = value == self.gold and (self.seen < 0 or _same_again(self.block[self.seen : start]))
        self.seen, self.after = start + len(number), "number" if number == text else ""
        self.sign = self.before = self.last = ""
        return not good

    def word(self, text: str, start: int) -> bool:
        """A word spoils the answer by itself or by what stands before it, or it spoils the number that comes next."""
        word = "and" if text == "&" else text.lower()
        adjacent = start == self.word_end + 1
        self.word_end = start + len(text)
        if (word in SPOILS or word.endswith(("n't", "n’t"))) and not self.spared(word, adjacent):
            return True
        if (self.before, word) in BOUNDS or (not word.isascii() and any(map(str.isnumeric, word))):
            return True
        done = self.seen >= 0 and self.before in DONE_BY and word in SMALL
        signs = self.sign == "minus" or (self.sign and word in SIGN_WORDS)
        if done or signs or (self.after and self.spoils_behind(word, text, adjacent)):
            return True
        self.sign = "minus" if word in SIGN_WORDS else ""
        if word == "up":
            self.before = "" if self.before.startswith(("add", "sum", "com", "went")) else word
        elif word == "to" and self.before == "up":
            self.before = "over"
        elif word not in PASSED_OVER and not self.sign:
            self.before = "" if word == "percent" and self.seen >= 0 else word
        self.last = word
        return False

    def spared(self, word: str, adjacent: bool) -> bool:
        """Whether a negation does not negate the number: "No. of eggs: 72", "72 students do not play"."""
        if word == "no":
            return self.block.startswith(". of ", self.word_end)
        helped = word[:-3] in HELPING and self.after in {"unit", "clause"}  # 72 students don't play
        return adjacent and (helped or (word == "not" and self.after == "helping"))

    def spoils_behind(self, word: str, text: str, adjacent: bool) -> bool:
        """Whether a word after the number changes it (72 million, 72 feet six inches); keeps `after` up to date."""
        after, joined = self.after, _JOINED.match(self.block, self.word_end)
        whole = not (joined and joined[1].lower() not in NEVER_JOINED and (word in SMALL or text in MAY_BE_JOINED))
        if after == "number":
            self.after = "number and" if word == "and" else "" if word in NEW_SUBJECT else "unit"
            return whole and (word in SPOILS_LAST or text in SPOILS_LAST_LETTER)
        if after == "number and" or after == "and":
            self.after = after if word in {"a", "an", "another", "then"} else "clause"
            return word in SPOILS_AFTER_AND or (after == "number and" and word in {"a", "an"})
        helping = adjacent and word in HELPING
        self.after = "and" if word == "and" else "" if word in NEW_SUBJECT else "helping" if helping else "clause"
        return whole and after == "unit" and word in SMALL and self.last not in PREPOSITIONS


def _kind_of(character: str, previous: str) -> str:
    """The kind of a character outside the token table."""
    category = unicodedata.category(character)
    if character.isascii() or character in _NOT_PUNCTUATION:
        return "wrong"
    kind = {"Zs": "space", "Pd": "dash", "Sc": "currency"}.get(category)
    if kind or category[0] == "P":
        return kind or "stop"
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
        with a blank after it, an em dash or a word's dash before a number (`- 72`, `—72`, `A-72`) is neither: wrong
    The same number again:      `72 = 72.0`, `$72 (72 dollars)`, `72. So 72`, `72 \boxed{72}`, or on another line is
        right; `72 72`, `72, 72`, `72 and 72`, `72*72` is wrong, as that may be a list, a product or split digits
    More than one number:       `7 2`, `7 and 2`, `1 234`, `72-73`, `72 or 73`, `6*12=72`, `1 1/2`, `12:30`, `Day 3: 72`
    No such number:             `12,34` `1.234,00` `72e0` `0x48` `A72` `1/0` `1/-2` `1.5/3` `1/2/3` `72^1` `72²` `½`
        `√72` `72!` `!72` `72+` `72-`, other alphabets' digits, more than `NUMBER_CAP` characters
    Words that spoil it:        negation (`not`), hedges (`maybe`, `or`, `?`), bounds (`over 72`, `up to 72`), sums
        (`half of her 72`, `72 times two`), scale (`72k`), words for numbers: over nineteen, at it or its unit (`72 feet
        six inches`). Fine: `72 times`, `72 one-dollar bills`, `72 boys don't play`, `It went up by 72`
    Other characters:           control and zero-width characters, mathematical signs, unknown LaTeX commands and tags

    Only English words are judged. The verdict is unparseable where there is no answer block, or no digit in it, wrong
    where it has more than `ANSWER_CAP` characters, and None where the gold is unusable, see `parse_gold`.

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
    return Verdict.CORRECT if _Reader(block, gold).is_gold() else Verdict.WRONG


number_reward = reward_from("number_reward", number_verdict)


def number_vote(text: str, answer: str | int) -> str | None:
    """The number that the answer gives, as a whole number or a fraction in lowest terms: "72" for `$72.0`, "5/2".

    None where there is no answer block, where the answer is not plainly one number (`71 or 72`, `about 72`), and where
    it has more characters than the cap. The gold `answer` does not matter: even a problem with an unusable gold has
    votes.
    """
    block = answer_block(text)
    value = None if block is None else read_number(block)
    return None if value is None else str(value)


def read_number(block: str) -> Fraction | None:
    """The one number that an answer block gives by the rules of `number_verdict`; None where it is not plainly one.

    Example: `read_number("It is $1,234.50.")` is `Fraction(2469, 2)`, `read_number("7 or 8")` is None.
    """
    if len(block) > ANSWER_CAP:
        return None
    value = first_number(block)
    if value is None:
        return None
    return next((Fraction(gold) for gold in (value, -value) if _Reader(block, gold).is_gold()), None)


def first_number(block: str) -> Fraction | None:
    """The first number in an answer block, without its sign; None where there is none, or it is malformed."""
    _, value = next(_numbers(block), ("", None))
    return None if value is None else Fraction(value)


def _numbers(block: str) -> Iterator[tuple[str, Fraction | int | None]]:
    """(text, value) of each number in an answer block, without its sign; the value is None where it is malformed."""
    for token in _TOKEN.finditer(_Reader(block, Fraction(0)).block):
        digits = token[0].rstrip(".,")
        if token.lastgroup in {"number", "fraction"} and digits:
            yield digits, _read(digits)


def number_reason(block: str, text: str, answer: str | int) -> str:
    """Why the answer block is right or wrong."""
    if fault := too_long(block, ANSWER_CAP):
        return fault
    gold = parse_gold(answer)
    value = read_number(block)
    if value == gold:
        return f"the answer is {short_number(gold)}"
    if value is not None:
        return f"it says {short_number(value)}, the answer is {short_number(gold)}"
    found: dict[str | int | Fraction, str] = {}  # value, or the text where it has none -> the first text of it
    for digits, number in _numbers(block):
        found.setdefault(digits if number is None else number, short(digits))
    if len(found) > 1:
        return f"{'two' if len(found) == 2 else len(found)} different numbers: {listed([*found.values()])}"
    if not found:
        return "there is no number in the answer"
    first = first_number(block)
    if first is None:
        return f"{short(block)} cannot be read as a number"
    # Reads for this very number, with both signs; the reader that gets further stops at the token to blame.
    readers = [_Reader(block, sign * first) for sign in (1, -1)]
    for reader in readers:
        reader.is_gold()
    spoilt_by = max(readers, key=lambda reader: reader.seen).spoilt_by.strip()
    because = f" (because of '{short(spoilt_by)}')" if spoilt_by.isalpha() else ""
    return f"it is not plainly one number: {short(block)}{because}"
