"""Templates: `sentence1: {sentence1} sentence2: {sentence2}`. Column names in braces are replaced by their values.

`str.format` is not used: it would let a task file reach attributes of the values.
"""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Mapping

from dept.errors import TaskError


def columns_of(template: str) -> tuple[str, ...]:
    """The columns that a template names. Raises TaskError for anything but plain {column}."""
    return tuple(name for _, name in _parts(template) if name is not None)


def render(template: str, row: Mapping[str, object]) -> str:
    """The source text of a row; a missing optional column gives an empty text."""
    return "".join(literal + ("" if name is None else as_text(row.get(name))) for literal, name in _parts(template))


def as_text(value: object) -> str:
    """A column's value as text: lists joined by commas, 2.0 as 2, an empty text for a missing value."""
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return f"{value:.15g}" if isinstance(value, float) else str(value)


@functools.lru_cache(maxsize=256)
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """(literal text, column or None) pairs."""
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise TaskError(f"template: {error}; write {{column}}, and {{{{ or }}}} for a brace") from None
    for _, name, spec, conversion in parsed:
        if name is not None and (spec or conversion or not name.strip() or re.search(r"[.\[\]{}]", name)):
            raise TaskError(f"template: {{{name[:40]}}} is no plain column name; write {{column}}, nothing more")
    return tuple((literal, name) for literal, name, _, _ in parsed)
