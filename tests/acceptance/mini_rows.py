"""The rows that mini-t5 is measured on: sample rows, and what its controls make of them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dept.errors import DataError
from dept.metrics.scores import compute_metrics
from dept.tasks import Task, load_task
from dept.tasks.sample import SAMPLE_TASKS, sample_rows

TASKS = tuple(name for name in SAMPLE_TASKS if name not in ("squad", "record"))
ROWS = {"train": 1_600, "validation": 96, "test": 400}
MAJORITY = 2  # rows of one label for each of another, where the labels are to have a majority


def write_rows(
    folder: Path, *, tasks: Sequence[str] = TASKS, majority: bool = False, shuffle: int | None = None
) -> None:
    """A data folder of sample rows: validation and test of their own words and templates only.

    The test's rows are the same whatever is done to those of training and of validation, which chooses the step.

    Args:
        majority: one label has MAJORITY times the rows of any other: the one whose constant answer is the best on
            the test, the last of equals, since an untrained prompt's answer is the first. Tasks without labels keep
            their rows.
        shuffle: the seed by which labels (answers) change places, so that they say nothing of their rows.
    """
    for name in tasks:
        target = folder / name
        target.mkdir(parents=True)
        for split, count in ROWS.items():
            changed = split != "test"
            rows = with_majority(name, split, count) if majority and changed else drawn(name, split, count)
            if shuffle is not None and changed:
                rows = with_shuffled_labels(name, rows, shuffle)
            (target / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def drawn(task: str, split: str, count: int) -> list[dict[str, Any]]:
    """Sample rows as all measurements have them."""
    return sample_rows(task, split, count, seed=1, own_only=split != "train")


def with_shuffled_labels(task: str, rows: Sequence[Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    """The same rows, their labels (answers) in another order."""
    column = load_task(task).label_column
    values = [row[column] for row in rows]
    random.Random(seed).shuffle(values)
    return [{**row, column: value} for row, value in zip(rows, values, strict=True)]


def with_majority(name: str, split: str, count: int) -> list[dict[str, Any]]:
    """`count` rows of a split, the first of each label among three times as many."""
    task = load_task(name)
    labels = task.verbalizer("digits")
    if labels is None:
        return drawn(name, split, count)
    majority = best_constant(task, [example.answers for row in drawn(name, "test", ROWS["test"])
                                    for example in task.examples(row)])  # fmt: skip
    room = dict.fromkeys(labels, count // (MAJORITY + len(labels) - 1))
    room[majority] += count - sum(room.values())
    rows = []
    for row in drawn(name, split, 3 * count):
        (example,) = task.examples(row)
        if room[example.target]:
            room[example.target] -= 1
            rows.append(row)
    if len(rows) < count:
        raise DataError(f"three times {count} rows of {name}'s {split} part have too few of a label")
    return rows


def main_score(task: Task, predictions: Sequence[str], answers: Sequence[tuple[str, ...]]) -> float:
    """The task's main metric, per cent."""
    labels = task.verbalizer("digits")
    return compute_metrics([task.main_metric], predictions, answers, labels=labels)[task.main_metric]


def best_constant(task: Task, answers: Sequence[tuple[str, ...]]) -> str:
    """The label that scores best when it is always the answer, the last of equals. task: one that has labels."""
    labels = task.verbalizer("digits") or ()
    return max(reversed(labels), key=lambda label: main_score(task, [label] * len(answers), answers))
