"""Whether the hub is looked for depends on whether a recipe wants anything of it."""

import os

import pytest
from mixed import recipe

from mini_r1.data.hub import offline_if_unreachable


@pytest.mark.parametrize(
    "own, asked",
    [
        ({}, False),
        ({"dataset_id_or_path": "owner/rows"}, True),
        ({"reward_funcs": [{"name": "judge", "reward_model": "owner/judge"}]}, True),
        ({"reward_funcs": "broken"}, False),
    ],
)
def test_what_an_entry_wants_of_the_hub_is_looked_for(monkeypatch, own, asked):
    def nowhere(*args, **kwargs):
        raise OSError

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.setattr("socket.create_connection", nowhere)
    values = recipe(model_name_or_path="runs/tiny")
    values["tasks"][1] |= own
    offline_if_unreachable(values)
    assert ("HF_HUB_OFFLINE" in os.environ) == asked
