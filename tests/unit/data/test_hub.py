"""Whether the hub is looked for depends on whether a recipe wants anything of it."""

import os

import pytest
from mixed import recipe

from configs import config_of
from mini_r1.data.hub import load_tokenizer, offline_if_unreachable
from mini_r1.data.mixture import read_parts
from mini_r1.errors import RecipeError


@pytest.mark.parametrize(
    "own, asked",
    [
        ({}, False),
        ({"dataset_id_or_path": "owner/rows"}, True),
        ({"reward_funcs": [{"name": "judge", "reward_model": "owner/judge"}]}, True),
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
    config = config_of(values)
    offline_if_unreachable(config, [part.args for part in read_parts(config.args)])
    assert ("HF_HUB_OFFLINE" in os.environ) == asked


@pytest.mark.parametrize("file", ["adapter_config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("text", ['{"peft_type": "LO', "[]", "{}"])
def test_a_damaged_file_of_a_model_folder_is_named(tmp_path, file, text):
    (tmp_path / file).write_text(text)
    with pytest.raises(RecipeError, match=rf"{file} is damaged, it has no (base_model_name_or_path|weight_map); copy"):
        load_tokenizer(str(tmp_path))
