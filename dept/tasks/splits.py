"""Divide rows into train, validation and test: by the paper's rules for the hub, by plain ones for a data folder.

The rules of Karimi Mahabadi et al. (2021), from which the counts of the paper's Table 7 follow. Everything is
a function of row counts; torch is imported for the one permutation alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dept.errors import DataError, TaskError
from dept.tasks.task import Task

SPLIT_SEED = 42
CARVED_ROWS = 1_000
_TRAIN_FRACTION = 10  # without validation, a tenth of a data folder's train becomes validation


@dataclass(frozen=True)
class Part:
    """Rows of a source split: [start, stop) of its rows, in the seeded permutation's order if `permuted`."""

    source: str
    start: int
    stop: int
    permuted: bool

    @property
    def rows(self) -> int:
        return self.stop - self.start

    def indices(self, source_rows: int) -> list[int] | None:
        """The row numbers in the source split of `source_rows` rows; None for all rows in their order."""
        if not self.permuted:
            return None
        return permutation(source_rows)[self.start : self.stop]


def permutation(rows: int) -> list[int]:
    """The release's permutation of `rows` rows: torch's, from a generator seeded with 42."""
    import torch

    return torch.randperm(rows, generator=torch.Generator().manual_seed(SPLIT_SEED)).tolist()


def hub_parts(task: Task, hub_rows: Mapping[str, int] | None = None) -> dict[str, Part]:
    """Make our splits from the hub's by the task's rule. `hub_rows`: the actual sizes, by default the known ones.

    A task without a rule of its own gets the data folder's. Raises TaskError when a needed split is missing.
    """
    rows = dict(task.hub_rows if hub_rows is None else hub_rows)
    rule = task.splits
    if rule.rule == "given":
        names = {"train": rule.train, "validation": rule.validation, "test": rule.test}
        return folder_parts({ours: rows[theirs] for ours, theirs in names.items() if theirs in rows}, names)
    needed = (rule.train, rule.validation) if rule.rule == "halve" else (rule.train, rule.test)
    for name in needed:
        if name not in rows:
            raise TaskError(f"{task.name}: the data has no split {name!r}; it has {', '.join(rows) or 'none'}")
    if rule.rule == "halve":
        train = _whole(rule.train, rows[rule.train])
        return {"train": train, **_halved(rule.validation, 0, rows[rule.validation])}
    if rows[rule.train] <= CARVED_ROWS:
        raise TaskError(f"{task.name}: {rows[rule.train]} training rows are too few to take {CARVED_ROWS} from")
    stop = rows[rule.train]
    if rule.max_train_rows is not None:
        stop = min(stop, CARVED_ROWS + rule.max_train_rows)
    return {
        "train": Part(rule.train, CARVED_ROWS, stop, permuted=True),
        "validation": Part(rule.train, 0, CARVED_ROWS, permuted=True),
        "test": _whole(rule.test, rows[rule.test]),
    }


def counts_from_hub(task: Task) -> dict[str, int]:
    """Rows of train, validation and test as the rule makes them from the hub's sizes (paper, Table 7)."""
    return {name: part.rows for name, part in hub_parts(task).items()}


def folder_parts(rows: Mapping[str, int], names: Mapping[str, str] | None = None) -> dict[str, Part]:
    """Make our splits from a data folder's: given ones are used as they are, missing ones are made from the others.

    `rows`: row counts of the existing splits (a test split with hidden labels counts as missing). Without
    validation, a tenth of train, at most 1,000 rows, is validation; without test, the second half of
    validation is test. A single row cannot be halved: it stays validation and there is no test.
    `names`: our split -> the source's name for it, where they differ.

    Raises DataError when there are no rows, or too few to take any from.
    """
    source = {name: (names or {}).get(name, name) for name in ("train", "validation", "test")}
    row_counts = {name: count for name, count in rows.items() if name in source and count > 0}
    if not row_counts:
        raise DataError("no rows in train, validation or test; at least one of them is needed")
    parts = {name: _whole(source[name], row_counts[name]) for name in source if name in row_counts}
    if "train" not in row_counts:
        return parts
    if "validation" not in row_counts:
        # Both halves of a tenth need a row, if test is to come out of it as well.
        validation_rows = max(
            min(row_counts["train"] // _TRAIN_FRACTION, CARVED_ROWS), 1 if "test" in row_counts else 2
        )
        if row_counts["train"] <= validation_rows:
            raise DataError(f"{row_counts['train']} training rows are too few to take validation from; add rows")
        parts["train"] = Part(source["train"], validation_rows, row_counts["train"], permuted=True)
        parts["validation"] = Part(source["train"], 0, validation_rows, permuted=True)
    if "test" not in row_counts and parts["validation"].rows > 1:
        validation = parts["validation"]
        parts |= _halved(validation.source, validation.start, validation.stop)
    return parts


def _whole(source: str, rows: int) -> Part:
    return Part(source, 0, rows, permuted=False)


def _halved(source: str, start: int, stop: int) -> dict[str, Part]:
    middle = start + (stop - start) // 2
    return {
        "validation": Part(source, start, middle, permuted=True),
        "test": Part(source, middle, stop, permuted=True),
    }
