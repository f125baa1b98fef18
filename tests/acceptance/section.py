"""What a section of the acceptance report is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dept.errors import DataError


@dataclass(frozen=True)
class Outcome:
    """Measured figures as Markdown, and whether they are what was asked."""

    passed: bool
    text: str


@dataclass(frozen=True)
class Section:
    """One promise: what was asked, and how it is measured. by_name: only when it is named, since it takes long."""

    name: str
    title: str
    asked: str
    measure: Callable[[], Outcome]
    by_name: bool = False


def shared() -> Path:
    """The folder of real rows and golden files beside the repository."""
    folder = Path(__file__).resolve().parents[3] / "shared"
    if not folder.is_dir():
        raise DataError(f"{folder} is not there: the acceptance figures need its golden files and real rows")
    return folder


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
