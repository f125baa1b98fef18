"""One's own task: the file guessed from a table loads and passes; the check finds everything that is wrong."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dept.data.own_task import check_task, new_task_yaml
from dept.data.sources import load_rows
from dept.errors import DataError
from dept.tasks import Task, load_task


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def guessed(table: Path) -> Task:
    """The task that the file written for `table` describes; it must pass its own check."""
    path = table.with_suffix(".yaml")
    path.write_text(new_task_yaml(table), encoding="utf-8")
    task = load_task(path)
    report = check_task(task, table)
    assert report.ok, report.text
    return task


REVIEWS = [{"id": i, "review": f"a film, no. {i}", "stars": i % 5, "label": ("bad", "good")[i % 2]} for i in range(40)]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_classes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"my reviews{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(REVIEWS), path)
    else:
        (write_csv if suffix == ".csv" else write_jsonl)(path, REVIEWS)
    task = guessed(path)
    assert (task.name, task.label_column, task.labels) == ("my_reviews", "label", ("bad", "good"))
    assert task.template == "review: {review}" and dict(task.columns) == {"review": "str", "label": "str"}
    (example,) = task.examples(REVIEWS[1], "words")
    assert (example.source, example.target, example.label) == ("review: a film, no. 1", "good", 1)
    assert load_rows(task, path).sizes == {"train": 36, "validation": 2, "test": 2}
    text = path.with_suffix(".yaml").read_text()
    assert text.count("#") >= 6 and "Not used: id, stars" in text


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0, 1, 2], ("0", "1", "2")),
        ([True, False], ("false", "true")),
        (["no", "yes"], ("no", "yes")),  # YAML's booleans, unless quoted
        (["1.5", "~"], ("1.5", "~")),
        (["a: b", "# c", "d's"], ("# c", "a: b", "d's")),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_label_values(tmp_path: Path, values: list[Any], labels: tuple[str, ...], suffix: str) -> None:
    rows = [{"text": f"row {i}", "label": values[i % len(values)]} for i in range(30)]
    task = guessed((write_csv if suffix == ".csv" else write_jsonl)(tmp_path / f"t{suffix}", rows))
    assert task.labels == labels


def test_targets_that_are_no_classes(tmp_path: Path) -> None:
    rows = [{"question": f"what is {i}?", "answer": f"it is number {i}"} for i in range(30)]
    task = guessed(write_jsonl(tmp_path / "qa.jsonl", rows))
    assert task.labels is None and task.main_metric == "token_f1" and task.decoding == "generate"
    scored = [{"first": f"a {i}", "second": f"b {i}", "score": i / 7} for i in range(30)]
    task = guessed(write_csv(tmp_path / "scores.csv", scored))
    assert task.metrics == ("pearson", "spearman") and task.template == "first: {first} second: {second}"
    many = [{"text": f"a {i}", "answers": [f"b {i}", "c"]} for i in range(30)]
    assert guessed(write_jsonl(tmp_path / "many.jsonl", many)).columns["answers"] == "list[str]"


def test_gaps_and_odd_names(tmp_path: Path) -> None:
    rows = [
        {"my text": f"x {i}", "no": None if i % 3 else "y", "a.b": "z", "meta": {"n": 1}, "label": i % 2}
        for i in range(30)
    ]
    task = guessed(write_jsonl(tmp_path / "odd.jsonl", rows))
    assert task.template == "my text: {my text} no: {no}" and task.optional_columns == ("no",)


def test_a_shipped_name_is_not_taken(tmp_path: Path) -> None:
    assert guessed(write_csv(tmp_path / "sst2.csv", REVIEWS)).name == "my_sst2"


@pytest.mark.parametrize("name", ["rte", "boolq", "qnli"])
def test_real_tables(shared: Path, tmp_path: Path, name: str) -> None:
    table = tmp_path / f"{name}.jsonl"
    table.write_bytes((shared / "data" / name / "train.jsonl").read_bytes())
    task = guessed(table)
    assert task.label_column == "label" and len(task.labels or ()) == 2


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"label": 0}, {"label": 1}] * 9, "no input column"),
        ([{"text": "a", "label": 1}, {"text": "b", "label": -1}] * 9, "-1 stands for a hidden label"),
        ([{"meta": {}}] * 9, "no column that could be the label"),
    ],
)
def test_tables_that_no_task_can_be_made_of(tmp_path: Path, rows: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(DataError, match=says):
        new_task_yaml(write_jsonl(tmp_path / "t.jsonl", rows))


cells = (
    st.none() | st.integers(-1, 3) | st.text(max_size=6) | st.booleans() | st.floats() | st.lists(st.text(max_size=3))
)
names = st.sampled_from(["text", "label", "no", "a b", "id", "{x}", "a.b", "é"]) | st.text(max_size=5)


@settings(max_examples=120, deadline=None)
@example([{"text": "0\x1f"}], True)  # a number to str.strip, not to int
@example([{"\x85": None, "text": 0, "label": 0}], False)
@given(st.lists(st.dictionaries(names, cells, min_size=1, max_size=4), min_size=1, max_size=12), st.booleans())
def test_fuzzed_tables_give_a_file_that_loads_or_are_refused(rows: list[dict[str, Any]], as_csv: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        full = [{name: row.get(name) for name in columns} for row in rows]
        table = Path(folder) / ("t.csv" if as_csv else "t.jsonl")
        try:
            text = new_task_yaml((write_csv if as_csv else write_jsonl)(table, full))
        except DataError as fault:
            assert "\n" not in str(fault)
            return
        table.with_suffix(".yaml").write_text(text, encoding="utf-8")
        check_task(load_task(table.with_suffix(".yaml")), table)  # rows may be bad; the file is not


def task_of_reviews(tmp_path: Path) -> Task:
    return guessed(write_csv(tmp_path / "reviews.csv", REVIEWS))


def test_check_shows_rows_as_they_are_fed(tmp_path: Path) -> None:
    report = check_task(task_of_reviews(tmp_path), tmp_path / "reviews.csv", limit=2)
    assert len(report.shown) == 2
    assert "source: review: a film, no. 0" in report.text and "'0' (digits) or 'bad' (words)" in report.text
    assert "train 36, validation 2, test 2" in report.text and "nothing is wrong" in report.text


def test_check_finds_everything(tmp_path: Path) -> None:
    task = task_of_reviews(tmp_path)
    rows: list[dict[str, Any]] = [{"review": "x", "label": "good"} for _ in range(9)]
    rows[2] = {"review": 3, "label": "good"}
    rows[4] = {"review": None, "label": 1}
    rows[6] = {"label": "awful"}
    report = check_task(task, write_jsonl(tmp_path / "bad.jsonl", rows))
    assert not report.ok and len(report.problems) == 4
    for line, column in (
        ("line 3", "'review'"),
        ("line 5", "'review'"),
        ("line 5", "'label'"),
        ("line 7", "'review'"),
    ):
        assert any(line in problem and column in problem for problem in report.problems), report.text
    assert "4 things are wrong" in report.text


def test_check_stops_at_a_limit_and_at_broken_files(tmp_path: Path) -> None:
    task = task_of_reviews(tmp_path)
    table = write_jsonl(tmp_path / "bad.jsonl", [{"review": 3, "label": "good"}] * 100)
    assert len(check_task(task, table).problems) == 20
    table.write_text('{"review": "x", "label": "good"}\nnonsense\n')
    report = check_task(task, table)
    assert len(report.problems) == 1 and "line 2: not JSON" in report.problems[0] and len(report.shown) == 1


def test_check_notes(tmp_path: Path) -> None:
    task = task_of_reviews(tmp_path)
    rows = [{"review": "word " * 300, "label": "good"}] * 12
    notes = check_task(task, write_jsonl(tmp_path / "odd.jsonl", rows)).text
    assert "no row has the label bad" in notes and "12 of 12 sources are longer than max_seq_length 256" in notes
    assert "11 of 12 sources stand there more than once" in notes


def test_check_of_other_places(tmp_path: Path) -> None:
    report = check_task(load_task("sst2"), "sample", limit=3)
    assert report.ok and len(report.shown) == 3
    missing = check_task(task_of_reviews(tmp_path), "nowhere.csv")
    assert missing.problems and "no such file" in missing.problems[0]
