"""The types that a task file gives to its columns, and the check of a row's value against one."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dept.errors import DataError
from dept.tasks.fields import shown

COLUMN_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (float, int),
    "bool": (bool,),
    "list": (list, tuple),
    "list[str]": (list, tuple),
    "list[int]": (list, tuple),
    "mapping": (Mapping,),
    "image": (str, bytes, Mapping),  # a path, a file's content, or the hub's {"bytes": ..., "path": ...}
}


def check_value(where: str, value: object, kind: str) -> None:
    """Raise DataError, starting with `where`, unless `value` is of the type `kind` and can be put into a text."""
    if not isinstance(value, COLUMN_TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise DataError(f"{where}: expected {kind}, found {shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise DataError(f"{where}: expected a number, found {value}")
    if isinstance(value, int) and value.bit_length() > 63:
        raise DataError(f"{where}: expected a number of at most 63 bits, found {shown(value)}")
    if kind == "image":
        _check_image(where, value)
    if isinstance(value, list | tuple) and kind in ("list[str]", "list[int]"):
        for item in value:
            check_value(f"{where}, an item", item, kind.removeprefix("list[").removesuffix("]"))
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:  # a tokeniser would raise an error for it
            raise DataError(f"{where}: broken Unicode (half of a surrogate pair) in {shown(value)}") from None


def _check_image(where: str, value: object) -> None:
    parts = [value.get("bytes"), value.get("path")] if isinstance(value, Mapping) else [value]
    if not any(parts):
        raise DataError(f"{where}: expected an image (a path, or bytes), found neither")
    if not all(part is None or isinstance(part, str | bytes) for part in parts):
        raise DataError(f"{where}: expected an image's path or bytes, found {shown(parts)}")
