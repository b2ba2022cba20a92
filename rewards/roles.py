"""Verifies Knights and Knaves answers: every person's role, each once, as in the solution.

The verifier cuts the answer into tokens, each token becomes one letter that says what it is, and a grammar over these
letters has to cover all of them. So anything that the grammar does not know (not, or, probably, was, if, says, ?,
another person's name) spoils the answer, and no list of such words is needed.

An answer has optional lead-ins, then claims. Lead-ins:
    So    Therefore    In conclusion,    Conclusion:    Based on the analysis,    Answer:    The correct answer is:
    Here is the solution:    The roles are as follows:    Roles:    ### Final answer
Claims:
    Zoey is a knight    Zoey is knight    Zoey is also a knight    Zoey: a knight    Zoey: [knight]    Zoey (knight)
    Zoey - knight       (also – — = -> --> => →)
    Zoey is the knight    Zoey is the only knight    The knave is Noah    The only knave is Noah
    Zoey and Ethan are knights    Zoey and Ethan are both knights    Zoey, Ethan, and Noah are all knights
    Zoey and Ethan are also knights    The knights are Zoey and Ethan    There are no knaves
    Knights: Zoey, Ethan    Knight: Zoey, Ethan    Knaves: none    Knaves: (none)
    a heading "Knights:", "Knight:", or "Knights" on a line of its own, and under it lines of names or of "none"
A line break, one of , ; . and/or one of "and", "but", "while", "whereas" separates claims. A claim may begin with (1),
1. or 1), also in the middle of a line, and with - * • or # at the start of a line. The last one may end with "!".
Instead of claims an answer may have one JSON object of names and roles, also in a ```json fence, or a table of rows
| Zoey | knight |, with or without a header: Name, Person or Inhabitant over the names, then Role, Type or Identity.

Case, white space, `*`, `_` and backticks between words do not matter; ’ is an apostrophe. Nothing else is normalised:
a full-width or Cyrillic letter, a zero-width character or a decomposed accent makes another word.
"The knights ...", "Knights: ...", "... is the knight", "the only knight", "none" and "no" speak of all knights, and are
right only where they name all.

Not accepted, though some readers would: everyone and no one (a person is named or not answered for), "Zoey, Ethan is a
knave", "Zoey is a knight, Ethan a knave", "Zoey knight", "A knight is Zoey", "While Zoey is a knight, Ethan is a
knave", a list that seems to go on with the next claim ("Knights: Zoey, Ethan is a knave"), glosses ("a knight
(truth-teller)"), quoted claims, LaTeX.
"""

import re
from functools import lru_cache

from mini_r1.rewards.text import answer_block
from mini_r1.rewards.verdict import Verdict, reward_from
from mini_r1.rewards.wording import listed, short, times, too_long

# Bounds the answer block, never the reasoning. Room for 500 people at 40 characters each; puzzles have 2 to 8.
ANSWER_CAP = 20_000
ROLES = {"knight": "K", "knave": "V"}
ROLE_OF = {"K": "knight", "V": "knave"}

