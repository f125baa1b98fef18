"""Visitors' uploaded tables: read as data, and kept as plain text columns and one label.

    ROOT/.uploads/<id>/upload.json   the owner, the columns
                       table.jsonl   the table's original rows
                       chosen/       the columns that the visitor chose: rows.jsonl and task.yaml

No name given by a visitor becomes a path. A run gets a copy of `chosen/`, so an upload can be deleted at any time.
"""

import dataclasses
import json
import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dept.basics.files import read_json, whole_folder, write_json, write_text
from dept.data.tables import read_rows
from dept.errors import DataError, DeptError
from lab.service.limits import Limits
from lab.service.owners import Visitor

if TYPE_CHECKING:
    from dept.data.own_task import TaskCheck

ROWS_FILE, TASK_FILE = "rows.jsonl", "task.yaml"
SUFFIXES = (".csv", ".tsv", ".jsonl")
_ID = re.compile(r"[0-9a-f]{24}")
_LABEL = "label"
_OTHER_MEANING = (_LABEL, "id", "idx", "index", "key", "guid", "uuid")  # to `dept.data.own_task`
_SHOWN_ROWS = 5
_MOST_CLASSES = 50
_LONGEST_COLUMN = 100
_LEFTOVER_SECONDS = 3600.0


@dataclass(frozen=True)
class Table:
    """A visitor's table.

    Attributes:
        upload_id: `data` names the table as `upload:<id>`.
        title: the file's name, for display.
        columns: in the table's order.
        rows: the number of rows.
        first: the first rows.
    """

    upload_id: str
    title: str
    columns: tuple[str, ...]
    rows: int
    first: tuple[Mapping[str, Any], ...]


