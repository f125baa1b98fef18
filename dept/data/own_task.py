"""A user's own task: guess a commented YAML from a table's columns, and show rows as the model will get them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dept.data.sources import files_of, load_rows, local_path
from dept.data.tables import read_rows
from dept.errors import DataError, DeptError
from dept.metrics.scores import LABEL_METRICS, NUMBER_METRICS, TEXT_METRICS
from dept.tasks import Task
from dept.tasks.registry import TASK_NAMES
from dept.tasks.schema import check_value

_LABEL_NAMES = (
    *("label", "labels", "target", "class", "category", "answer", "answers", "output", "sentiment"),
    *("gold_label", "score", "rating", "y"),
)
_ID_NAMES = ("id", "idx", "index", "key", "guid", "uuid", "")
_HIDDEN = (None, "", -1)
_READ_ROWS = 10_000  # rows that the guesses are based on
_MOST_LABELS = 50
_LONGEST_LABEL = 60
_LONGEST_NAME = 100
_MOST_PROBLEMS = 20
_SHOWN_CHARACTERS = 400


@dataclass(frozen=True)
class Column:
    """A table's column: the type guessed for it, the values that are there, and whether some are missing."""

    name: str
    kind: str
    values: Sequence[Any]
    has_gaps: bool

    @property
    def distinct(self) -> list[Any]:
        return sorted(set(self.values)) if self.kind in ("str", "int", "bool", "float") else list(self.values)

    def fits_template(self) -> bool:
        return self.kind in ("str", "int", "float", "bool", "list[str]") and not re.search(r"[.\[\]{}:!]", self.name)


def new_task_yaml(table_path: str | Path) -> str:
    """A commented task file guessed from the first rows of a table, for its author to read and correct.

    Raises:
        DataError: the table cannot be read, or it has no column for the label or none for the input.
    """
    path = Path(table_path)
    rows = [row for _, row in zip(range(_READ_ROWS), _plain_rows(path), strict=False)]
    if not rows:
        raise DataError(f"{path}: no rows in it")
    columns = _columns(rows, typed=path.suffix.lower() in (".jsonl", ".parquet"))
    label = _label_column(columns, path)
    inputs = _input_columns(columns, label)
    if not inputs:
        raise DataError(f"{path}: no input column beside the label {label.name!r}; a task needs a text column")
    used = [*inputs, label]
    optional = [column.name for column in inputs if column.has_gaps]
    template = " ".join(f"{column.name}: {{{column.name}}}" for column in inputs)
    left_out = [column.name for column in columns if column not in used]
    file_name = "".join(character for character in path.name if character.isprintable())
    lines = [
        f"# A task of your own, guessed from {file_name} ({len(rows)} rows read). Read it, mend it, then:",
        "#   dept tasks --check THIS_FILE --data TABLE      shows rows as they will be fed, and what is wrong",
        "#   dept train --task THIS_FILE --data TABLE ...   trains on it",
        "",
        f"name: {_task_name(path)}",
        f"title: {_yaml(file_name)}",
        "",
        "# The columns that are used, and their types: str, int, float, bool, list[str].",
        *([f"# Not used: {', '.join(_yaml(name) for name in left_out)}"] if left_out else []),
        "columns:",
        *(f"  {_yaml(column.name)}: {_yaml(column.kind)}" for column in used),
        *(["# Columns that a row may leave empty.", f"optional_columns: {_yaml(optional)}"] if optional else []),
        "",
        "# What the model reads: {column} stands for the row's value. The label must not be in it.",
        f"template: {_yaml(template)}",
        "",
        f"label_column: {_yaml(label.name)}",
        *_target_lines(label),
        "",
        "# Longer inputs are cut to this many tokens; it is also the number of rows of DePT's update.",
        "max_seq_length: 256",
    ]
    return "\n".join(lines) + "\n"


def _target_lines(label: Column) -> list[str]:
    if not _is_classes(label):
        metrics = NUMBER_METRICS if label.kind in ("int", "float") else TEXT_METRICS
        return [
            "# No fixed set of labels: the target is generated as text.",
            f"metrics: {_yaml(list(metrics))}",
            f"main_metric: {metrics[0]}",
            "max_target_length: 64",
        ]
    values = [value for value in label.distinct if value not in _HIDDEN]
    names = [" ".join(str(value).split()).lower() if label.kind == "bool" else str(value) for value in values]
    words = [" ".join(name.split()) for name in names]
    return [
        "# The labels' names, and what the table has for each, in the same order.",
        f"labels: {_yaml(names)}",
        f"label_values: {_yaml(values)}",
        "# What the model says for each label: digits for T5-like backbones, words for GPT-like ones by default.",
        "# Short common words work best.",
        "verbalizers:",
        f"  digits: {_yaml([str(number) for number in range(len(values))])}",
        f"  words: {_yaml(words)}",
        "",
        f"# Any of {', '.join(LABEL_METRICS)} (f1 with two labels only); the main one picks the best adapter.",
        "metrics: [accuracy]",
        "main_metric: accuracy",
    ]


