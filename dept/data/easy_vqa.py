"""easy-VQA (Victor Zhou, 2019): questions about pictures of one shape, read from the package easy-vqa (MIT).

The package is only a container: its files are read, its code is never imported. It has train and test splits;
validation is a tenth of train's pictures, always the same ones.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import random
from pathlib import Path
from typing import Any

from dept.errors import DataError

NAME = "easy-vqa"  # the package, and its name for --data
TASK = "vqa"
INSTALL = "pip install 'dept-lab[easy-vqa]'"
_HELD_OUT = 0.1  # share of train's pictures that is kept for validation


def easy_vqa_rows(split: str) -> list[dict[str, Any]]:
    """The rows of a split in the schema of the task vqa: one answer for each question, the image as its path.

    Raises:
        DataError: the package is not installed or is damaged.
    """
    part = folder() / ("test" if split == "test" else "train")
    try:
        questions = json.loads((part / "questions.json").read_text(encoding="utf-8"))
        rows = [
            _row(number, question, answer, image, part) for number, (question, answer, image) in enumerate(questions)
        ]
    except (OSError, ValueError, TypeError) as fault:
        raise DataError(f"{NAME} is damaged ({fault}): install it again: {INSTALL}") from fault
    if split == "test":
        return rows
    images = sorted({row["image_id"] for row in rows})
    held_out = set(random.Random(0).sample(images, round(_HELD_OUT * len(images))))
    return [row for row in rows if (row["image_id"] in held_out) == (split == "validation")]


def version() -> str:
    """The package's name and version, for a result's data."""
    return f"{NAME} {importlib.metadata.version(NAME)}"


def is_installed() -> bool:
    """Whether the package is installed with its data; it is not imported for that."""
    return _data() is not None


def folder() -> Path:
    """The folder with the package's pictures and questions.

    Raises:
        DataError: the package is not installed.
    """
    data = _data()
    if data is None:
        raise DataError(f"--data {NAME} comes with an optional package: {INSTALL}")
    return data


def _data() -> Path | None:
    package = importlib.util.find_spec("easy_vqa")  # finds a package without importing it
    if package is None or not package.submodule_search_locations:
        return None
    data = Path(package.submodule_search_locations[0]) / "data"
    return data if data.is_dir() else None


def _row(number: int, question: str, answer: str, image: int, part: Path) -> dict[str, Any]:
    return {
        "question_id": number,
        "image_id": image,
        "question": question,
        "multiple_choice_answer": answer,
        "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": 1}],
        "image": str(part / "images" / f"{image}.png"),
    }
