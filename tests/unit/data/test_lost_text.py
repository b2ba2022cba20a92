"""A tokenizer that changes text when completions are decoded is refused, and the remedy works."""

import json

import pytest
from byte_tokenizer import byte_tokenizer
from tokenizers import normalizers, pre_tokenizers

from mini_r1 import tasks
from mini_r1.config.arguments import RecipeArguments
from mini_r1.data.hub import PROBE, LostTextError, check_text_survives, decoded, load_tokenizer, survives
from mini_r1.data.mixture import Part
from mini_r1.data.problems import to_datasets
from mini_r1.data.prompts import get_template
from mini_r1.errors import RecipeError

NO_BLANKS = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(False)])


def saved(folder, tokenizer, **config) -> str:
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return str(folder)


def test_bytes_survive(tmp_path):
    folder = saved(tmp_path, byte_tokenizer(True, None))
    assert decoded(PROBE, load_tokenizer(folder)) == PROBE


def test_a_class_that_rebuilds_the_tokenizer_is_refused_with_the_remedy(tmp_path):
    """The R1 distilled Llamas name this class, which takes the vocabulary and makes its own splitting of it."""
    folder = saved(tmp_path, byte_tokenizer(True, None), tokenizer_class="LlamaTokenizerFast")
    with pytest.raises(LostTextError, match=r'loads it as LlamaTokenizer.*write "tokenizer_class": ') as error:
        load_tokenizer(folder)
    assert error.value.key == "model_name_or_path" and "comes back as 'Two" in str(error.value)
    saved(tmp_path, byte_tokenizer(True, None), tokenizer_class="PreTrainedTokenizerFast")
    assert survives(PROBE, load_tokenizer(folder))


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"pre_tokenizer": NO_BLANKS},
         "'Twoblanks,atab,"),
        ({"normalizer": normalizers.Lowercase()}, "'two  blanks,"),
        ({"normalizer": normalizers.NFKC()}, None),
        ({"normalizer": normalizers.StripAccents()}, None),
        ({"normalizer": normalizers.Replace("\r", "")}, None),
        ({"normalizer": normalizers.Replace("\n\n", "\n")}, None),
    ],
)  # fmt: skip
def test_no_remedy_for_a_tokenizer_that_is_made_so(tmp_path, change, seen):
    tokenizer = byte_tokenizer(False, None)
    for name, value in change.items():
        setattr(tokenizer.backend_tokenizer, name, value)
    with pytest.raises(LostTextError, match="choose a model whose tokenizer keeps text") as error:
        load_tokenizer(saved(tmp_path, tokenizer))
    assert seen is None or f"comes back as {seen}" in str(error.value)


def test_composed_accents_are_the_same_text(tmp_path):
    tokenizer = byte_tokenizer(False, None)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
    loaded = load_tokenizer(saved(tmp_path, tokenizer))
    assert decoded(PROBE, loaded) != PROBE and survives(PROBE, loaded)


def test_prompts_and_golds_are_looked_at_before_training(tmp_path):
    tokenizer = byte_tokenizer(False, None)
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace("98", "89")
    countdown, template = tasks.get("countdown"), get_template("r1_zero")
    row = {"nums": [44, 19, 35], "target": 98, "difficulty": 3}

    part = Part("countdown", countdown, template, RecipeArguments(max_prompt_tokens=4000))
    with pytest.raises(RecipeError, match=r"its tokenizer changes the prompt: .* equals 98"):
        to_datasets([part], [[row]], tokenizer)
    with pytest.raises(RecipeError, match="its tokenizer changes the gold answer: '98' becomes '89'"):
        check_text_survives("", "98", tokenizer)
    assert check_text_survives("<s>a  b\n", None, tokenizer) is None
