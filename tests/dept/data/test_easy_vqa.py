"""--data easy-vqa: rows read from a package that is never imported."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from dept.data import easy_vqa
from dept.data.sources import load_rows
from dept.errors import DataError
from dept.tasks import load_task

installed = pytest.mark.skipif(importlib.util.find_spec("easy_vqa") is None, reason="easy-vqa is not installed")


@pytest.mark.slow
@installed
def test_the_packages_own_splits_and_a_validation_part_of_train() -> None:
    rows = load_rows(load_task("vqa"), easy_vqa.NAME)
    assert rows.sizes == {"train": 34_743, "validation": 3_832, "test": 9_673}
    assert (rows.source, rows.image_column) == ("package", "image") and rows.location.startswith("easy-vqa 1")
    images = {name: {row["image_id"] for row in split.remove_columns("image")} for name, split in rows.splits.items()}
    assert images["train"].isdisjoint(images["validation"]) and len(images["validation"]) == 400
    first = rows.splits["test"][0]
    assert Path(first["image"]["path"]).is_file()
    [example] = load_task("vqa").examples(first)
    assert example.target == first["multiple_choice_answer"] and example.source.startswith("question: ")
    again = load_rows(load_task("vqa"), easy_vqa.NAME, splits=["validation"])
    assert again.splits["validation"][:5] == rows.splits["validation"][:5]
    assert "easy_vqa" not in sys.modules


@installed
def test_questions_are_those_of_the_shared_rows(shared: Path) -> None:
    """The first rows of the folder that was made from the package elsewhere."""
    lines = (shared / "data" / "easy_vqa" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    rows = load_rows(load_task("vqa"), easy_vqa.NAME, splits=["test"]).splits["test"]
    for line, row in zip(lines[:50], rows, strict=False):
        told = json.loads(line)
        assert [row[name] for name in ("question", "multiple_choice_answer", "image_id")] == [
            told[name] for name in ("question", "multiple_choice_answer", "image_id")
        ]


def test_without_the_package_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "easy_vqa" else find_spec(name))
    with pytest.raises(DataError, match=r"optional package: pip install 'dept-lab\[easy-vqa\]'"):
        load_rows(load_task("vqa"), "easy-vqa")


def test_other_tasks_are_refused() -> None:
    for name in ("sst2", "coco_captions"):
        with pytest.raises(DataError, match=f"it is for --task vqa, not {name}"):
            load_rows(load_task(name), "easy-vqa")


def test_a_damaged_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "easy_vqa" / "data" / "test"
    folder.mkdir(parents=True)
    (folder.parents[1] / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for content in ("[[1, 2", '[["what?", "red"]]'):
        (folder / "questions.json").write_text(content)
        with pytest.raises(DataError, match="easy-vqa is damaged .*: install it again"):
            load_rows(load_task("vqa"), "easy-vqa", splits=["test"])
