"""Typed reading of a task file: each wrong key, type or value becomes one TaskError that names the field."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from dept.errors import TaskError

MAX_NUMBER = 1_000_000_000


def shown(value: object, limit: int = 40) -> str:
    """`value` for an error message: on one line, cut after `limit` characters."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    text = repr(value[:limit] if isinstance(value, str | list | tuple) else value)
    text = text if len(text) <= limit + 2 else text[:limit] + "..."
    return f"{text} ({type(value).__name__})"


def closest(name: str, known: Collection[str]) -> str:
    """A hint for a misspelt name: the nearest known one, or all of them."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


class Fields:
    """A mapping that is read field by field: a missing field gives the default, a wrong one raises TaskError.

    `prefix` precedes the fields' names in messages ("splits." for those of a nested mapping).
    """

    def __init__(self, data: object, known: Collection[str], prefix: str = "") -> None:
        if not isinstance(data, Mapping):
            raise TaskError(f"expected fields such as {', '.join(list(known)[:3])}, found {shown(data)}")
        for key in data:
            if not isinstance(key, str) or key not in known:
                raise TaskError(f"unknown field {prefix}{shown(key)}: {closest(str(key)[:80], known)}")
        self._data = data
        self._prefix = prefix

    def _value(self, key: str, default: Any) -> Any:
        value = self._data.get(key)
        return default if value is None else value

    def required(self, key: str) -> None:
        """Raise TaskError when `key` is missing or null."""
        if self._data.get(key) is None:
            raise TaskError(f"{self._prefix}{key}: missing; add it (`dept tasks --new` writes a commented file)")

    def text(self, key: str, default: str | None = None) -> str | None:
        """A non-empty string."""
        value = self._value(key, default)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise TaskError(f"{self._prefix}{key}: expected a text, found {shown(value)}; put quotes around it")
        return value

    def positive(self, key: str, default: int | None = None) -> int | None:
        """A whole number from 1 to MAX_NUMBER."""
        value = self._value(key, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_NUMBER:
            expected = f"expected a whole number from 1 to {MAX_NUMBER}"
            raise TaskError(f"{self._prefix}{key}: {expected}, found {shown(value)}")
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """true or false."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise TaskError(f"{self._prefix}{key}: expected true or false, found {shown(value)}")
        return value

    def texts(self, key: str, default: tuple[str, ...] | None = None) -> tuple[str, ...] | None:
        """A non-empty list of non-empty strings."""
        return texts(key, self._value(key, default))

    def scalars(self, key: str) -> tuple[str | int | bool, ...] | None:
        """A non-empty list of strings, whole numbers or booleans."""
        value = self._value(key, None)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not value:
            raise TaskError(f"{key}: expected a list of values, found {shown(value)}")
        for item in value:
            if not isinstance(item, str | int):
                raise TaskError(f"{key}: expected texts or whole numbers, found {shown(item)}")
        return tuple(value)

    def mapping(self, key: str, of_texts: bool = False) -> dict[str, Any]:
        """A mapping with string keys (and string values with `of_texts`); empty when missing."""
        value = self._value(key, {})
        if not isinstance(value, Mapping):
            raise TaskError(f"{key}: expected `name: value` pairs, found {shown(value)}")
        for name in value:
            if not isinstance(name, str):
                raise TaskError(f"{key}: expected a text as name, found {shown(name)}; put quotes around it")
            if of_texts and not isinstance(value[name], str):
                raise TaskError(f"{key}.{name[:40]}: expected a text, found {shown(value[name])}")
        return dict(value)


def texts(key: str, value: object) -> tuple[str, ...] | None:
    """A non-empty list of non-empty strings, or None. YAML reads an unquoted no, yes or 0 as another type."""
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value:
        raise TaskError(f"{key}: expected a list of texts, found {shown(value)}")
    for item in value:
        if not isinstance(item, str) or not item.strip():
            raise TaskError(f"{key}: expected texts, found {shown(item)}; put quotes around each")
    return tuple(value)
