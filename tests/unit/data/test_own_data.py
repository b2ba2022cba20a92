"""Data of one's own: every kind of file, columns under other names, files that git or a download left out."""

import json

import pytest

from mini_r1 import tasks
from mini_r1.config.arguments import RecipeArguments, SFTArguments
from mini_r1.config.recipe import resolve
from mini_r1.data.hub import load_tokenizer, missing_shards
from mini_r1.data.mixture import read_parts
from mini_r1.data.problems import load_rows, read_split
from mini_r1.errors import RecipeError

GSM8K, COUNTDOWN = tasks.get("gsm8k"), tasks.get("countdown")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
ROWS = [{"question": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(10)]


def load(path, task=GSM8K, **more):
    rows = load_rows(RecipeArguments(dataset_id_or_path=str(path), test_fraction=0.0, **more), task)
    return rows.train


@pytest.mark.parametrize(
    "text",
    [
        "question,answer\nWhat is 1 + 1?,2\n",
        "\ufeffquestion,answer\r\nWhat is 1 + 1?,2\r\n",
        'answer,question,note\n2,"What is 1 + 1?",\n',
        'question,answer\n"What is\n1 + 1?",#### 2\n',
        '\ufeff{"question": "What is 1 + 1?", "answer": "2"}\r\n\r\n',
        '{"question": "What is 1 + 1?", "answer": 2}\n',
    ],
)
def test_files_as_other_programs_write_them(tmp_path, text):
    file = tmp_path / ("rows.jsonl" if "{" in text else "rows.csv")
    file.write_bytes(text.encode())
    (row,) = load(file)
    assert (row["question"].replace("\n", " "), row["answer"]) == ("What is 1 + 1?", "2")


def test_cells_of_a_csv_file(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text('nums,target,tag\n"[1, 2]",3,007\n"[4, 5]",-9,\n')
    assert read_split(str(file), "train") == [
        {"nums": [1, 2], "target": 3, "tag": "007"}, {"nums": [4, 5], "target": -9, "tag": None},
    ]  # fmt: skip
    assert [row["target"] for row in load(file, COUNTDOWN)] == [3, -9]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("question,answer\na,1,2\n", "row 0 has another number of cells than the header"),
        ("question,answer\na,1\nb\n", "row 1 has another number of cells than the header"),
        ('question,answer\n"a,1\n', "line 1: unexpected end of data"),
    ],
)
def test_csv_that_cannot_be_read(tmp_path, text, said):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(RecipeError, match=said):
        load(tmp_path / "rows.csv")


def test_columns_under_other_names(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"problem": r["question"], "solution": r["answer"], "answer": "?"}) + "\n"
                            for r in ROWS))  # fmt: skip
    rows = load(file, dataset_columns={"question": "problem", "answer": "solution"})
    assert [(row["question"], row["answer"]) for row in rows] == [(r["question"], r["answer"]) for r in ROWS]
    with pytest.raises(RecipeError, match="column 'question' is missing; its columns are problem, solution, answer"):
        load(file)
    with pytest.raises(RecipeError, match="column 'probem', which dataset_columns names for question, is missing"):
        load(file, dataset_columns={"question": "probem"})


def test_the_columns_of_each_task_of_a_mixture(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"problem": "What is 1 + 1?", "solution": "2"}) + "\n")
    columns = {"question": "problem", "answer": "solution"}
    entry = {"task": "gsm8k", "dataset_id_or_path": str(tmp_path / "rows.jsonl"), "dataset_columns": columns,
             "reward_funcs": ["number_reward"], "test_fraction": 0.0}  # fmt: skip
    other = {"task": "countdown", "reward_funcs": ["equation_reward"]}
    part, _ = read_parts(RecipeArguments(tasks=[entry, other]))
    assert load_rows(part.args, part.task).train[0]["answer"] == "2"
    with pytest.raises(RecipeError, match="dataset_columns: is about one task"):
        read_parts(RecipeArguments(tasks=[entry, other], dataset_columns=columns))


def test_lfs_pointers_and_missing_shards_of_data(tmp_path):
    (tmp_path / "train.jsonl").write_text(POINTER)
    with pytest.raises(RecipeError, match=r"train.jsonl is a Git LFS pointer, not the data; run git lfs pull"):
        load(tmp_path)
    (tmp_path / "train.jsonl").unlink()
    for number in (0, 2):
        (tmp_path / f"train-{number:05d}-of-00003.jsonl").write_text(json.dumps(ROWS[number]) + "\n")
    with pytest.raises(RecipeError, match=r"lacks train-00001-of-00003\.jsonl; download the folder again"):
        load(tmp_path)
    (tmp_path / "train-00001-of-00003.jsonl").write_text(json.dumps(ROWS[1]) + "\n")
    assert len(load(tmp_path)) == 3
    assert missing_shards(["a-00001-of-00002.bin", "b.bin"]) == ["a-00000-of-00002.bin"]
    assert missing_shards(["a-00000-of-00002.parquet", "a-00001-of-00002.jsonl"]) == []


def test_lfs_pointers_and_missing_shards_of_weights(tmp_path, tiny_tokenizer):
    tiny_tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path))
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"weights")
    with pytest.raises(RecipeError, match=r"lacks model-00002-of-00002\.safetensors, which model\.safetensors\.index"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "model-00002-of-00002.safetensors").write_text(POINTER)
    with pytest.raises(RecipeError, match=r"model-00002.* is a Git LFS pointer; run git lfs pull in"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(b"weights")
    assert load_tokenizer(str(tmp_path))


def test_the_home_directory_in_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "mine.yaml"
    file.write_text(
        "task: gsm8k\nmodel_name_or_path: ~/models/a\ndataset_id_or_path: ~/rows.csv\noutput_dir: ~/runs/{recipe}\n"
        "reward_funcs: [{name: judged, reward_model: ~/models/b}, format_reward]\ntemperature: 0.9\n"
        "sft_datasets: [{path: ~/sft}]\nenv: {NOTE: a ~ b}\n"
    )
    values = resolve(file, {"resume_from_checkpoint": "~/runs/x"}).values
    assert values["model_name_or_path"] == f"{tmp_path}/models/a" and values["output_dir"] == f"{tmp_path}/runs/mine"
    assert (
        values["dataset_id_or_path"] == f"{tmp_path}/rows.csv"
        and values["sft_datasets"][0]["path"] == f"{tmp_path}/sft"
    )
    assert values["reward_funcs"][0]["reward_model"] == f"{tmp_path}/models/b"
    assert values["resume_from_checkpoint"] == f"{tmp_path}/runs/x" and values["env"] == {"NOTE": "a ~ b"}


def test_sft_data_need_no_task():
    assert read_parts(SFTArguments(sft_datasets=[{"path": "rows.jsonl"}])) == []
    with pytest.raises(RecipeError, match="task"):
        read_parts(SFTArguments())
    with pytest.raises(RecipeError, match="task"):
        read_parts(RecipeArguments())
