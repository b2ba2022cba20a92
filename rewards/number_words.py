"""Words around a number, in English, for `rewards/number.py`: which make it another number, or no answer at all."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SMALL = _words(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
# Words that spoil an answer wherever they stand: negation, hedging, a choice, a number or a sum in words.
SPOILS = _words(
    "not no isnt wasnt arent cannot never neither nor none incorrect wrong false untrue anything unknown unsure "
    "uncertain undefined impossible doubt hardly or either maybe perhaps possibly probably presumably likely "
    "might guess guessing estimate estimated approximately approx roughly circa nearly almost plus doubled tripled "
    "squared cubed root sqrt reciprocal inverse factorial zero twenty thirty forty fourty fifty sixty seventy eighty "
    "ninety hundred hundreds thousand thousands million millions billion billions trillion trillions lakh lakhs crore"
)
FRACTIONS = "half halves thirds fourths fifths sixths sevenths eighths ninths tenths hundredths thousandths "
# Words that spoil the number they stand before: a bound, or something done to the number.
SPOILS_NEXT = SMALL | _words(
    FRACTIONS + "about around over under above below beyond exceeds exceeding than between near close next but except "
    "excluding unlike instead twice thrice double triple quadruple times square cube third quarter quarters fourth "
    "fifth sixth seventh eighth ninth tenth hundredth divided multiplied dozen percent cent minimum maximum upwards log"
)
# Words that the look back from a number passes over, as in "half of the 72".
PASSED_OVER = _words("a an the of to by only just exactly as much many her his its my our their this that these those")
BOUNDS = {("at", "least"), ("at", "most"), ("in", "excess")}
OPEN = _words("of than by as")  # no line break or colon behind these ends the look back; no comma behind SMALL
# Words that spoil the number they stand behind: 72 point five, 7 two, 72 bn, 72-ish, 7 tenths.
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
