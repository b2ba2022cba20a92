"""A tokenizer that drops the tags when completions are decoded is refused, by the check and by every script."""

import shutil

import pytest
from broken import CPU, MINE, Place
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from mini_r1.data.hub import LostTextError, load_tokenizer, lost_tags

TAGS = ["<think>", "</think>", "<answer>", "</answer>"]


def byte_tokenizer(special: list[str], plain: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(["<s>", *alphabet])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in ("<s>", *special)])
    core.add_tokens([AddedToken(token, normalized=False) for token in plain])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<s>")


@pytest.mark.parametrize(
    ("special", "lost"),
    [
        ([], []),
        (["<|im_start|>", "<thinking>", "think"], ["<think>", "</think>"]),  # `think` goes, and the brackets stay
        (TAGS, TAGS),
        (["<think>", "</think>"], ["<think>", "</think>"]),
        (["</answer>"], ["</answer>"]),
        (["<think>\n"], ["<think>"]),  # lost in front of a line break alone
        (["<|begin|><answer>"], ["<answer>"]),
        (["<", ">"], TAGS),
    ],
)
def test_which_tags_are_lost(special, lost, tmp_path):
    tokenizer = byte_tokenizer(special)
    assert lost_tags(tokenizer) == lost
    tokenizer.save_pretrained(tmp_path)
    if not lost:
        assert load_tokenizer(str(tmp_path)).padding_side == "left"
        return
    with pytest.raises(LostTextError, match=f"then {' '.join(lost)} vanish") as error:
        load_tokenizer(str(tmp_path))
    assert error.value.key == "model_name_or_path"


def test_tags_that_are_ordinary_tokens_survive(tiny_tokenizer):
    assert lost_tags(byte_tokenizer([], tuple(TAGS))) == []
    assert lost_tags(tiny_tokenizer) == []


@pytest.fixture
def losing(tmp_path, tiny_model_dir):
    """The tiny model with a tokenizer in which the think tags are special."""
    folder = tmp_path / "losing"
    shutil.copytree(tiny_model_dir, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=True) for tag in TAGS[:2]], special_tokens=True)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch, capsys, run_script, losing) -> Place:
    return Place(tmp_path, monkeypatch, capsys, run_script, losing)


SFT = "extends: countdown-tiny-sft.yaml\nmodel_name_or_path: {model}\noutput_dir: out\ntask_args: {n: 300}\n"


def test_the_check_says_so(place):
    (error,) = place.errors(CPU)
    assert error == (
        f"{MINE}model_name_or_path: {place.model}: completions are decoded without special tokens, and then "
        "<think> </think> vanish with its tokenizer, so that every reward would be 0; choose a model whose tokenizer "
        'has them as plain text, or write "special": false beside them in its tokenizer files'
    )


@pytest.mark.parametrize(("script", "text"), [("run_r1_grpo.py", CPU), ("run_sft.py", SFT), ("evaluate.py", CPU)])
def test_so_does_every_script(place, run_script, capsys, script, text):
    with pytest.raises(SystemExit) as stopped:
        run_script(script, "--config", place.write(text))
    said = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said.startswith(f"error: {MINE}model_name_or_path: ") and said.count("\n") == 1
    assert "<think> </think> vanish" in said
