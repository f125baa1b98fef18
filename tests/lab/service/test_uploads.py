from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from dept.errors import DataError
from dept.tasks import load_task
from lab.service.limits import Limits
from lab.service.owners import OPERATOR, Visitor
from lab.service.uploads import Uploads, in_plain_columns
from tests.lab.service.helpers import somebody

CSV = 'Subject,Body text,Spam?\nhi,"see you, soon",no\nwin,"cash\nnow",yes\nre: hi,ok,no\nprize,click,yes\n'


def _received(uploads: Uploads, tmp_path: Path, content: str | bytes, title: str, owner: Visitor) -> str:
    file = tmp_path / "from-the-browser"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return uploads.receive(file, title, owner).upload_id


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / ".uploads", Limits(upload_bytes=100_000, upload_rows=50, cell_characters=500, uploads=3))


def test_a_table_becomes_a_task_and_rows_that_train(uploads: Uploads, tmp_path: Path) -> None:
    me, file = somebody(), tmp_path / "x.tmp"
    file.write_text(CSV)
    table = uploads.receive(file, "My mail.CSV", me)
    assert table.columns == ("Subject", "Body text", "Spam?") and table.rows == 4
    assert table.first[1] == {"Subject": "win", "Body text": "cash\nnow", "Spam?": "yes"}
    with pytest.raises(DataError, match="choose the text columns"):
        uploads.chosen(table.upload_id, me)
    check = uploads.choose(table.upload_id, ["Subject", "Body text"], "Spam?", me)
    assert check.ok, check.problems
    assert "source: subject: win body_text: cash\nnow" in check.shown[1]
    assert str(tmp_path) not in check.text and "My mail.CSV, line 2" in check.text
    folder = uploads.chosen(table.upload_id, me)
    assert sorted(path.name for path in folder.iterdir()) == ["rows.jsonl", "task.yaml"]
    task = load_task(str(folder / "task.yaml"))
    assert task.name == "My_mail" and task.labels == ("no", "yes")
    # A table of the same kind goes by the task's names too, labelled or not.
    _, row = in_plain_columns(("line 1", {"Subject": "hi", "Body text": 7}))
    task.check_row(row, require_target=False)
    assert row == {"subject": "hi", "body_text": "7"}
    # Another choice takes the place of the first.
    uploads.choose(table.upload_id, ["Body text"], "Subject", me)
    assert "subject" not in load_task(str(folder / "task.yaml")).columns


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["1", "0", "1", "0"], "str"),
        ([1, 0, 1, 0], "str"),
        ([True, False, True, False], "str"),
        (["0.5", "2", "3.25", "1e1"], "float"),
        ([0.5, 2, 3.25, 10], "float"),
        (["good film", "bad film", "bad film", "good film"], "str"),
        (["-1", "1", "-1", "1"], "str"),
    ],
)
def test_labels_are_classes_or_numbers(uploads: Uploads, tmp_path: Path, labels: list[Any], kind: str) -> None:
    me = somebody()
    rows = [{"id": "a b", "label": f"text {i}", "y": label} for i, label in enumerate(labels)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    upload = _received(uploads, tmp_path, lines, "t.jsonl", me)
    check = uploads.choose(upload, ["id", "label"], "y", me)  # columns whose names mean something to task files
    assert check.ok, check.problems
    task = load_task(str(uploads.chosen(upload, me) / "task.yaml"))
    assert task.columns == {"text_id": "str", "text_label": "str", "label": kind}
    assert (task.labels is not None) == (kind == "str")


@pytest.mark.parametrize(
    ("title", "content", "message"),
    [
        ("x.csv", b"", "no rows"),
        ("x.csv", b"a,b\n", "no rows"),
        ("x.csv", b"a,b\n1\n", "x.csv, line 2: 1 values"),
        ("x.csv", b"a,b\n\xff\xfe,1\n", "not UTF-8"),
        ("x.csv", b'a,b\n"x,1\n', "not CSV"),
        ("x.csv", b"a,a\n1,2\n", "stands twice"),
        ("x.csv", b"a,\n1,2\n", "no name for a column"),
        ("x.csv", b"a\x00b,c\n1,2\n", ""),
        ("x.csv", b"a,b\n" + b"1,2\n" * 51, "at most 50"),
        ("x.csv", b"a,b\n1," + b"x" * 501, "longer than 500"),
        ("x.csv", b"a,b\n1," + b"x" * 100_000, "MiB"),
        ("x.csv", b",".join(b"c%d" % i for i in range(101)) + b"\n" + b"1," * 100 + b"1\n", "101 columns"),
        ("x.jsonl", b"[1, 2]\n", "expected an object"),
        ("x.jsonl", b"{" * 5000, "not JSON"),
        ("x.jsonl", b'{"a": ' + b"[" * 5000, "nested too deeply"),
        ("x.jsonl", b'{"a": NaN}\n', "NaN"),
        ("x.jsonl", b'{"a": [1]}\n', "a list or an object"),
        ("x.jsonl", b'{"a": 1' + b"0" * 30 + b"}\n", "too many digits"),
        ("x.jsonl", b'{"a": "\\ud800"}\n', "surrogate"),
        ("x.pkl", b"\x80\x04K\x01.", "bring a CSV"),
        ("x.parquet", b"PAR1", "bring a CSV"),
        ("x", b"a,b\n1,2\n", "bring a CSV"),
        ("../../x.exe", b"a,b\n1,2\n", "bring a CSV"),
    ],
)
def test_what_is_no_small_table_of_texts_is_refused(
    uploads: Uploads, tmp_path: Path, title: str, content: bytes, message: str
) -> None:
    with pytest.raises(DataError) as fault:
        _received(uploads, tmp_path, content, title, somebody())
    assert message in str(fault.value) and str(tmp_path) not in str(fault.value)
    assert list((tmp_path / ".uploads").glob("*")) == []


def test_hostile_names_stay_texts(uploads: Uploads, tmp_path: Path) -> None:
    me = somebody()
    names = ["../../etc", "{__class__}", "a: !!python/object:x", "<script>alert(1)</script>"]
    rows = [{**{name: f"{name} {i}" for name in names}, "y'\"": f"<b>{i % 2}"} for i in range(4)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    before = set(tmp_path.rglob("*"))
    upload = _received(uploads, tmp_path, lines, "../../../`rm`\n<img src=x>.jsonl", me)
    check = uploads.choose(upload, names, "y'\"", me)
    assert check.ok, check.problems
    assert "text___class__: {__class__} 0" in check.shown[0] or "class: {__class__} 0" in check.shown[0]
    made = set(tmp_path.rglob("*")) - before
    assert all(path.name == "from-the-browser" or path.is_relative_to(uploads.folder) for path in made)


def test_a_table_is_its_owners(uploads: Uploads, tmp_path: Path) -> None:
    me, other = somebody(), somebody()
    upload = _received(uploads, tmp_path, CSV, "mail.csv", me)
    for stranger in (other, Visitor()):
        with pytest.raises(DataError, match="no such table"):
            uploads.choose(upload, ["Subject"], "Spam?", stranger)
        with pytest.raises(DataError, match="no such table"):
            uploads.chosen(upload, stranger)
    with pytest.raises(DataError, match="no token"):
        _received(uploads, tmp_path, CSV, "mail.csv", Visitor())
    assert uploads.choose(upload, ["Subject"], "Spam?", OPERATOR).ok


@pytest.mark.parametrize("name", ["", "..", "../x", "a" * 24, "0" * 25, "*", None, 5, ["0" * 24], "0" * 23 + "/"])
def test_ids_are_no_paths(uploads: Uploads, tmp_path: Path, name: Any) -> None:
    (tmp_path / ".uploads").mkdir()
    with pytest.raises(DataError, match="no such table"):
        uploads.chosen(name, OPERATOR)


@pytest.mark.parametrize(
    ("texts", "label"),
    [([], "Spam?"), (["Spam?"], "Spam?"), (["Subject", "Subject"], "Spam?"), (["none"], "Spam?"), (["Subject"], "x")]
    + [("Subject", "Spam?"), (7, "Spam?"), ([["Subject"]], "Spam?"), (["Subject"], None), ([None], "Spam?")],
)
def test_columns_that_cannot_be_chosen_are_named(uploads: Uploads, tmp_path: Path, texts: Any, label: Any) -> None:
    me = somebody()
    upload = _received(uploads, tmp_path, CSV, "mail.csv", me)
    with pytest.raises(DataError):
        uploads.choose(upload, texts, label, me)


def test_the_oldest_table_makes_room(uploads: Uploads, tmp_path: Path) -> None:
    me = somebody()
    kept = []
    for age in (40, 30, 20, 10):
        kept.append(_received(uploads, tmp_path, CSV, "mail.csv", me))
        then = time.time() - age
        os.utime(uploads.folder / kept[-1], (then, then))
    assert {path.name for path in uploads.folder.iterdir()} == set(kept[1:])