def _plain_rows(path: Path) -> Iterator[dict[str, Any]]:
    return (row for _, row in read_rows(path))


def _columns(rows: Sequence[Mapping[str, Any]], *, typed: bool) -> list[Column]:
    """The columns in their order. CSV's values are all texts: their types are guessed from the texts."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = []
    for name in names:
        if not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME:
            continue  # such a name does not fit on a line of YAML
        values = [row.get(name) for row in rows]
        there = [value for value in values if value is not None and (typed or str(value).strip())]
        kind = _typed_kind(there) if typed else _text_kind(there)
        if not typed:
            there = [_as_kind(value, kind) for value in there]
            # CSV cannot tell an empty text from a missing one; a text may be empty.
            has_gaps = len(there) < len(values) and kind != "str"
        else:
            has_gaps = len(there) < len(values)
        columns.append(Column(name, kind, there, has_gaps))
    return columns


def _typed_kind(values: Sequence[Any]) -> str:
    kinds = {type(value) for value in values}
    if kinds == {list}:
        return "list[str]" if all(isinstance(item, str) for value in values for item in value) else "list"
    if kinds == {int, float}:
        return "float"
    names = {str: "str", int: "int", float: "float", bool: "bool", dict: "mapping"}
    return names.get(next(iter(kinds)), "other") if len(kinds) == 1 else "other"


def _text_kind(values: Sequence[str]) -> str:
    if not values:
        return "str"
    for kind, pattern in (
        ("int", r"[+-]?\d{1,18}"),
        ("float", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?"),
        ("bool", r"true|false"),
    ):
        flags = re.IGNORECASE if kind == "bool" else re.ASCII
        if all(re.fullmatch(pattern, value.strip(" "), flags) for value in values):
            return kind
    return "str"


def _as_kind(value: str, kind: str) -> Any:
    if kind == "bool":
        return value.strip(" ").lower() == "true"
    return {"int": int, "float": float}.get(kind, str)(value)


def _is_classes(column: Column) -> bool:
    if column.kind not in ("str", "int", "bool"):
        return False
    values = [value for value in column.distinct if value not in _HIDDEN]
    names = {" ".join(str(value).split()) for value in values}
    return (
        2 <= len(values) <= min(_MOST_LABELS, max(2, len(column.values) // 2))
        and len(names) == len(values)
        and all(0 < len(name) <= _LONGEST_LABEL for name in names)
        and all(str(value).isprintable() for value in values)
    )


def _label_column(columns: Sequence[Column], path: Path) -> Column:
    """Guess the label: by its name, else the last column with few repeated values, else the last text."""
    usable = [column for column in columns if column.kind in ("str", "int", "float", "bool", "list[str]")]
    usable = [column for column in usable if any(value not in _HIDDEN for value in column.values)]
    by_name = {column.name.strip().lower(): column for column in reversed(usable)}
    named = [by_name[name] for name in _LABEL_NAMES if name in by_name]
    classes = [column for column in usable if _is_classes(column) and not _is_id(column)]
    texts = [column for column in usable if column.kind in ("str", "list[str]")]
    for candidates in (named[:1], classes[-1:], texts[-1:]):
        if candidates:
            label = candidates[0]
            break
    else:
        raise DataError(f"{path}: no column that could be the label; name it `label`")
    if label.kind == "bool" and not _is_classes(label):
        raise DataError(f"{path}: column {label.name!r} has one value only; a label needs two or more")
    if label.kind == "int" and -1 in label.values and len(set(label.values)) == 2:
        raise DataError(
            f"{path}: column {label.name!r}: -1 stands for a hidden label; write 0 and 1, or names, instead"
        )
    return label


def _is_id(column: Column) -> bool:
    counts_up = column.kind == "int" and len(set(column.values)) == len(column.values) > _MOST_LABELS
    return column.name.strip().lower() in _ID_NAMES or counts_up


def _input_columns(columns: Sequence[Column], label: Column) -> list[Column]:
    usable = [column for column in columns if column is not label and column.fits_template()]
    usable = [column for column in usable if column.values and not _is_id(column)]
    return [column for column in usable if column.kind == "str"] or usable


def _task_name(path: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem)[:60].strip("_") or "my_task"
    return _yaml(f"my_{name}" if name in TASK_NAMES else name)


def _yaml(value: Any) -> str:
    """A value on one line of YAML, quoted where it needs to be."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.removesuffix("...\n").strip()


