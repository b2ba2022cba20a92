"""An adapter's folder is a model folder: it is merged into its base once, and sized, sampled and trained as that."""

import json
import os

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from mini_r1.data.hub import adapter_base, load_tokenizer, whole_folder
from mini_r1.errors import RecipeError
from mini_r1.launch.check import preflight
from mini_r1.launch.model_shapes import model_shape
from mini_r1.run.model_loading import whole_model


@pytest.fixture
def adapter(tmp_path, tiny_model_dir):
    """A LoRA adapter that changes what the tiny model says; peft saves no tokenizer beside it."""
    folder, config = tmp_path / "adapter", LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model_dir), config)
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    model.save_pretrained(folder)
    return folder


def logits(model) -> torch.Tensor:
    return model.eval()(torch.arange(20).unsqueeze(0)).logits.detach()


def test_the_merged_model_says_what_the_adapter_says(adapter, tiny_model_dir, capsys):
    assert adapter_base(str(adapter)) == str(tiny_model_dir) and adapter_base(str(tiny_model_dir)) is None
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    before = logits(base)
    expected = logits(PeftModel.from_pretrained(base, str(adapter)))
    folder = whole_model(str(adapter))
    assert folder == whole_folder(str(adapter)) == str(adapter / "merged")
    made = logits(AutoModelForCausalLM.from_pretrained(folder))
    assert torch.allclose(made, expected, atol=1e-4) and not torch.allclose(made, before, atol=0.1)
    assert "merging the adapter" in capsys.readouterr().out
    assert whole_model(str(adapter)) == folder and capsys.readouterr().out == "", "once"
    later = (adapter / "merged").stat().st_mtime + 5
    os.utime(adapter / "adapter_model.safetensors", (later, later))
    whole_model(str(adapter))
    assert "merging the adapter" in capsys.readouterr().out, "anew, as the adapter is newer"


def test_other_models_are_loaded_as_they_are(tiny_model_dir):
    assert whole_model(str(tiny_model_dir)) == str(tiny_model_dir) and whole_model("Qwen/Qwen3-4B") == "Qwen/Qwen3-4B"


def test_tokenizer_and_sizes_are_those_of_the_base(adapter, tiny_model_dir):
    assert load_tokenizer(str(adapter)).get_vocab() == load_tokenizer(str(tiny_model_dir)).get_vocab()
    assert model_shape(str(adapter)).parameters == model_shape(str(tiny_model_dir)).parameters


def test_the_check_knows_an_adapter(adapter, tmp_path):
    recipe = tmp_path / "mine.yaml"
    values = {"task": "countdown", "task_args": {"n": 30}, "model_name_or_path": str(adapter), "output_dir": "runs/x",
              "max_completion_length": 50}  # fmt: skip
    recipe.write_text(json.dumps(values))
    found = preflight(["--config", str(recipe)], "evaluate", gpus=0)
    assert not [finding.text for finding in found.findings if finding.level == "error"]


def test_a_base_that_is_gone_is_named(adapter):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "/gone/model"}))
    with pytest.raises(RecipeError, match=r"the base /gone/model of the adapter .*adapter cannot be loaded"):
        whole_model(str(adapter))
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(RecipeError, match=r"has no adapter_model\.safetensors"):
        whole_model(str(adapter))
