"""A judge's verdicts on sampled completions, kept as they come: a run that was killed asks for none twice.

`generated/judged.jsonl` has a line for each: {"asked": what it was asked, as a hash; "model"; "problem"; "answer": what
was judged; "said": the judge's words; "right": true, false, or null where they were no verdict}. It stays, to be read.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from mini_r1.data.mixture import Part, find_part
from mini_r1.data.reward_model import judged
from mini_r1.evaluation.completion_log import add_line, drop_half_line
from mini_r1.evaluation.judge import Judge, judge_prompt
from mini_r1.evaluation.progress import progress_bar

VERDICTS = "generated/judged.jsonl"


def judge_records(run: Path, judge: Judge, drawn: list[list[dict]], asked_of: Callable) -> dict:
    """Let the judge say which completions are right, in place of what rules have said; changes the records' `right`.

    It is asked about those that are not cut off and well formed, and sees of them what follows the reasoning. Equal
    answers to a problem are one request. All others are wrong, and where a problem has no gold, ungraded.

    Args:
        run: the run directory.
        drawn: for each problem its graded completions, see `evaluation.to_records`.
        asked_of: number of a problem -> its question and its gold, None where there is none; see `question_of`.

    Returns:
        {"server", "model", "asked": samples with something to judge; "right", "wrong", "unclear": of these;
        "requests": different ones; "as_rules": share of right and wrong ones of which the task's rules say the same,
        None where they say nothing of any}

    Raises:
        RecipeError: where the server fails for good; what it has said by then is kept.
    """
    path = run / VERDICTS
    path.parent.mkdir(parents=True, exist_ok=True)
    drop_half_line(path)
    prompts: dict[str, str] = {}
    about: dict[str, tuple[int, str]] = {}
    to_judge: list[tuple[dict, bool | None, str]] = []
    for records in drawn:
        question, gold = asked_of(records[0]["problem"])
        for record in records:
            by_rules, record["right"] = record["right"], None if gold is None else False
            if gold is not None and record["well_formed"] and not record["cut_off"]:
                answer = judged(record["prefill"] + record["completion"], "summary")
                prompt = judge_prompt(question, gold, answer)
                name = hashlib.sha256(prompt.encode(errors="replace")).hexdigest()
                prompts[name], about[name] = prompt, (record["problem"], answer)
                to_judge.append((record, by_rules, name))
    verdicts = _ask(path, judge, prompts, about)
    for record, _, name in to_judge:
        record["right"] = verdicts[name]
    given = [record["right"] for record, _, _ in to_judge]
    same = [record["right"] == by_rules for record, by_rules, _ in to_judge if None not in (record["right"], by_rules)]
    return {
        "server": judge.url,
        "model": judge.model,
        "asked": len(given),
        "right": given.count(True),
        "wrong": given.count(False),
        "unclear": given.count(None),
        "requests": len(prompts),
        "as_rules": sum(same) / len(same) if same else None,
    }


def question_of(parts: list[Part], problems: list[dict]) -> Callable[[int], tuple[str, str | None]]:
    """A function from a problem's number to its question and its gold answer."""
    part_of = find_part(parts)

    def asked_of(number: int) -> tuple[str, str | None]:
        row = problems[number]
        task = part_of(row).task
        gold = task.gold_answer(row)
        return task.question(row), None if gold is None else str(gold)

    return asked_of


def describe_judge(found: dict) -> str:
    """What a judge was asked and said, in a sentence. `found`: of `judge_records`."""
    text = (
        f"{found['model']} on {found['server']} judged {found['asked']} samples ({found['requests']} different "
        f"answers): {found['right']} right, {found['wrong']} wrong, {found['unclear']} unclear"
    )
    if found["as_rules"] is not None:
        text += f"; of the right and wrong ones the task's rules say the same of {found['as_rules']:.3f}"
    return text


def _ask(
    path: Path, judge: Judge, prompts: dict[str, str], about: dict[str, tuple[int, str]]
) -> dict[str, bool | None]:
    """name of a prompt -> the verdict; only what the file does not have from this model is asked."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
    kept = [json.loads(line) for line in lines]
    verdicts = {line["asked"]: line["right"] for line in kept if line["model"] == judge.model}
    todo = {name: prompt for name, prompt in prompts.items() if name not in verdicts}
    bar = progress_bar("judged", "answers", len(prompts), len(prompts) - len(todo))

    def finished(name: str, said: str, right: bool | None) -> None:
        problem, answer = about[name]
        line = {"asked": name, "model": judge.model, "problem": problem, "answer": answer, "said": said, "right": right}
        add_line(path, line)
        verdicts[name] = right
        bar.update()

    with bar:
        judge.ask(todo, finished)
    return verdicts