class Uploads:
    """The tables that visitors have uploaded.

    Args:
        folder: made when the first table is uploaded.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.limits = folder, limits

    def receive(self, file: str | Path, title: str, visitor: Visitor) -> Table:
        """Receive an uploaded table.

        Args:
            file: the server's copy of the uploaded file; only its content is used.
            title: the visitor's name for the file; its ending gives the format.

        Raises:
            DataError: the file is too large, of another format, or no table; the message says what is wrong and where.
        """
        title = "".join(character for character in str(title) if character.isprintable())[-60:]
        suffix = Path(title).suffix.lower()
        if suffix not in SUFFIXES:
            raise DataError(f"{title or 'the file'}: bring a CSV, TSV or JSON-lines file ({', '.join(SUFFIXES)})")
        if visitor.owner is None and not visitor.is_operator:
            raise DataError("this browser has no token to own a table with: allow the page to store data, and reload")
        size = Path(file).stat().st_size
        if size > self.limits.upload_bytes:
            raise DataError(f"{title}: {size / 2**20:.1f} MiB; at most {self.limits.upload_bytes / 2**20:g} MiB")
        self._make_room()
        upload_id = secrets.token_hex(12)
        with whole_folder(self.folder / upload_id) as made:
            copy = made / f"table{suffix}"
            shutil.copyfile(file, copy)
            try:
                rows = [self._checked(where, row) for where, row in read_rows(copy)]
            except DataError as fault:
                raise DataError(str(fault).replace(str(copy), title)) from None
            copy.unlink()
            columns = tuple(dict.fromkeys(name for row in rows for name in row))
            self._check_shape(title, len(rows), columns)
            _write_rows(made / "table.jsonl", rows)
            about = {"owner": visitor.owner, "title": title, "columns": columns, "rows": len(rows)}
            write_json(made / "upload.json", about)
        return Table(upload_id, title, columns, len(rows), tuple(rows[:_SHOWN_ROWS]))

    def choose(self, upload_id: str, texts: Sequence[str], label: str, visitor: Visitor) -> "TaskCheck":
        """Make a task of a table: some columns are the input, one is the label.

        Returns:
            Rows as the model will get them, and their problems. From now on `data` can be `upload:<id>`.

        Raises:
            DataError: there is no such table or column, or the columns make no task.
        """
        from dept.data.own_task import check_task, new_task_yaml  # imports `datasets`, which is slow
        from dept.tasks import load_task

        path = self._own(upload_id, visitor)
        about = read_json(path / "upload.json")
        title, columns = about["title"], about["columns"]
        if not isinstance(texts, list | tuple) or not texts:
            raise DataError("choose one text column or more")
        for name in (*texts, label):
            if name not in columns:
                raise DataError(f"{title} has no column {str(name)[:60]!r}: {', '.join(columns)}")
        if label in texts or len(set(texts)) < len(texts):
            raise DataError("choose each text column once, and another column as the label")
        rows = [row for _, row in read_rows(path / "table.jsonl")]
        names = _plain_names(texts)
        chosen = [
            {**{names[text]: _as_text(row.get(text)) for text in texts}, _LABEL: value}
            for row, value in zip(rows, _labels([row.get(label) for row in rows]), strict=True)
            if value is not None
        ]
        if not chosen:
            raise DataError(f"{title}: no row has a value in column {label!r}")
        with whole_folder(path / "chosen") as made:
            named = made / f"{_task_name(title)}.jsonl"  # the file's name becomes the task's
            _write_rows(named, chosen)
            try:
                write_text(made / TASK_FILE, new_task_yaml(named))
                named.rename(made / ROWS_FILE)
                check = check_task(load_task(str(made / TASK_FILE)), made / ROWS_FILE)
            except DeptError as fault:
                raise DataError(_named(str(fault), made, title)) from None
        shown, problems, notes = (
            tuple(_named(text, made, title) for text in texts) for texts in (check.shown, check.problems, check.notes)
        )
        return dataclasses.replace(check, location=title, shown=shown, problems=problems, notes=notes)

    def chosen(self, upload_id: str, visitor: Visitor) -> Path:
        """The folder with the rows.jsonl and task.yaml of a table.

        Raises:
            DataError: there is no such table, or its columns have not been chosen.
        """
        path = self._own(upload_id, visitor) / "chosen"
        if not path.is_dir():
            raise DataError("data: choose the text columns and the label column of your table first")
        return path

    def _own(self, upload_id: object, visitor: Visitor) -> Path:
        known = isinstance(upload_id, str) and _ID.fullmatch(upload_id) is not None
        path = self.folder / str(upload_id) if known else None
        if path is None or not path.is_dir() or not visitor.may_change(read_json(path / "upload.json").get("owner")):
            raise DataError("data: there is no such table (any more): bring it again")
        return path

    def _make_room(self) -> None:
        self.folder.mkdir(exist_ok=True)
        age = {path: time.time() - path.stat().st_mtime for path in self.folder.iterdir()}
        uploads = sorted((path for path in age if _ID.fullmatch(path.name)), key=age.__getitem__)
        # Also delete the unfinished folders of a killed server.
        leftovers = [path for path in age if path not in uploads and age[path] > _LEFTOVER_SECONDS]
        for path in uploads[self.limits.uploads - 1 :] + leftovers:
            shutil.rmtree(path)

    def _checked(self, where: str, row: dict[str, Any]) -> dict[str, Any]:
        most = self.limits.cell_characters
        for column, value in row.items():
            if isinstance(value, list | dict):
                raise DataError(f"{where}: column {column[:60]!r} holds a list or an object; texts and numbers only")
            if isinstance(value, str) and len(value) > most:
                raise DataError(f"{where}: column {column[:60]!r} is longer than {most:,} characters")
            if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
                raise DataError(f"{where}: column {column[:60]!r} holds half of a surrogate pair; not valid text")
            if isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise DataError(f"{where}: column {column[:60]!r} holds a number of too many digits")
        return row

    def _check_shape(self, title: str, rows: int, columns: Sequence[str]) -> None:
        if not rows:
            raise DataError(f"{title}: no rows in it")
        if rows > self.limits.upload_rows:
            raise DataError(f"{title}: {rows:,} rows; at most {self.limits.upload_rows:,}")
        if len(columns) > self.limits.upload_columns:
            raise DataError(f"{title}: {len(columns)} columns; at most {self.limits.upload_columns}")
        for name in columns:
            if not name.strip() or not name.isprintable() or len(name) > _LONGEST_COLUMN:
                raise DataError(f"{title}: {name[:60]!r} is no name for a column: plain text, at most 100 characters")


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def in_plain_columns(placed_row: tuple[str, Mapping[str, Any]]) -> tuple[str, dict[str, str]]:
    """A row and its place in the table, its columns renamed and turned into texts as by `Uploads.choose`."""
    where, row = placed_row
    names = _plain_names(list(row))
    return where, {names[column]: _as_text(value) for column, value in row.items()}


def _plain_names(columns: Sequence[str]) -> dict[str, str]:
    """Column -> a name that is valid in a template and a task file, and differs from the others' and the label's."""
    names: dict[str, str] = {}
    for column in columns:
        plain = re.sub(r"\W+", "_", column, flags=re.ASCII).strip("_").lower()
        if not plain or not plain[0].isalpha() or plain in _OTHER_MEANING:
            plain = f"text_{plain}".rstrip("_")
        while plain in names.values():
            plain += "_2"
        names[column] = plain
    return names


def _labels(values: Sequence[Any]) -> list[str | float | None]:
    """Labels as class names, or as floats if they look like measurements, not classes; None for a missing one."""
    texts = [_as_text(value).strip() for value in values]
    distinct = {text for text in texts if text}
    are_whole_numbers = all(re.fullmatch(r"[+-]?\d{1,15}", text) for text in distinct)
    are_numbers = all(re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", text, re.ASCII) for text in distinct)
    if are_numbers and not (are_whole_numbers and len(distinct) <= _MOST_CLASSES):
        return [float(text) if text else None for text in texts]
    return [text or None for text in texts]


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _task_name(title: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", Path(title).stem).strip("_")[:40] or "own_rows"


def _named(text: str, folder: Path, title: str) -> str:
    """A message with the table's title in place of its path."""
    return re.sub(re.escape(str(folder)) + r"/[\w.]+", lambda _: title, text)