# Tokens of one mark. Any other token is a run of characters up to the next mark or white space.
# Line breaks and arrows have names in capitals, which lower-cased text never has; the longest arrow comes first.
_MARKS = {"\n": "NEWLINE"} | dict.fromkeys(("-->", "->", "=>", "→"), "ARROW")
_MARKS |= {mark: mark for mark in ',;.:=()|{}"•–—?!'}
_SPACED = tuple((mark, f" {token} ") for mark, token in _MARKS.items())
# Token -> letter. A known person's name becomes N, a token that is not listed becomes ?
_NUMBERS = {str(number): "1" for number in range(1, 1000)}
_WORDS = {
    **ROLES,
    **{"[knight]": "K", "[knave]": "V", "knights": "P", "knaves": "Q"},
    **{"is": "i", "are": "r", "a": "a", "the": "T", "and": "&", "&": "&", "both": "b", "all": "l", "none": "0"},
    **{"while": "w", "whereas": "w", "but": "w", "also": "e", "only": "o", "there": "t", "no": "n"},
    **{"so": "S", "therefore": "S", "thus": "S", "hence": "S", "final": "F", "answer": "W", "solution": "W"},
    **{"name": "H", "role": "G", "-": "-", "–": "-", "—": "-", "ARROW": ">", "NEWLINE": "\n"},
    **{mark: mark for mark in ',;.:=()|{}"•!'},
    **{"#" * level: "#" for level in range(1, 7)},
    **{"-" * length: "~" for length in range(2, 60)},  # the line under a table's header
}
# Words of lead-ins and table headers only, so that a name may have them: Person 1
_FRAME = {
    **{"in": "I", "conclusion": "C", "based": "B", "on": "O", "analysis": "Y", "here": "E", "correct": "F"},
    **{"roles": "R", "as": "A", "follows": "f", "json": "J"},
    **{"person": "H", "inhabitant": "H", "type": "G", "identity": "G"},
}
_KINDS = _FRAME | _WORDS | _NUMBERS
_OWN = frozenset(_WORDS) - {"."}
_ROLE_LETTERS = frozenset("KVPQ")

# The grammar. Every repetition is possessive, and no claim is part of a longer one, so nothing backtracks far.
_NUMBER = r"(?:\(1\)|1[.)])"
_LABEL = rf"(?:{_NUMBER}|(?<![^\n])[-•#])?+"
_LEAD = r"""\A \n*+ (?: [#]?+
    (?: (?: S | IC ) [,:]?+ | C (?: : | (?=\n) ) | BOTY , | T?+ F?+ W (?: i:?+ | : | (?=\n) )
    | E (?: i T?+ F?+ W | r T?+ R ) : | T?+ R (?: (?: r (?:Af)?+ )?+ : | (?=\n) )
    ) \n*+ )*+"""
_MORE = r"(?:(?:,&?+|&)N)"
_CLAIM = re.compile(
    rf"""(?: {_LEAD} | (?!\A) (?: (?: [.,;]\n*+ | \n++ ) (?: [&w]\n*+ )?+ | [&w]\n*+ | (?={_NUMBER}) ) ) {_LABEL}
    (?: N (?: ie?+ | [-:=>] ) a?+ ([KV])
    | ( N i T o?+ [KV]
    | N \( [KV] \)
    | N&N r b [PQ]
    | bN&N r [PQ]
    | N {_MORE}++ r [le]?+ T?+ [PQ]
    | T o?+ [KV] i :?+ N
    | t r n [PQ]
    | (?: T?+ [PQ] (?: r:?+ | : ) | (?<![^\n#•-]) [PQ] (?=\n) | [KV] : )
      (?: (?: \n++ {_LABEL} )?+ (?: 0 | \(0\) ) | N {_MORE}*+ | (?: \n++ {_LABEL} N {_MORE}*+ )++ )
    ))""",
    re.VERBOSE,
)
_END = re.compile(r"[.;!]?+\n*+")
_PAIR = '"N":"[KV]"'
_JSON_OR_TABLE = re.compile(
    rf"""{_LEAD}
    (?: (?: J\n++ )?+ \{{ \n*+ {_PAIR} (?: ,\n*+{_PAIR} )*+ \n*+ \}} \n*+
    | (?: \|H\|G\|\n \|[-~:]++\|[-~:]++\|\n )?+ (?: \|N\|a?+[KV]\| (?: \n++ | \Z ) )++
    )""",
    re.VERBOSE,
)


def _tokens(text: str) -> list[str]:
    """Lower-case tokens. The Kelvin sign becomes ?, since its lower case is a plain k; no other letter becomes a-z."""
    text = text.replace("\u212a", "?").lower().replace("’", "'")
    for mark, spaced in _SPACED:
        if mark in text:
            text = text.replace(mark, spaced)
    return text.replace("*", " ").replace("_", " ").replace("`", " ").split()


