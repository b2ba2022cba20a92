"""Several tasks in one run: the entries of `tasks`, whose rewards are due where, and how rows are mixed."""

from collections import Counter

import pytest
from mixed import SETTINGS, parts_of, recipe, sets_of

from configs import config_of
from mini_r1.data.mixture import chat_of, load_part_rewards, read_parts, shares
from mini_r1.data.problems import check_types, describe_mix, load_parts, to_datasets
from mini_r1.errors import RecipeError
from mini_r1.tasks import countdown, gsm8k
from mini_r1.training.curriculum import mixed_order

KEYS = {"countdown": countdown.key, "gsm8k": gsm8k.key}


# Entries


def test_an_entry_says_what_differs_from_the_top_level():
    values = recipe(test_fraction=0.25, reward_values={"format_reward": [1, -1, -1], "number_reward": [2, 0, 0]})
    values["tasks"][0] |= {"reward_funcs": ["format_reward"], "prompt_template": "r1_zero", "test_fraction": 0.5}
    values["tasks"][1] |= {"reward_funcs": ["format_reward", {"name": "number_reward"}]}
    first, second = read_parts(config_of(values).args)
    assert [(part.name, part.weight, part.task) for part in (first, second)] == [
        ("countdown", 2.0, countdown),
        ("gsm8k", 1.0, gsm8k),
    ]
    assert (first.args.test_fraction, second.args.test_fraction) == (0.5, 0.25)
    assert (first.args.max_prompt_tokens, second.args.max_eval_rows) == (128, 3)
    assert (first.args.prompt_template, second.args.prompt_template) == ("r1_zero", "mini_r1")
    assert first.args.reward_values == {"format_reward": [1, -1, -1]}, "the other's rewards are nothing to it"
    assert set(second.args.reward_values) == {"format_reward", "number_reward"}
    assert (first.rewards, second.rewards) == (["format_reward"], ["format_reward", "number_reward"])


def test_one_task_is_no_mixture(mixed_tokenizer):
    values = {"task": "countdown", "task_args": SETTINGS["countdown"]}
    (part,) = parts = read_parts(config_of(values).args)
    assert (part.mixed, part.columns) == (False, {})
    (rows,) = load_parts(parts)
    dataset, _, _ = to_datasets(parts, [rows.train], mixed_tokenizer)
    assert dataset.column_names == ["prompt", "prefill", "nums", "target", "difficulty"]


def test_a_mixture_of_one(mixed_tokenizer):
    values = recipe()
    del values["tasks"][1]
    train, test = sets_of(parts_of(values), mixed_tokenizer, 7)
    assert train["task"] == ["countdown"] * 7 and len(test) == 4


# What is wrong: (changes, of entry, entry's changes, the whole message)
WRONG = {
    "both": ({"task": "countdown"}, 0, {}, "task: given together with tasks; leave one of the two out (task: null)"),
    "nothing": ({"tasks": []}, 0, {}, "tasks: is empty; name tasks, such as [{task: countdown, weight: 2}, "),
    "its problems": ({"task_args": {"n": 3}}, 0, {}, "task_args: is about one task; put it into an entry of tasks"),
    "a data set": (
        {"dataset_id_or_path": "data"}, 0, {}, "dataset_id_or_path: is about one task; put it into an entry of tasks"),
    "no name": ({}, 1, {"task": None}, "tasks: entry 2 names no task; an example: [{task: countdown"),
    "unknown task": ({}, 1, {"task": "gsm8"}, "tasks: there is no task 'gsm8'; did you mean gsm8k?"),
    "twice": ({}, 1, {"task": "countdown"}, "tasks: names countdown twice; name each task once"),
    "unknown key": ({}, 0, {"max_train_row": 3}, "tasks: countdown: max_train_row: unknown key; did you mean max_tr"),
    "a key of the whole run": ({}, 0, {"curriculum": "sorted"}, "tasks: countdown: curriculum: unknown key"),
    "wrong type": ({}, 1, {"max_eval_rows": "all"}, 'tasks: gsm8k: max_eval_rows: got "all", expected a whole number'),
    "weight of nothing": ({}, 0, {"weight": 0}, "tasks: countdown: weight: got 0, expected a number above 0"),
    "weight below 0": ({}, 0, {"weight": -1}, "tasks: countdown: weight: got -1, expected a number above 0"),
    "weight without end": ({}, 0, {"weight": float("inf")}, "tasks: countdown: weight: got Infinity"),
    "weight as text": ({}, 0, {"weight": "two"}, 'tasks: countdown: weight: got "two", expected a number'),
    "its template": ({}, 0, {"prompt_template": "r1"}, "tasks: countdown: prompt_template: there is no template 'r1'"),
    "the recipe's template": ({"prompt_template": "r1_zer"}, 0, {}, "prompt_template: there is no template 'r1_zer'"),
    "values of nothing": ({"reward_values": {"x": [1, 0, 0]}}, 0, {}, "reward_values: 'x' is in no task's reward_fu"),
    "format of nothing": ({"require_format": ["x"]}, 0, {}, "require_format: 'x' is in no task's reward_funcs, which"),
    "its own values": (
        {}, 0, {"reward_values": {"x": [1, 0, 0]}}, "tasks: countdown: reward_values: 'x' is not in reward_funcs, "),
    "unknown reward": ({}, 0, {"reward_funcs": ["equaton_reward"]}, "tasks: countdown: reward_funcs: there is no rew"),
    "another task's reward": (
        {}, 1, {"reward_funcs": ["equation_reward"]},
        "tasks: gsm8k: reward_funcs: equation_reward needs the columns nums, target, which tasks.gsm8k does not give; "
        "its own reward is number_reward"),
    "no rewards": ({}, 1, {"reward_funcs": []}, "tasks: gsm8k: reward_funcs: is empty; name at least one reward"),
    "setting of the generator": ({}, 0, {"task_args": {"m": 1}}, "tasks: countdown: task_args: 'm' is no setting of "),
    "no such file": ({}, 0, {"dataset_id_or_path": "no.jsonl"}, "tasks: countdown: dataset_id_or_path: there is no f"),
    "no rows": ({}, 1, {"difficulty": [9]}, "tasks: gsm8k: task_args: no training rows are left of the gsm8k genera"),
    "prompts too long": (
        {}, 1, {"max_prompt_tokens": 5}, "tasks: gsm8k: max_prompt_tokens: all 2"),
    "prompts too long for the top level": (
        {"max_prompt_tokens": 20}, 0, {}, "max_prompt_tokens: countdown: all "),
}  # fmt: skip


