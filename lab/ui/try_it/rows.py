"""Inputs for trying a run: example rows of its task, a box for each text, a visitor's own image."""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from dept.data.images import decode, digest, small_jpeg
from dept.data.sources import load_rows
from dept.data.tables import read_rows
from dept.errors import DataError
from dept.tasks import Task
from dept.tasks.task import ImageValue
from dept.tasks.template import columns_of
from lab.service.allowed import OWN_TASK
from lab.service.summary import RunSummary
from lab.service.uploads import ROWS_FILE

MOST_CHARACTERS = 20_000
MOST_BOXES = 4
MOST_PICTURES = 8  # images to choose from
# A file of few bytes can hold so many pixels that it takes gigabytes to decode, and each side decodes it again.
MOST_PIXELS = 16_000_000
KEPT_SIDE = 1024
_EXAMPLES = 20


def examples_of(run: RunSummary, task: Task, path: Path) -> list[dict[str, Any]]:
    """Example rows: from the test split of the task's sample, or from the visitor's own rows."""
    if run.task == OWN_TASK:
        return [row for _, row in islice(read_rows(path / "own" / ROWS_FILE, task.columns), _EXAMPLES)]
    rows = load_rows(task, "sample", sample_sizes={"test": _EXAMPLES}, splits=["test"])
    return [dict(row) for row in rows.splits["test"]]


def boxes_of(task: Task) -> tuple[str, ...] | None:
    """The columns that get a box each; None if the task's rows are more than a few texts (and an image)."""
    names = columns_of(task.template)
    # Preprocessing rewrites the input of a text task; of a task with images it rewrites the answers alone.
    plain = task.preprocess is None or task.image_column is not None
    return names if plain and all(task.columns[name] == "str" for name in names) and len(names) <= MOST_BOXES else None


def line_of(task: Task, texts: Sequence[Any]) -> str:
    """The boxes' texts as an input of `dept.evaluation.load_run`.

    Raises:
        DataError: the boxes are empty, or hold too much.
    """
    boxes = boxes_of(task)
    values = [str(value or "") for value in texts[: 1 if boxes is None else len(boxes)]]
    if values and not any(value.strip() for value in values):
        raise DataError("type or paste a text first, or take an example")
    if sum(map(len, values)) > MOST_CHARACTERS:
        raise DataError(f"the text is longer than {MOST_CHARACTERS:,} characters")
    return values[0] if boxes is None else json.dumps(dict(zip(boxes, values, strict=True)))


def pictures_of(task: Task, rows: Sequence[Mapping[str, Any]]) -> dict[int, ImageValue]:
    """The images of rows, each once, by the index of the first row that has it; none for a text task."""
    column = task.image_column
    if column is None:
        return {}
    first: dict[str, int] = {}
    for index, row in enumerate(rows):
        first.setdefault(digest(row[column]), index)
    return {index: rows[index][column] for index in [*first.values()][:MOST_PICTURES]}


def image_of(picture: object, most_bytes: int) -> bytes:
    """Check and read a visitor's image file; messages don't name its path.

    An image of more than `KEPT_SIDE` pixels a side becomes a smaller JPEG: encoders use a few hundred pixels.

    Args:
        picture: the image's path, as `lab.ui.components.inputs.Picture` gives it.

    Raises:
        DataError: the file is missing, too large (in bytes, or more than `MOST_PIXELS`), damaged, or no image.
    """
    if not isinstance(picture, str):
        raise DataError("bring an image first, or pick one of the samples")
    path = Path(picture)
    try:
        data = path.read_bytes() if path.stat().st_size <= most_bytes else b""
    except OSError:
        raise DataError("the image is gone from this server: bring it again") from None
    if not data:
        raise DataError(f"the image is empty, or larger than {most_bytes / 2**20:g} MiB")
    decoded = decode(data, most_pixels=MOST_PIXELS)
    return data if max(decoded.size) <= KEPT_SIDE else small_jpeg(decoded, KEPT_SIDE)
