"""Every verdict in rewards/corpus: a line is one whole turn, the gold columns, the verdict that is due, and the reason.

`<name>.jsonl` holds the cases of `<name>_verdict` and `<name>_reward`. A null verdict means that
the gold is unusable. To add a case, add a line.
"""

import pytest
from corpus import FILES

from mini_r1 import rewards
from mini_r1.rewards import DEFAULT_VALUES, Verdict

ALL = {"correct", "wrong", "unparseable", None}
VERDICTS = {"equation": ALL, "number": ALL, "roles": ALL}
VERDICTS |= {"format": {"correct", "wrong"}, "summary_format": {"correct", "wrong"}}
VALUES = {None: None} | {verdict.value: value for verdict, value in zip(Verdict, DEFAULT_VALUES, strict=True)}


CASES = [pytest.param(name, case, id=f"{name}: {case['reason']}") for name, cases in FILES.items() for case in cases]


@pytest.mark.parametrize(("name", "case"), CASES)
def test_verdict(name, case):
    """The verifier on the text, and the reward on the text in all forms in which TRL hands it over."""
    text, expected = case["text"], case["verdict"]
    columns = {column: value for column, value in case.items() if column not in ("text", "verdict", "reason")}

    verdict = getattr(rewards, f"{name}_verdict")(text, **columns)
    assert (verdict and verdict.value) == expected

    reward = getattr(rewards, f"{name}_reward")
    lists = {column: [value] for column, value in columns.items()}
    parts = [("", text)]
    if text.startswith("<think>"):
        parts.append(("<think>", text.removeprefix("<think>")))
    for prefill, completion in parts:
        for form in (completion, [{"role": "assistant", "content": completion}]):
            assert reward(completions=[form], prefill=[prefill], **lists) == [VALUES[expected]], (prefill, form)


def test_every_verifier_has_its_corpus():
    assert set(FILES) == set(VERDICTS)
    assert sum(map(len, FILES.values())) >= 300


@pytest.mark.parametrize("name", VERDICTS)
def test_corpus_is_complete(name):
    cases = FILES[name]
    assert len(cases) >= 40
    assert {case["verdict"] for case in cases} == VERDICTS[name]
    reasons = [case["reason"] for case in cases]
    assert len(set(reasons)) == len(reasons)
    assert all(set(case) == set(cases[0]) >= {"text", "verdict", "reason"} for case in cases)
    assert all(len(case["text"]) < 2000 for case in cases), "longer ones are made in test_rewards.py"
