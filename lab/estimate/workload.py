"""What a run reads: rows, mean lengths of sources and targets, images. No torch; the hub's tasks need no download."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

from dept.data import easy_vqa
from dept.runs.settings import TrainConfig
from dept.tasks import Task, load_task
from dept.tasks.registry import TASK_NAMES
from dept.tasks.sample import SAMPLE_SIZES, sample_rows
from dept.tasks.splits import counts_from_hub
from dept.tasks.template import columns_of
from lab.paper import numbers as paper

# 1.2 to 1.4 by SmolLM2's tokenizer over real rows of the tasks, in our templates; words are what spaces part.
TOKENS_PER_WORD = 1.35
_SPLITS = ("train", "validation", "test")
_ROWS_READ = 200  # of a training set, for its mean lengths


@dataclass(frozen=True)
class Workload:
    """What a run reads.

    Attributes:
        rows: the number of rows of train, validation and test.
        source_tokens, target_tokens: mean lengths, end-of-text included. Sources are not cut yet.
        images: the number of different images of a task with images; each row of a file counts as one.
    """

    rows: tuple[int, int, int]
    source_tokens: int
    target_tokens: int
    images: int = 0


def workload(config: TrainConfig) -> Workload:
    """The workload of a run: Table 7 tells it for the hub's tasks; other rows are read.

    Raises:
        DeptError: the task is unknown, or the rows cannot be read.
    """
    limits = config.max_train_rows, config.max_validation_rows, config.max_test_rows
    shipped = config.task in TASK_NAMES
    if shipped and config.data == "hub":
        full = _of_table_7(config.task)
    elif shipped and config.data == "sample":
        full = _of_sample(config.task, limits)
    else:
        full = _of_rows(config.task, config.data, _versions(config))
    rows = [count if limit is None else min(count, limit) for count, limit in zip(full.rows, limits, strict=True)]
    images = min(full.images, sum(rows))
    return Workload((rows[0], rows[1], rows[2]), full.source_tokens, full.target_tokens, images)


@functools.cache
def _of_table_7(task_name: str) -> Workload:
    task, counts = load_task(task_name), paper.data_counts().get(task_name)
    rows = counts_from_hub(task)
    words = counts.source_words if counts is not None else None
    if not columns_of(task.template):  # every source is the template (captions)
        words = 0.0
    # Without a printed length (squad, vqa), the longest there can be.
    source = task.max_seq_length if words is None else _tokens(words + _template_words(task))
    target = _target(task, None if counts is None else counts.target_words)
    images = sum(counts.images.values()) if counts is not None and counts.images is not None else 0
    return Workload((rows["train"], rows["validation"], rows["test"]), source, target, images)


@functools.lru_cache(maxsize=256)
def _of_sample(task_name: str, limits: tuple[int | None, ...]) -> Workload:
    sizes = {name: SAMPLE_SIZES[name] if limit is None else limit for name, limit in zip(_SPLITS, limits, strict=True)}
    return _of_lengths(load_task(task_name), sizes, sample_rows(task_name, "train", min(_ROWS_READ, sizes["train"])))


@functools.lru_cache(maxsize=64)
def _of_rows(task_name: str, data: str, _read_as: tuple[int, ...]) -> Workload:
    task = load_task(task_name)
    if data == easy_vqa.NAME and task_name == easy_vqa.TASK:
        made = {name: easy_vqa.easy_vqa_rows(name) for name in _SPLITS}
        sizes = {name: len(rows) for name, rows in made.items()}
        return _of_lengths(task, sizes, made["train"][:_ROWS_READ])
    from dept.data.sources import load_rows  # pandas and datasets take a second to import

    rows = load_rows(task, data)
    train = rows.splits["train"]
    return _of_lengths(task, rows.sizes, train.select(range(min(_ROWS_READ, len(train)))))


def _versions(config: TrainConfig) -> tuple[int, ...]:
    """When a run's task and rows were changed, so that what was read of older ones is not taken for them; 0 for names.

    Rows in a folder are `FOLDER/<task>/<split>.jsonl`, and a file that is written again leaves its folder as it was.
    """
    try:
        task, rows = Path(config.task).expanduser(), Path(config.data).expanduser()
        of_task = rows / task.stem
        places = [task, rows, *(of_task.iterdir() if of_task.is_dir() else ())]
        return tuple(place.stat().st_mtime_ns if place.exists() else 0 for place in places)
    except (OSError, ValueError, RuntimeError):  # no path at all
        return ()


def _of_lengths(task: Task, sizes: Mapping[str, int], rows: Iterable[Mapping[str, Any]]) -> Workload:
    """The workload of splits of these sizes whose training rows begin with `rows`."""
    examples = list(chain.from_iterable(task.examples(dict(row)) for row in rows))
    source = _tokens(fmean(len(example.source.split()) for example in examples))
    target = _target(task, fmean(len(example.target.split()) for example in examples))
    images = 0 if task.image_column is None else sum(sizes.values())
    return Workload((sizes["train"], sizes["validation"], sizes.get("test", 0)), source, target, images)


def _template_words(task: Task) -> int:
    return len(re.sub(r"\{[^}]*\}", " ", task.template).split())


def _target(task: Task, words: float | None) -> int:
    """A label is one token, and the end-of-text."""
    return 2 if task.labels else min(task.max_target_length, 1 + _tokens(words or task.max_target_length))


def _tokens(words: float) -> int:
    return max(1, round(words * TOKENS_PER_WORD))
