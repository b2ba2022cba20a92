"""A program that was run is not run again while it is remembered."""

from tables import needs_sandbox, turn

from mini_r1.rewards import code, code_reward, explain
from mini_r1.rewards.sandbox import run_program

pytestmark = needs_sandbox()
SUM = [{"input": "1 2", "output": "3"}, {"input": "4 5", "output": "9"}]
ADD = "print(sum(map(int, input().split())))"


def test_a_program_is_run_once_however_often_it_is_graded(monkeypatch):
    """For the reward, the log and the reader; other tests or limits are another run, and old runs are forgotten."""
    runs = []
    monkeypatch.setattr(code, "cache", {})
    monkeypatch.setattr(code, "REMEMBERED", 2)
    monkeypatch.setattr(code, "run_program", lambda *args: runs.append(args[1]) or run_program(*args))
    wrong = turn("print(int(input().split()[0]) * 10**3000 if input else 7)")
    for _ in range(3):
        assert code_reward([turn(ADD), wrong], tests=[SUM, SUM]) == [1.0, 0.0]
        assert explain(wrong, {"tests": SUM}).startswith("wrong: test 1: ")
    assert len(runs) == len(SUM) + 1
    code_reward([turn(ADD)], tests=[SUM[1:]])
    assert len(runs) == len(SUM) + 2
    code_reward([turn(ADD), wrong], tests=[SUM, SUM])
    assert len(code.cache) == 2
    assert len(runs) > len(SUM) + 2, "the oldest was forgotten"
