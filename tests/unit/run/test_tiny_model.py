"""The model made from nothing: its tokenizer survives being saved, its weights follow the seed. Cold-start traces."""

import json
import random
import unicodedata

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mini_r1.config.arguments import SFTArguments
from mini_r1.config.recipe import resolve
from mini_r1.data.hub import load_tokenizer
from mini_r1.data.mixture import Part
from mini_r1.data.prompts import get_template, joined, prompt_ids, render
from mini_r1.data.traces import trace_dataset
from mini_r1.errors import RecipeError
from mini_r1.run.tiny_model import END_OF_TURN, SPECIAL_TOKENS, build_model
from mini_r1.tasks import countdown

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": True}
TEMPLATE = get_template("mini_r1")
UNICODE = [
    "",
    " ",
    "a  b\t\n\n c \r\n",
    "naïve ﬁ Ǆ é e\u0301",  # ligatures stay; accents are composed (NFC), as Qwen2's tokenizer does
    "数を作る 🧮👩‍🔬 עברית",
    "\u2028\u0000\ufeff\uffff",
    "<think></think><answer>1 + 2</answer>< think>",
    "12345678901234567890 007 3.14 ١٢٣ ²",
    "<|im_start|>user\nHi<|im_end|>",
]


def texts(rows: list[dict]) -> list[str]:
    rng = random.Random(5)
    settings = [{}, {"give_up": 0.6, "break_format": 0.5}]
    return UNICODE + [joined(countdown.trace(row, rng, limit=99, **how)) for row in rows[:40] for how in settings]


@pytest.fixture(scope="module")
def saved(tmp_path_factory, tiny_tokenizer) -> str:
    folder = tmp_path_factory.mktemp("saved")
    tiny_tokenizer.save_pretrained(folder)
    build_model(tiny_tokenizer, 0, **SIZES).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("load", [AutoTokenizer.from_pretrained, load_tokenizer])
def test_tokenizer_is_the_same_after_it_was_saved(load, saved, tiny_tokenizer, tiny_rows):
    loaded = load(saved)
    prompts = [render(TEMPLATE, countdown, row, tiny_tokenizer).text for row in tiny_rows[:40]]
    assert [render(TEMPLATE, countdown, row, loaded).text for row in tiny_rows[:40]] == prompts
    for text in prompts + texts(tiny_rows):
        ids = prompt_ids(text, tiny_tokenizer)
        assert prompt_ids(text, loaded) == ids
        assert loaded.decode(ids) == tiny_tokenizer.decode(ids) == unicodedata.normalize("NFC", text)
    assert len(loaded) == len(tiny_tokenizer)
    assert (loaded.eos_token, loaded.pad_token, loaded.bos_token) == (END_OF_TURN, "<|endoftext|>", None)


def test_special_tokens_vanish_and_tags_survive(saved, tiny_rows):
    loaded = AutoTokenizer.from_pretrained(saved)
    for text in texts(tiny_rows):
        shown = loaded.decode([*prompt_ids(text, loaded), loaded.eos_token_id], skip_special_tokens=True)
        for token in SPECIAL_TOKENS:
            text = text.replace(token, "")
        assert shown == unicodedata.normalize("NFC", text)
    assert set(loaded.all_special_tokens) == set(SPECIAL_TOKENS)


def test_numbers_and_tags_are_single_tokens(tiny_model_dir):
    recipe = resolve(tiny_model_dir / "recipe.yaml").values
    most = max(row["target"] for row in countdown.generate(**recipe["task_args"]))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    for piece in [*map(str, range(most + 1)), "<think>", "</think>", "<answer>", "</answer>"]:
        token = tokenizer.convert_tokens_to_ids(piece)
        for text in (piece, f" + {piece} = ", f"\n{piece}\n", f"({piece})", f", {piece},"):
            assert prompt_ids(text, tokenizer).count(token) == 1, text
        assert prompt_ids(piece, tokenizer) == [token]


