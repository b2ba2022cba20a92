import pytest

from mini_r1.config.algorithm import read_temperature_schedule
from mini_r1.errors import RecipeError

LOGIC_RL = {"fractions": [[0, 1.2], [1, 0.9]]}
RAMP = {"steps": [[10, 1.0], [20, 1.2], [40, 0.8]]}


@pytest.mark.parametrize(
    ("given", "step", "of", "expected"),
    [
        (LOGIC_RL, 0, 101, 1.2),
        (LOGIC_RL, 50, 101, 1.05),
        (LOGIC_RL, 100, 101, 0.9),  # the last step, counted from 0
        (LOGIC_RL, 0, 1, 1.2),  # a run of one step
        (RAMP, 0, 60, 1.0),
        (RAMP, 10, 60, 1.0),
        (RAMP, 15, 60, 1.1),
        (RAMP, 20, 60, 1.2),
        (RAMP, 30, 60, 1.0),
        (RAMP, 40, 60, 0.8),
        (RAMP, 59, 60, 0.8),
        ({"steps": [[0, 0.7]]}, 9, 10, 0.7),
        ({"fractions": [[0.25, 1.0], [0.75, 2.0]]}, 5, 11, 1.5),
    ],
)
def test_temperature_of_a_step(given, step, of, expected):
    assert read_temperature_schedule(given).at(step, of) == pytest.approx(expected, abs=1e-12)


def test_no_schedule():
    assert read_temperature_schedule(None) is None


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({}, "expected points under"),
        ({"epochs": [[0, 1.0]]}, "expected points under"),
        ({"steps": [[0, 1.0]], "fractions": [[0, 1.0]]}, "expected points under"),
        ({"steps": []}, "must be a list"),
        ({"steps": {0: 1.0}}, "must be a list"),
        ({"steps": [0, 1.0]}, "must be a list"),
        ({"steps": [[0, 1.0, 2]]}, "must be a list"),
        ({"steps": [[0, "hot"]]}, "must be a list"),
        ({"steps": [[True, 1.0]]}, "must be a list"),
        ({"steps": [[5, 1.0], [5, 1.2]]}, "must ascend"),
        ({"steps": [[5, 1.0], [2, 1.2]]}, "must ascend"),
        ({"steps": [[-1, 1.0]]}, "-1 is outside"),
        ({"fractions": [[0, 1.0], [1.5, 0.9]]}, "1.5 is outside"),
        ({"steps": [[0, 1.0], [9, 0.0]]}, "0.0 is not above 0"),
    ],
)
def test_refused(given, wrong):
    with pytest.raises(RecipeError, match=wrong) as error:
        read_temperature_schedule(given)
    assert error.value.key == "temperature_schedule" and "write {steps:" in error.value.problem