@lru_cache(maxsize=4096)  # all completions of a group have the same gold
def _gold_roles(names: tuple[str, ...], roles: tuple[str, ...]) -> dict[str, str] | None:
    """{name: K or V}, a name being its tokens joined by blanks; None where the gold is unusable."""
    if not set(roles) <= ROLES.keys():
        return None
    gold = {}
    for name, role in zip(names, roles, strict=True):
        tokens = _tokens(name)
        # The grammar must tell the name from its own tokens; but a full stop may be in it: Dr. Smith
        if not tokens or tokens[0] in _NUMBERS or tokens[0] == "." or not _OWN.isdisjoint(tokens):
            return None
        gold[" ".join(tokens)] = ROLES[role]
    # Without full stops, as "Bob." and "Bob" look the same at the end of a sentence.
    distinct = {name.replace(" .", "") for name in gold}
    return gold if len(distinct) == len(names) else None


def _join_names(tokens: list[str], gold: dict[str, str]) -> list[str]:
    """The tokens, with the tokens of each longer name joined to one, the longest name first."""
    lengths: dict[str, set[int]] = {}  # first token -> how many tokens such names have
    for name in gold:
        parts = name.split(" ")
        lengths.setdefault(parts[0], set()).add(len(parts))
    longest_first = {first: sorted(sizes, reverse=True) for first, sizes in lengths.items()}
    joined, start = [], 0
    while start < len(tokens):
        end = start + 1
        for size in longest_first.get(tokens[start], ()):
            if " ".join(tokens[start : start + size]) in gold:
                end = start + size
                break
        joined.append(tokens[start] if end == start + 1 else " ".join(tokens[start:end]))
        start = end
    return joined


def _read(answer: str, gold: dict[str, str]) -> tuple[list[str], str]:
    """The answer's tokens, a name being one, and the letter of each."""
    tokens = _tokens(answer)
    if " " in "".join(gold):
        tokens = _join_names(tokens, gold)
    return tokens, "".join(["N" if token in gold else _KINDS.get(token, "?") for token in tokens])


def _said_roles(kinds: str) -> list[str] | None:
    """The role, K or V, that the text gives to each N in turn.

    None where the grammar does not cover the whole text, or where the text speaks of all who have a role and gives that
    role to others, too.
    """
    if "{" in kinds or "|" in kinds:
        found = _JSON_OR_TABLE.fullmatch(kinds)
        return found and [kind for kind in kinds if kind in "KV"]
    said, totals, end = [], set(), 0
    while claim := _CLAIM.match(kinds, end):
        end = claim.end()
        role, longer = claim.groups()
        if role:
            said.append(role)
            continue
        role = "K" if "K" in longer or "P" in longer else "V"
        people = longer.count("N")
        if not people or "T" in longer or longer[0] in "PQ":
            totals.add((role, people))  # speaks of all who have this role
        said += [role] * people
    if any(said.count(role) != people for role, people in totals):
        return None
    return said if _END.fullmatch(kinds, end) else None


def roles_verdict(text: str, names: list[str], roles: list[str]) -> Verdict | None:
    """Correct where the answer names each of `names` once, with its role in `roles`, in the grammar above.

    The verdict is unparseable where there is no answer block, or where the block claims nothing: it names nobody of
    `names`, or has no word knight(s) or knave(s). Everything else is wrong: another or an incomplete solution, a person
    named twice, an unknown person, any word or mark outside the grammar, more than `ANSWER_CAP` characters.

    None where the gold is unusable: `names` and `roles` not lists (or tuples) of one length, nonempty, a role not
    exactly "knight" or "knave", names equal but for case or full stops, a blank name, and one that the grammar could
    not tell from its own words and marks: it begins with a number or has a token of the grammar ("A", "Sir Knight").

    Example:
        >>> completions = ["hm</think><answer>(1) Zoey is a knight\\n(2) Ethan is a knave</answer>"]
        >>> roles_reward(completions, prefill=["<think>"], names=[["Zoey", "Ethan"]], roles=[["knight", "knave"]])
        [1.0]
    """
    if not (isinstance(names, (list, tuple)) and isinstance(roles, (list, tuple)) and 0 < len(names) == len(roles)):
        return None
    if {*map(type, names), *map(type, roles)} != {str}:
        return None
    gold = _gold_roles(tuple(names), tuple(roles))
    if gold is None:
        return None
    answer = answer_block(text)
    if answer is None:
        return Verdict.UNPARSEABLE
    if len(answer) > ANSWER_CAP:
        return Verdict.WRONG
    tokens, kinds = _read(answer, gold)
    if "N" not in kinds or _ROLE_LETTERS.isdisjoint(kinds):
        return Verdict.UNPARSEABLE
    said = _said_roles(kinds)
    if said is None or len(said) != len(gold):
        return Verdict.WRONG
    people = [token for token in tokens if token in gold]
    return Verdict.CORRECT if dict(zip(people, said, strict=True)) == gold else Verdict.WRONG


