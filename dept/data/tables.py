"""Read files of rows (JSON lines, CSV, TSV, Parquet) row by row, each with its place for error messages."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from dept.errors import DataError

FORMATS = (".jsonl", ".parquet", ".csv", ".tsv")
MAX_LINE_BYTES = 16 * 1024 * 1024
_MAX_DEPTH = 8  # levels of nested lists and mappings
_BOOLS = {"true": True, "false": False, "1": True, "0": False}


def read_rows(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of one file, each as ("train.jsonl, line 7", {column: value}).

    Args:
        path: .jsonl, .parquet, .csv or .tsv; UTF-8, the last two with a header.
        columns: the columns to keep, with their types (`Task.columns`), to which CSV's texts are converted. A text
            that does not convert is kept for `Task.check_row` to report. None keeps everything as it is.

    Raises:
        DataError: one line that names the file and the line or row. The file is missing, of another format, not
            UTF-8, not JSON or broken Parquet; a line is above 16 MiB, has NaN or Infinity, or is nested too deeply.
    """
    readers = {".jsonl": _read_jsonl, ".parquet": _read_parquet, ".csv": _read_csv, ".tsv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: not a table; use one of {', '.join(FORMATS)}")
    try:
        if not path.is_file():
            raise DataError(f"{path}: no such file")
        for where, row in reader(path, columns):
            for column, value in row.items():
                if isinstance(value, list | dict):
                    _check_nested(f"{where}: column {column!r}", value)
            yield where, row
    except OSError as fault:
        raise DataError(f"{path}: cannot be read: {fault.strerror or _one_line(fault)}") from fault


def _read_jsonl(path: Path, columns: Mapping[str, str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), start=1):
            where = f"{path}, line {number}"
            if len(line) > MAX_LINE_BYTES:
                raise DataError(f"{where}: longer than {MAX_LINE_BYTES // 2**20} MiB; is this JSON lines?")
            if not line.strip():
                continue
            row = _parse_json(where, _decode(where, line))
            if not isinstance(row, dict):
                raise DataError(f'{where}: expected an object such as {{"text": "..."}}, not {_kind(row)}')
            yield where, row if columns is None else {key: row[key] for key in columns if key in row}


def _decode(where: str, line: bytes) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise DataError(f"{where}: not UTF-8 text (byte {fault.start + 1} of the line)") from fault


def _parse_json(where: str, text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise DataError(f"{where}: {constant} is not a value that JSON or a task knows")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as fault:
        raise DataError(f"{where}: not JSON ({fault.msg}, character {fault.colno})") from fault
    except RecursionError as fault:
        raise DataError(f"{where}: lists or objects nested too deeply") from fault
    except DataError:
        raise
    except ValueError as fault:  # an integer of more digits than Python converts
        raise DataError(f"{where}: not JSON ({_one_line(fault)})") from fault


def _read_csv(path: Path, columns: Mapping[str, str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(reader, None)
            if header is None:
                return
            repeated = {name for name in header if header.count(name) > 1}
            if repeated:
                raise DataError(f"{path}, line 1: column {sorted(repeated)[0]!r} stands twice in the header")
            for values in reader:
                where = f"{path}, line {reader.line_num}"
                if not values:
                    continue
                if len(values) != len(header):
                    raise DataError(f"{where}: {len(values)} values, the header has {len(header)} columns")
                row: dict[str, Any] = dict(zip(header, values, strict=True))
                if columns is not None:
                    row = {key: _convert(row[key], kind) for key, kind in columns.items() if key in row}
                yield where, row
        except csv.Error as fault:
            raise DataError(f"{path}, line {reader.line_num}: not CSV ({fault})") from fault
        except UnicodeDecodeError as fault:
            raise DataError(f"{path}, after line {reader.line_num}: not UTF-8 text") from fault


def _convert(text: str, kind: str) -> Any:
    """A CSV value converted to its column's type: as it is if it does not convert, None for an empty cell of a
    column that holds no texts."""
    if kind == "str":
        return text
    if not text.strip():
        return None
    if kind == "image":
        return text
    try:
        if kind == "int":
            return int(text)
        if kind == "float":
            return float(text)
        if kind == "bool":
            return _BOOLS.get(text.strip().lower(), text)
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _read_parquet(path: Path, columns: Mapping[str, str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            read_columns = names if columns is None else [name for name in names if name in columns]
            for batch in file.iter_batches(batch_size=1000, columns=read_columns):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (pa.ArrowException, UnicodeDecodeError, OverflowError) as fault:
        raise DataError(f"{path}, after row {number}: not readable as Parquet: {_one_line(fault)}") from fault


def _check_nested(where: str, value: Any, depth: int = 1) -> None:
    """Refuse values that Arrow or a tokenizer would fail on later, where the row's name is unknown."""
    if depth > _MAX_DEPTH:
        raise DataError(f"{where}: lists or objects nested more than {_MAX_DEPTH} deep")
    if isinstance(value, list):
        for item in value:
            _check_nested(where, item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_nested(where, key, depth + 1)
            _check_nested(where, item, depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{where}: holds {value}, not a number")
    elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise DataError(f"{where}: holds half of a surrogate pair; not valid text")


def _kind(value: object) -> str:
    names = {list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:200]