@pytest.mark.parametrize("changes, number, own, expected", WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_tasks_is_one_line(changes, number, own, expected, mixed_tokenizer):
    values = recipe()
    values["tasks"][number] |= own
    with pytest.raises(RecipeError) as caught:
        parts = parts_of(values | changes)
        load_part_rewards(parts)
        to_datasets(parts, [rows.train for rows in load_parts(parts)], mixed_tokenizer)
    assert str(caught.value).startswith(expected) and "\n" not in str(caught.value)


# Rewards


def test_each_reward_is_handed_over_once():
    assert [reward.__name__ for reward in load_part_rewards(parts_of())] == ["letters", "both", "length"]


OVERLONG = {"name": "soft_overlong", "max_completion_len": 9, "soft_punish_cache": 3}
DIFFERENT = {  # what differs: (first entry, second entry)
    "arguments": ({"reward_funcs": [OVERLONG]}, {"reward_funcs": [OVERLONG | {"soft_punish_cache": 4}]}),
    "reward_values": (
        {"reward_funcs": ["format_reward"], "reward_values": {"format_reward": [1, -1, -1]}},
        {"reward_funcs": ["format_reward"]},
    ),
    "require_format": (
        {"reward_funcs": ["format_reward"]},
        {"reward_funcs": ["format_reward"], "require_format": ["format_reward"]},
    ),
    "functions": ({"reward_funcs": ["format_reward"]}, {"reward_funcs": ["mini_r1.rewards.format_reward"]}),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_one_name_is_one_reward(what):
    values = recipe()
    for entry, changes in zip(values["tasks"], DIFFERENT[what], strict=True):
        entry |= changes
    with pytest.raises(RecipeError, match=f"tasks: gsm8k and countdown give [a-z_]+ different {what}, and it can be"):
        load_part_rewards(parts_of(values))
    values["tasks"][1] |= {"reward_values": None, "require_format": None} | DIFFERENT[what][0]
    assert len(load_part_rewards(parts_of(values))) == 1


def test_a_tasks_own_reward_of_a_shipped_name_is_another(monkeypatch):
    monkeypatch.setattr(gsm8k, "format_reward", lambda completions, **kwargs: [0.5], raising=False)
    values = recipe()
    for entry in values["tasks"]:
        entry["reward_funcs"] = ["format_reward"]
    with pytest.raises(RecipeError, match="gsm8k and countdown give format_reward different functions"):
        load_part_rewards(parts_of(values))


def test_values_are_for_the_rows_of_their_task(mixed_tokenizer):
    values = recipe(reward_values={"equation_reward": [3, -1, -2], "number_reward": [5, 0, -5]})
    values["tasks"][0]["reward_funcs"] = ["equation_reward"]
    values["tasks"][1]["reward_funcs"] = ["number_reward"]
    parts = parts_of(values)
    _, test = sets_of(parts, mixed_tokenizer, 3)
    rows = test.to_list()
    gold = {part.name: part.task.gold_answer for part in parts}
    texts = [f"hm</think><answer>{gold[row['task']](row)}</answer>" for row in rows]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    equation, number = (reward(completions=texts, **columns) for reward in load_part_rewards(parts))
    assert equation == [3.0] * 4 + [None] * 3 and number == [None] * 4 + [5.0] * 3


# Rows


def test_rows_have_the_columns_of_all_tasks(mixed_tokenizer):
    train, test = sets_of(parts_of(), mixed_tokenizer, 30)
    assert train.column_names == [
        "prompt", "prefill", "nums", "target", "difficulty", "task", "rewards", "question", "answer", "rationale",
        "template",
    ]  # fmt: skip
    assert train.features == test.features
    for row in [*train, *test]:
        ours, theirs = ("nums", "target"), ("question", "answer")
        if row["task"] == "gsm8k":
            ours, theirs = theirs, ours
        assert all(row[name] is not None for name in ours) and all(row[name] is None for name in theirs)
        assert row["rewards"] == {"countdown": ["letters", "both"], "gsm8k": ["both", "length"]}[row["task"]]
        assert row["prefill"] == "<think>" and (row["question"] or f"equals {row['target']}.") in row["prompt"]


def test_train_and_test_share_no_problem_of_any_task():
    parts = parts_of()
    for part, rows in zip(parts, load_parts(parts), strict=True):
        settings = {"task": part.name, "task_args": SETTINGS[part.name], "test_fraction": 0.2}
        (alone,) = read_parts(config_of(settings | {"max_eval_rows": part.args.max_eval_rows}).args)
        (own,) = load_parts([alone])
        assert (own.train, own.test) == (rows.train, rows.test), "as in a run of its own"
        keys = KEYS[part.name]
        assert rows.test and not set(map(keys, rows.train)) & set(map(keys, rows.test))


def test_columns_of_two_types_are_refused():
    with pytest.raises(RecipeError) as caught:
        check_types([("a", [{"x": None, "y": 1}]), ("b", [{"x": "text", "y": None}]), ("c", [{"x": [1], "y": 2}])])
    assert str(caught.value) == (
        "tasks: c and b both have a column x, as list<item: int64> and string; rename it in one of the task files"
    )


def test_the_conversation_of_a_row_is_its_tasks(mixed_tokenizer):
    values = recipe()
    values["tasks"][1] |= {"prompt_template": "reinforce_lite", "max_prompt_tokens": 500}
    parts = parts_of(values)
    _, test = sets_of(parts, mixed_tokenizer, 3)
    chat = chat_of(parts)
    for row in test:
        turns = chat(row)
        question = row["question"] or f"equals {row['target']}."
        assert question in turns[1]["content"] and ("Reply in two" in turns[0]["content"]) == (row["task"] == "gsm8k")
        assert row["prefill"] == ("" if row["task"] == "gsm8k" else "<think>")


# The mixture


@pytest.mark.parametrize(
    "weights, count, expected",
    [
        ({"a": 2, "b": 1}, 16, {"a": 11, "b": 5}),
        ({"a": 1, "b": 1, "c": 1}, 16, {"a": 6, "b": 5, "c": 5}),
        ({"a": 0.1, "b": 0.3}, 4, {"a": 1, "b": 3}),
        ({"a": 3}, 7, {"a": 7}),
    ],
)
def test_shares(weights, count, expected):
    assert shares(weights, count) == expected


def test_a_share_of_nothing_is_refused():
    with pytest.raises(RecipeError, match=r"tasks: b: a weight of 0\.01 is not one of the run's 16 prompts; raise it"):
        shares({"a": 1, "b": 0.01}, 16)


TASKS = ["a"] * 30 + ["b"] * 6
DIFFICULTIES = [2, 3, 4] * 10 + [1, 1, 1, 7, 7, 7]
MIX = {"a": 2, "b": 1}


def mixed(kind: str = "none", prompts: int = 48, seed: int = 5) -> list[int]:
    return mixed_order(TASKS, MIX, DIFFICULTIES, kind, prompts, seed)


@pytest.mark.parametrize("kind", ["none", "sorted", "staged"])
def test_every_rollout_has_the_shares(kind):
    ours = mixed(kind)
    for start in range(0, 48, 8):
        counts = Counter(TASKS[index] for index in ours[start : start + 8])
        assert abs(counts["a"] - 16 / 3) < 2, start
    assert Counter(TASKS[index] for index in ours) == {"a": 32, "b": 16}


def test_a_task_with_too_few_rows_begins_anew():
    """16 prompts for 6 rows: two whole passes and four rows of a third, each in another order."""
    own = [index for index in mixed() if TASKS[index] == "b"]
    passes = [own[:6], own[6:12], own[12:]]
    assert [sorted(one) for one in passes[:2]] == [list(range(30, 36))] * 2 and len(set(passes[2])) == 4
    assert passes[0] != passes[1]
    assert describe_mix(TASKS, [TASKS[index] for index in mixed()]) == (
        "a: 32 of 48 prompts, 1.07 passes over its 30 rows\nb: 16 of 48 prompts, 2.67 passes over its 6 rows"
    )


def test_a_curriculum_is_each_tasks_own():
    for task, levels in (("a", [2, 3, 4]), ("b", [1, 7])):
        for kind in ("sorted", "staged"):
            met = [DIFFICULTIES[index] for index in mixed(kind) if TASKS[index] == task]
            assert met == sorted(met) and set(met) == set(levels)


def test_the_order_depends_on_the_seed_alone():
    assert mixed() == mixed() and mixed() != mixed(seed=6)
    assert mixed()[:12] != sorted(mixed()[:12])