def test_prompts_and_traces_are_short(tiny_tokenizer, tiny_rows):
    for row in tiny_rows:
        assert len(prompt_ids(render(TEMPLATE, countdown, row, tiny_tokenizer).text, tiny_tokenizer)) < 40
        trace = joined(countdown.trace(row, random.Random(0), limit=99))
        assert len(prompt_ids(trace, tiny_tokenizer)) <= 15 * (trace.count("\n") + 1)


def weights(model) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_model_depends_on_the_seed_alone(tiny_tokenizer, saved):
    torch.manual_seed(99)
    first = build_model(tiny_tokenizer, 0, **SIZES)
    torch.rand(10)
    assert torch.equal(weights(build_model(tiny_tokenizer, 0, **SIZES)), weights(first))
    assert torch.equal(weights(AutoModelForCausalLM.from_pretrained(saved)), weights(first))
    assert not torch.equal(weights(build_model(tiny_tokenizer, 1, **SIZES)), weights(first))


def test_model_fits_its_tokenizer(tiny_tokenizer, saved):
    model = AutoModelForCausalLM.from_pretrained(saved)
    rows = model.get_input_embeddings().weight.shape[0]
    assert len(tiny_tokenizer) <= rows < len(tiny_tokenizer) + 16
    assert rows % 16 == 0
    for config in (model.config, model.generation_config):
        found = (config.eos_token_id, config.pad_token_id, config.bos_token_id)
        assert found == (tiny_tokenizer.eos_token_id, tiny_tokenizer.pad_token_id, None)


def test_what_the_script_builds(tiny_model_dir):
    tokenizer, model = load_tokenizer(str(tiny_model_dir)), AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    for name, size in resolve(tiny_model_dir / "recipe.yaml").values["model_sizes"].items():
        assert getattr(model.config, name) == size
    assert tokenizer.padding_side == "left"
    summary = json.loads((tiny_model_dir / "summary.json").read_text())
    assert (summary["stage"], summary["seed"]) == ("build", 42)
    assert summary["seconds"]["total"] >= 0


def sft(**values) -> SFTArguments:
    return SFTArguments(task="countdown", **values)


def traces_of(rows, args, tokenizer, seed=0, batch_size=4, max_length=None, task=countdown):
    part = Part("countdown", task, TEMPLATE, args)
    return trace_dataset([part], [rows], args.num_traces, tokenizer, seed, batch_size, max_length)


def test_traces_are_masked_to_the_completion(tiny_tokenizer, tiny_rows):
    rows = tiny_rows[:30]
    args = sft(num_traces=100, trace_phases=[{"share": 1.0, "limit": 99}])
    made = traces_of(rows, args, tiny_tokenizer, seed=3)
    assert made.column_names == ["input_ids", "labels"]
    assert len(made) == 100
    prompts = {render(TEMPLATE, countdown, row, tiny_tokenizer).text: row for row in rows}
    used = set()
    for ids, labels in zip(made["input_ids"], made["labels"], strict=True):
        mask = [int(label != -100) for label in labels]
        assert all(label in (-100, token) for label, token in zip(labels, ids, strict=True))
        border = mask.index(1)
        assert mask == [0] * border + [1] * (len(ids) - border)
        prompt, completion = ids[:border], ids[border:]
        text = tiny_tokenizer.decode(prompt)
        assert prompt == prompt_ids(text, tiny_tokenizer)  # the rollout's own context
        assert completion[-1] == tiny_tokenizer.eos_token_id
        assert tiny_tokenizer.eos_token_id not in completion[:-1]
        trace = joined(countdown.trace(prompts[text], random.Random(0), limit=99))
        assert tiny_tokenizer.decode(completion[:-1]) == trace
        assert completion[:-1] == prompt_ids(trace, tiny_tokenizer)
        used.add(text)
    assert len(used) > 20  # random rows, not one after the other


