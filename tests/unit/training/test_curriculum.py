from collections import Counter

import pytest
from datasets import Dataset
from trl import GRPOConfig
from trl.trainer.utils import RepeatSampler

from configs import config_of
from mini_r1.config.batch import plan_batch
from mini_r1.training.curriculum import arrange, order

DIFFICULTIES = [2, 5, 3, 3, 2, 4, 5, 5, 3, 2, 4]


def plan(processes=1, **values):
    batch = {"per_device_train_batch_size": 8 // processes, "num_generations": 2, "max_steps": 6, "save_steps": 6}
    return plan_batch(config_of(batch | values), processes)


def config(tmp_path, **values):
    return GRPOConfig(str(tmp_path), use_cpu=True, bf16=False, num_generations=2, seed=7, **values)


def difficulties(indices):
    return [DIFFICULTIES[i] for i in indices]


@pytest.mark.parametrize("prompts", [4, 8, 24, 44])
def test_sorted_meets_what_a_shuffled_run_meets(prompts):
    """TRL's own sampler, over as many passes as it takes."""
    sampler, shuffled = RepeatSampler(DIFFICULTIES, 1, batch_size=4, seed=7), []
    while len(shuffled) < prompts:
        shuffled += list(sampler)
    ours = order(DIFFICULTIES, "sorted", prompts, 4, 7)
    assert Counter(ours) == Counter(shuffled[:prompts])
    assert difficulties(ours) == sorted(difficulties(ours))


def test_sorted_stays_shuffled_among_equals():
    rows = [3] * 500
    assert order(rows, "sorted", 500, 4, 7) != list(range(500))
    assert order(rows, "sorted", 500, 4, 7) != order(rows, "sorted", 500, 4, 8)


def test_stages_share_the_run_evenly():
    ours = order(DIFFICULTIES, "staged", 48, 4, 7)
    assert difficulties(ours) == [2] * 12 + [3] * 12 + [4] * 12 + [5] * 12
    assert sorted(Counter(ours[:12]).values()) == [4, 4, 4]  # three rows of this difficulty, each four times
    ours = order(DIFFICULTIES, "staged", 28, 4, 7)  # 7 rollouts for 4 stages; none mixes difficulties
    assert len(ours) == 28 and all(len(set(difficulties(ours[i : i + 4]))) == 1 for i in range(0, 28, 4))


@pytest.mark.parametrize("kind", ["sorted", "staged"])
def test_the_run_is_arranged_the_same_on_any_number_of_processes(kind, tmp_path):
    rows = Dataset.from_dict({"difficulty": DIFFICULTIES, "row": range(len(DIFFICULTIES))})
    settings = config(tmp_path, per_device_train_batch_size=8, max_steps=6)
    one, two = (arrange(rows, kind, plan(processes), settings) for processes in (1, 2))
    assert one["row"][:] == two["row"][:] and len(one) == 24
    assert settings.shuffle_dataset is False and settings.max_steps == 6


def test_epochs_become_steps(tmp_path):
    """The arranged rows are all passes in one: TRL must not repeat them once more."""
    rows = Dataset.from_dict({"difficulty": DIFFICULTIES})
    settings = config(tmp_path, per_device_train_batch_size=8, num_train_epochs=3)
    arranged = arrange(rows, "sorted", plan(max_steps=-1, num_train_epochs=3.0), settings)
    assert len(arranged) == 24 and settings.max_steps == 6  # 3 passes of 2 rollouts of 4 prompts


def test_without_a_curriculum_nothing_changes(tmp_path):
    rows = Dataset.from_dict({"difficulty": DIFFICULTIES})
    settings = config(tmp_path, per_device_train_batch_size=8)
    assert arrange(rows, "none", plan(), settings) is rows and settings.shuffle_dataset is True
