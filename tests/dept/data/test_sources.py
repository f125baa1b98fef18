"""Where rows come from: the same rows through every door, and a clear line for each bad one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.utils import httpx
from hypothesis import given, settings
from hypothesis import strategies as st

from dept.data.sources import load_rows
from dept.errors import DataError
from dept.tasks import Task, list_tasks, load_task
from dept.tasks.splits import permutation

TASK = Task.from_dict(
    {
        "name": "colours",
        "columns": {"text": "str", "label": "int", "score": "float", "tags": "list[str]", "meta": "mapping"},
        "optional_columns": ["score", "tags", "meta"],
        "template": "text: {text}",
        "label_column": "label",
        "labels": ["red", "blue"],
    }
)


def rows_of(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"text": f"line {i}", "label": i % 2} for i in range(start, start + count)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def texts(rows: datasets.Dataset) -> list[str]:
    return list(rows["text"])


@pytest.mark.parametrize("task", list_tasks(), ids=lambda task: task.name)
def test_real_rows_of_every_task(shared: Path, task: Task) -> None:
    rows = load_rows(task, shared / "data")
    first = json.loads((shared / "data" / task.name / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert rows.source == "folder"
    assert rows.sizes["train"] > 0 and rows.sizes["validation"] > 0
    assert set(rows.splits["train"].column_names) == set(task.columns)
    if task.name != "yelp_polarity":  # its validation is taken from train
        if task.image_column is not None:
            image = shared.resolve() / "data" / task.name / first[task.image_column]
            first |= {task.image_column: {"bytes": None, "path": str(image)}}
        assert task.examples(rows.splits["train"][0]) == task.examples(first)


def test_hidden_test_labels_count_as_missing(shared: Path) -> None:
    rows = load_rows(load_task("sst2"), shared / "data")  # its test file has -1 everywhere
    assert rows.sizes == {"train": 512, "validation": 128, "test": 128}
    assert set(rows.splits["test"]["label"]) == {0, 1}


def test_files_are_the_splits(tmp_path: Path) -> None:
    for name, start in (("train", 0), ("validation", 100), ("test", 200)):
        write(tmp_path / "colours" / f"{name}.jsonl", rows_of(10, start))
    rows = load_rows(TASK, tmp_path)
    assert [texts(rows.splits[name])[0] for name in rows.splits] == ["line 0", "line 100", "line 200"]
    assert load_rows(TASK, tmp_path, splits=["test"]).sizes == {"test": 10}
    assert load_rows(TASK, tmp_path / "colours").fingerprint == rows.fingerprint  # the folder itself will do


def test_a_single_file_is_divided(tmp_path: Path) -> None:
    path = write(tmp_path / "all.jsonl", rows_of(100))
    rows = load_rows(TASK, path)
    assert rows.sizes == {"train": 90, "validation": 5, "test": 5}
    everything = [text for split in rows.splits.values() for text in texts(split)]
    assert sorted(everything) == sorted(row["text"] for row in rows_of(100))
    assert load_rows(TASK, path).fingerprint == rows.fingerprint


def test_one_validation_row_leaves_no_test(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", rows_of(1))
    write(tmp_path / "validation.jsonl", rows_of(1, 5))
    assert load_rows(TASK, tmp_path).sizes == {"train": 1, "validation": 1}
    with pytest.raises(DataError, match="no test rows"):
        load_rows(TASK, tmp_path, splits=["test"])


def test_formats_give_the_same_rows(tmp_path: Path) -> None:
    rows = [
        {"text": 'a "quoted", comma\nnewline', "label": 1, "score": 0.5, "tags": ["x", "é"], "meta": {"n": 1}},
        *rows_of(30),
    ]
    full = [{"score": None, "tags": None, "meta": None} | row for row in rows]
    prints = set()
    jsonl = write(tmp_path / "a.jsonl", full)
    parquet = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(full), parquet)
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        lines = [delimiter.join(TASK.columns)]
        for row in full:
            cells = [
                json.dumps(v) if isinstance(v, dict | list) else "" if v is None else str(v) for v in row.values()
            ]
            values = dict(zip(row, cells, strict=True))
            quoted = ['"' + values[name].replace('"', '""') + '"' for name in TASK.columns]
            lines.append(delimiter.join(quoted))
        (tmp_path / f"a{suffix}").write_text("\n".join(lines), encoding="utf-8-sig")
    for path in (jsonl, parquet, tmp_path / "a.csv", tmp_path / "a.tsv"):
        prints.add(load_rows(TASK, path).fingerprint)
    assert len(prints) == 1
    full[3]["text"] = "changed"
    assert load_rows(TASK, write(jsonl, full)).fingerprint not in prints


def test_limited(tmp_path: Path) -> None:
    rows = load_rows(TASK, write(tmp_path / "all.jsonl", rows_of(100)))
    fewer = rows.limited({"train": 10, "test": 1000})
    assert fewer.sizes == {"train": 10, "validation": 5, "test": 5}
    assert fewer.fingerprint != rows.fingerprint
    assert rows.limited({}) is rows and rows.limited({"train": 90}) is rows


BAD_LINES = {
    '{"text": "x", "label": 7}': "column 'label'",
    '{"text": 3, "label": 1}': "column 'text'",
    '{"label": 1}': "column 'text' is missing",
    '{"text": "x", "label": "1"}': "column 'label'",
    '{"text": "x", "label": -1}': "column 'label'",
    '{"text": "x", "label": true}': "column 'label'",
    '{"text": "x", "label": 1, "score": NaN}': "NaN",
    '{"text": "x", "label": 1, "score": 1e999}': "column 'score'",
    '{"text": "x", "label": 1, "score": -Infinity}': "Infinity",
    '{"text": "\\ud800", "label": 1}': "column 'text'",
    '{"text": "x", "label": 1, "tags": ["\\udfff"]}': "surrogate",
    '{"text": "x", "label": 1, "meta": {"a": [1e999]}}': "column 'meta'",
    '{"text": "x", "label": 1, "tags": [["a"]]}': "column 'tags'",
    f'{{"text": "x", "label": 1, "meta": {"[" * 20 + "]" * 20}}}': "nested",
    '{"text": "x", "label": 1, "meta": {"n": "a text, where the row before has a number"}}': "column 'meta'",
    json.dumps({"text": "x", "label": 1, "meta": {"n": 10**30}}): "column 'meta'",
    "[1, 2]": "expected an object",
    "3": "expected an object",
    '{"text": "x", "label": 1': "not JSON",
    f'{{"text": "x", "label": {"9" * 5000}}}': "not JSON",
    "[" * 100_000: "nested too deeply",
    "nonsense": "not JSON",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: line[:40])
def test_the_first_bad_row_is_named(tmp_path: Path, line: str) -> None:
    good = json.dumps({"text": "x", "label": 0, "meta": {"n": 1}})
    path = tmp_path / "colours" / "train.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join([*[good] * 5, line, *[good] * 5, line]), encoding="utf-8")
    with pytest.raises(DataError) as fault:
        load_rows(TASK, tmp_path)
    message = str(fault.value)
    assert "train.jsonl, line 6" in message and BAD_LINES[line] in message
    assert "\n" not in message and len(message) < 600


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", b"", "no rows"),
        ("a.jsonl", b"\n\n  \n", "no rows"),
        ("a.jsonl", '{"text": "é", "label": 1}'.encode("latin-1"), "not UTF-8"),
        ("a.jsonl", '{"text": "x", "label": 1}'.encode("utf-16"), "line 1: not UTF-8"),
        ("a.jsonl", b"\x00" * 100, "not JSON"),
        ("a.parquet", b"PAR1 and then nothing like it", "Parquet"),
        ("a.parquet", b"", "Parquet"),
        ("a.csv", b"", "no rows"),
        ("a.csv", b"text,label\n", "no rows"),
        ("a.csv", b"text,label\nx,1\ny\n", "line 3: 1 values"),
        ("a.csv", b"text,label\nx,1\ny,1,2\n", "line 3: 3 values"),
        ("a.csv", b"text,text,label\nx,y,1\n", "twice"),
        ("a.csv", b'text,label\n"x,1\n', "not CSV"),
        ("a.csv", b"text,label\nx,one\n", "line 2: colours: column 'label'"),
        ("a.csv", b"text,label\n\xff\xfe,1\n", "not UTF-8"),
        ("a.csv", b"text,label,score\nx,1,inf\n", "column 'score'"),
        ("a.json", b"[]", "use one of .jsonl"),
        ("a.txt", b"hello", "use one of .jsonl"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as fault:
        load_rows(TASK, path)
    assert says in str(fault.value) and "\n" not in str(fault.value)


def test_a_line_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dept.data.tables.MAX_LINE_BYTES", 2**20)
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "' + "x" * 2**20 + '", "label": 1}')
    with pytest.raises(DataError, match="line 1: longer than 1 MiB"):
        load_rows(TASK, path)


def test_damaged_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows_of(500)), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="Parquet"):
        load_rows(TASK, path)


@pytest.mark.parametrize("data", ["nowhere", "no/where", "~nobody-by-this-name/x", "a\0b", "x" * 5000])
def test_no_such_place(data: str) -> None:
    with pytest.raises(DataError, match="sample|path"):
        load_rows(load_task("sst2"), data)


def test_ambiguous_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no colours/train.jsonl"):
        load_rows(TASK, tmp_path)
    write(tmp_path / "train.jsonl", rows_of(3))
    (tmp_path / "train.parquet").mkdir()
    with pytest.raises(DataError, match="keep one"):
        load_rows(TASK, tmp_path)
    with pytest.raises(DataError, match="no split is called 'dev'"):
        load_rows(TASK, tmp_path, splits=["dev"])


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([0, 1, -1, ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
junk_rows = st.lists(
    st.dictionaries(st.sampled_from([*TASK.columns, "other"]), junk, max_size=6)
    | st.fixed_dictionaries(
        {"text": st.text(st.characters(), max_size=8), "label": st.sampled_from([0, 1])},
        optional={"tags": junk, "meta": junk, "score": junk},
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=150, deadline=None)
@given(junk_rows, st.binary(max_size=3), st.integers(0, 200))
def test_fuzzed_rows_load_or_are_refused(rows: list[dict[str, Any]], noise: bytes, place: int) -> None:
    content = "".join(json.dumps(row) + "\n" for row in [*rows_of(2), *rows]).encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(content[:place] + noise + content[place:])
        try:
            loaded = load_rows(TASK, path)
        except DataError as fault:
            assert "\n" not in str(fault) and len(str(fault)) < 800
        else:
            for split in loaded.splits.values():
                for row in split:
                    assert TASK.examples(row)


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *args, **kwargs: None)


def hub(monkeypatch: pytest.MonkeyPatch, splits: Mapping[str, list[dict[str, Any]]]) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def load_dataset(path: str, name: str | None = None, *, revision: str | None = None) -> datasets.DatasetDict:
        calls.append((path, name, revision))
        return datasets.DatasetDict({key: datasets.Dataset.from_list(rows) for key, rows in splits.items()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return calls


def real(shared: Path, task: str, split: str) -> list[dict[str, Any]]:
    lines = (shared / "data" / task / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.usefixtures("reachable")
def test_hub_rows_follow_the_papers_rule(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = {name: real(shared, "rte", name) for name in ("train", "validation", "test")}
    calls = hub(monkeypatch, splits)
    rows = load_rows(load_task("rte"), "hub")
    assert calls == [("nyu-mll/glue", "rte", load_task("rte").hub_revision)]
    assert (rows.source, rows.location) == ("hub", "nyu-mll/glue/rte")
    assert rows.sizes == {"train": 512, "validation": 128, "test": 128}  # halved, though there is a test split
    order = permutation(256)
    assert rows.splits["test"]["sentence1"] == [splits["validation"][i]["sentence1"] for i in order[128:]]


@pytest.mark.usefixtures("reachable")
def test_hub_rows_are_checked(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validation = real(shared, "rte", "validation")
    validation[9] |= {"label": 5}
    hub(monkeypatch, {"train": real(shared, "rte", "train"), "validation": validation})
    with pytest.raises(DataError, match=r"nyu-mll/glue/rte, (validation|test) row \d+: rte: column 'label'"):
        load_rows(load_task("rte"), "hub")


@pytest.mark.usefixtures("reachable")
def test_own_hub_set(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = hub(monkeypatch, {"train": rows_of(50), "test": [row | {"label": -1} for row in rows_of(5)]})
    rows = load_rows(TASK, "me/my_set")
    assert calls == [("me/my_set", None, None)]
    assert rows.sizes == {"train": 45, "validation": 2, "test": 3}  # test's labels are hidden
    with pytest.raises(DataError, match="no such file"):
        load_rows(load_task("sst2"), "me/my_set")


@pytest.mark.parametrize(
    "fault",
    [
        datasets.exceptions.DatasetNotFoundError("gone"),
        ConnectionError("Couldn't reach it"),
        httpx.ReadTimeout("slow"),
        ValueError("BuilderConfig 'x' not found"),
        RuntimeError("Dataset scripts are no longer supported"),
        FileNotFoundError("no data files"),
        datasets.exceptions.DatasetGenerationError("bad file"),
    ],
    ids=lambda fault: type(fault).__name__,
)
@pytest.mark.usefixtures("reachable")
def test_hub_faults(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def load_dataset(*args: Any, **kwargs: Any) -> None:
        raise fault

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as raised:
        load_rows(load_task("sst2"), "hub")
    lines = str(raised.value).splitlines()
    assert len(lines) <= 2 and "--data FOLDER" in lines[-1] and "--data sample" in lines[-1]


def test_unreachable_hub_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def dataset_info(*args: Any, **kwargs: Any) -> None:
        asked.append(kwargs["timeout"])
        raise httpx.ConnectError("no network")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    before = (huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)
    with pytest.raises(DataError, match="does not answer"):
        load_rows(load_task("sst2"), "hub")  # would take half a minute if `datasets` tried by itself
    assert asked and asked[0] <= 10
    assert before == (huggingface_hub.constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE)


def test_offline_hub_uses_what_is_cached(monkeypatch: pytest.MonkeyPatch, shared: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    hub(monkeypatch, {name: real(shared, "rte", name) for name in ("train", "validation")})
    assert load_rows(load_task("rte"), "hub").source == "hub"


def test_sample() -> None:
    rows = load_rows(load_task("sst2"), "sample", sample_sizes={"train": 20, "validation": 10})
    assert rows.source == "sample"
    assert (rows.sizes["train"], rows.sizes["validation"]) == (20, 10) and rows.sizes["test"] > 0
    again = load_rows(load_task("sst2"), "sample", sample_sizes={"train": 20, "validation": 10})
    assert again.fingerprint == rows.fingerprint
    other = load_rows(load_task("sst2"), "sample", sample_sizes={"train": 20, "validation": 10}, seed=1)
    assert other.fingerprint != rows.fingerprint
    with pytest.raises(DataError, match="no embedded sample"):
        load_rows(TASK, "sample")


@pytest.mark.usefixtures("reachable")
def test_the_converted_branch_is_read_by_folder(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`refs/convert/parquet` has a folder for each config and split, in one or more files, and names no configs."""
    for config, task in (("boolq", "boolq"), ("wic", "wic")):
        for split in ("train", "validation"):
            folder = tmp_path / "branch" / config / split
            folder.mkdir(parents=True)
            rows = real(shared, task, split)
            for shard, part in enumerate((rows[:20], rows[20:])):
                pq.write_table(pa.Table.from_pylist(part), folder / f"{shard:04}.parquet")
    load_dataset = datasets.load_dataset

    def from_branch(path: str, **how: Any) -> Any:
        assert (path, how.pop("revision")) == ("aps/super_glue", "refs/convert/parquet")
        return load_dataset(str(tmp_path / "branch"), cache_dir=str(tmp_path / "cache"), **how)

    monkeypatch.setattr(datasets, "load_dataset", from_branch)
    found = load_rows(load_task("boolq"), "hub")
    assert found.sizes == {"train": 64, "validation": 128, "test": 128}
    assert set(found.splits["train"]["question"]) == {row["question"] for row in real(shared, "boolq", "train")}