def test_what_a_trace_hides_is_not_learned(tiny_tokenizer, tiny_rows):
    phases = [{"share": 1.0, "limit": 99, "give_up": 0.5, "pushed": True}]
    made = traces_of(tiny_rows, sft(trace_phases=phases), tiny_tokenizer)
    hidden = 0
    for ids, labels in zip(made["input_ids"], made["labels"], strict=True):
        mask = [int(label != -100) for label in labels]
        assert all(label in (-100, token) for label, token in zip(labels, ids, strict=True))
        for i in range(mask.index(1), len(ids)):
            if not mask[i]:
                hidden += 1
                assert tiny_tokenizer.decode(ids[i]) == "Next: "
    assert hidden > len(made)


def test_traces_follow_the_seed(tiny_tokenizer, tiny_rows):
    def made(seed, **values):
        return traces_of(tiny_rows, sft(**values), tiny_tokenizer, seed)["input_ids"][:]

    assert made(1, num_traces=40) == made(1, num_traces=40) != made(2, num_traces=40)
    assert len(made(1)) == len(tiny_rows)


def test_phases_come_in_order_and_by_share(tiny_tokenizer, tiny_rows):
    phases = [{"share": 0.75, "limit": 99}, {"share": 0.25, "limit": 99, "give_up": 1.0}]
    args = sft(num_traces=256, trace_phases=phases)
    made = traces_of(tiny_rows, args, tiny_tokenizer)
    gave_up = ["I give up" in tiny_tokenizer.decode(ids) for ids in made["input_ids"]]
    assert len(gave_up) == 256
    assert not any(gave_up[:192])
    assert sum(gave_up[192:]) > 40  # all but those whose first try is right


def test_like_lengths_share_a_batch(tiny_tokenizer, tiny_rows):
    args = sft(num_traces=512, trace_phases=[{"share": 1.0, "limit": 99}])

    def padding(batch_size):
        made = traces_of(tiny_rows, args, tiny_tokenizer, batch_size=batch_size)
        lengths = [len(ids) for ids in made["input_ids"]]
        batches = [lengths[i : i + 16] for i in range(0, len(lengths), 16)]
        assert sorted(lengths) != lengths
        return sum(len(batch) * max(batch) - sum(batch) for batch in batches)

    assert padding(16) < 0.5 * padding(1)


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ([{"limit": 99}], "every phase needs a `share`, and the shares must add up to 1"),
        ([{"share": 0.7, "limit": 99}], "the shares must add up to 1"),
        ([{"share": 0.7, "limit": 99}, {"share": 0.7}], "the shares must add up to 1"),
        ([{"share": 1.0, "patience": 3}], "'patience' is no setting of trace; it knows operators, limit"),
        ([{"share": 1.0, "operators": "+", "limit": 99}], r"no order of \+ makes"),
        ([{"share": 1.0, "limit": 3}], "no order of"),
    ],
)
def test_bad_phases(tiny_tokenizer, tiny_rows, phases, expected):
    with pytest.raises(RecipeError, match=expected) as error:
        traces_of(tiny_rows, sft(trace_phases=phases), tiny_tokenizer)
    assert error.value.key == "trace_phases"


def test_a_trace_is_never_cut_off(tiny_tokenizer, tiny_rows):
    args = sft(trace_phases=[{"share": 1.0, "limit": 99}])
    with pytest.raises(RecipeError, match="the longest trace has"):
        traces_of(tiny_rows, args, tiny_tokenizer, max_length=60)


def test_a_task_without_traces(tiny_tokenizer, tiny_rows):
    class Silent:
        question, ANSWER_EXAMPLE = countdown.question, countdown.ANSWER_EXAMPLE

    with pytest.raises(RecipeError, match=r"^task: countdown has no `trace`"):
        traces_of(tiny_rows, sft(), tiny_tokenizer, task=Silent)