@dataclass(frozen=True)
class TaskCheck:
    """The outcome of `check_task`: rows as the model will get them, problems, and notes on harmless oddities."""

    task: Task
    location: str
    sizes: Mapping[str, int]
    shown: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def text(self) -> str:
        """The whole outcome as text for the terminal."""
        lines = [f"{self.task.name}: {self.location}", ""]
        for example in self.shown:
            lines += [example, ""]
        if self.sizes:
            lines.append("rows: " + ", ".join(f"{name} {count}" for name, count in self.sizes.items()))
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"wrong: {problem}" for problem in self.problems]
        lines.append("nothing is wrong" if self.ok else f"{len(self.problems)} things are wrong")
        return "\n".join(lines)


def check_task(task: Task, data: str | Path, limit: int = 5) -> TaskCheck:
    """Show rows as the model will get them, and list every problem with them, not only the first.

    Args:
        data: as for `load_rows`.
        limit: the number of rows to show.

    Raises:
        DataError: `data` does not exist.
    """
    path = local_path(data)
    files = {} if path is None else files_of(task, path)
    problems: list[str] = []
    good: list[tuple[str, Mapping[str, Any]]] = []
    for name, file in files.items():
        try:
            for where, row in read_rows(file, task.columns):
                row_problems = _row_problems(task, row, need_label=name != "test")
                problems += [f"{where}: {problem}" for problem in row_problems]
                if not row_problems:
                    good.append((where, row))
                if len(problems) >= _MOST_PROBLEMS:
                    break
        except DataError as fault:  # the file itself is at fault: no more rows can be read
            problems.append(str(fault))
    sizes: Mapping[str, int] = {}
    if not problems:
        try:
            rows = load_rows(task, data)
        except DeptError as fault:
            problems.append(str(fault))
        else:
            sizes = rows.sizes
            good = good or [(f"train row {i}", row) for i, row in enumerate(rows.splits["train"], start=1)]
    shown = tuple(_shown(task, where, row) for where, row in good[:limit])
    notes = _notes(task, [row for _, row in good])
    return TaskCheck(task, str(data), sizes, shown, tuple(problems[:_MOST_PROBLEMS]), notes)


def _row_problems(task: Task, row: Mapping[str, Any], *, need_label: bool) -> list[str]:
    """The problems of every column; `Task.check_row` stops at the first."""
    problems = []
    for column, kind in task.columns.items():
        if row.get(column) is None and (column in task.optional_columns or column == task.label_column):
            continue
        if column not in row:
            problems.append(f"{task.name}: column {column!r} is missing; the row has {', '.join(row) or 'none'}")
            continue
        try:
            check_value(f"{task.name}: column {column!r}", row[column], kind)
        except DataError as fault:
            problems.append(str(fault))
    if problems:
        return problems
    try:
        task.check_row(row, require_target=need_label)
    except DataError as fault:
        return [str(fault)]
    return []


def _shown(task: Task, where: str, row: Mapping[str, Any]) -> str:
    """One row's examples as text: the source, and the target of each verbalizer."""
    names = tuple(task.verbalizers) or ("digits",)
    lines = [where]
    for examples in zip(*(task.examples(row, name, require_target=False) for name in names), strict=True):
        source = examples[0].source
        cut = source if len(source) <= _SHOWN_CHARACTERS else source[:_SHOWN_CHARACTERS] + " ..."
        targets = [f"{example.target!r} ({name})" for example, name in zip(examples, names, strict=True)]
        lines += [f"  source: {cut}", f"  target: {' or '.join(targets) if task.labels else repr(examples[0].target)}"]
        if len(examples[0].answers) > 1:
            lines.append(f"  right are: {', '.join(map(repr, examples[0].answers))}")
    return "\n".join(lines)


def _notes(task: Task, rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Notes on what is allowed in a run but seldom intended."""
    examples = [example for row in rows for example in task.examples(row, require_target=False)]
    notes = []
    missing = set(range(len(task.labels or ()))) - {example.label for example in examples}
    if task.labels and examples and missing:
        notes.append(f"no row has the label {', '.join(task.labels[label] for label in sorted(missing))}")
    # Every word has at least one token.
    long = sum(len(example.source.split()) > task.max_seq_length for example in examples)
    if long:
        notes.append(f"{long} of {len(examples)} sources are longer than max_seq_length {task.max_seq_length}: cut")
    repeated = len(examples) - len({example.source for example in examples})
    if repeated:
        notes.append(f"{repeated} of {len(examples)} sources stand there more than once")
    return tuple(notes)