roles_reward = reward_from("roles_reward", roles_verdict)


def roles_vote(text: str, names: list[str], roles: list[str]) -> str | None:
    """The roles that the answer gives, in the order of `names`: "Zoey is a knight, Noah is a knave".

    An answer that leaves people out votes for the roles it gives. None where there is no answer block, where the
    grammar does not cover the answer, where it gives nobody a role or one person two, or where the gold is unusable.
    """
    claims = read_roles(text, names, roles)
    if not claims or any(len(said) > 1 for said in claims.values()):
        return None
    return ", ".join(f"{name} is a {said[0]}" for name, said in claims.items() if said) or None


def read_roles(text: str, names: list[str], roles: list[str]) -> dict[str, list[str]] | None:
    """Name -> the roles that the answer gives to it, in the order of `names`; [] where it gives none.

    None where there is no answer block, where the grammar does not cover the block, where it has more than `ANSWER_CAP`
    characters, or where the gold is unusable.
    """
    if roles_verdict(text, names, roles) is None:
        return None
    answer, gold = answer_block(text), _gold_roles(tuple(names), tuple(roles))
    if answer is None or len(answer) > ANSWER_CAP or gold is None:
        return None
    tokens, kinds = _read(answer, gold)
    said = _said_roles(kinds)
    if said is None:
        return None
    claims: dict[str, list[str]] = {token: [] for token in gold}
    for token, role in zip([token for token in tokens if token in gold], said, strict=True):
        claims[token].append(ROLE_OF[role])
    return dict(zip(names, claims.values(), strict=True))


def roles_reason(block: str, text: str, names: list[str], roles: list[str]) -> str:
    """Why the answer block is right or wrong."""
    if fault := too_long(block, ANSWER_CAP):
        return fault
    gold = _gold_roles(tuple(names), tuple(roles)) or {}
    tokens, kinds = _read(block, gold)
    if "N" not in kinds:
        return f"nothing said about {listed(names, 'or')}"
    if _ROLE_LETTERS.isdisjoint(kinds):
        return "nobody is called a knight or a knave"
    claims = read_roles(text, names, roles)
    if claims is None:
        unknown = next((token for token, kind in zip(tokens, kinds, strict=True) if kind == "?"), None)
        return f"it cannot be read as a list of roles{f': {short(unknown)!r}' if unknown else ''}"
    faults = [f"two roles for {name}" for name, said in claims.items() if len(set(said)) > 1]
    named = {name: len(said) for name, said in claims.items() if len(set(said)) == 1}
    faults += [f"{name} is named {times(count)}" for name, count in named.items() if count > 1]
    right = dict(zip(names, roles, strict=True))
    wrong = [f"{name} is a {right[name]}, not a {claims[name][0]}" for name in named if claims[name][0] != right[name]]
    if wrong:
        faults.append(listed(wrong))
    if silent := [name for name, said in claims.items() if not said]:
        faults.append(f"nothing said about {listed(silent, 'or')}")
    return ", and ".join(faults) or listed([f"{name} is a {role}" for name, role in right.items()])
