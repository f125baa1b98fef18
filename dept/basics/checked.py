"""Frozen dataclasses that check themselves and name the bad field."""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar, Literal, Union

from dept.errors import ConfigError


def setting(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@functools.cache
def _kinds(config: Any) -> dict[str, Any]:
    """The annotations of a config class: reading them anew takes longer than all the checks."""
    return typing.get_type_hints(config)


def _matches(value: object, kind: Any) -> bool:
    """Whether a value is of an annotated kind; a bool never passes as a number."""
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return any(_matches(value, option) for option in typing.get_args(kind))
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in typing.get_args(kind))
    if kind is float:
        return isinstance(value, float) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _describe(kind: Any) -> str:
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(option) for option in typing.get_args(kind))
    if origin is Literal:
        return " or ".join(repr(option) for option in typing.get_args(kind))
    names = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}
    return "null" if kind is type(None) else names[kind]


def _as_float(value: object, kind: Any) -> object:
    """A whole number as float where that is wanted, so that 8 and 8.0 are one setting (and one run's key)."""
    kinds = (kind, *typing.get_args(kind))
    if float not in kinds or int in kinds or isinstance(value, bool) or not isinstance(value, int):
        return value
    return float(value) if abs(value) < 2**1000 else value  # a larger one is no float and fails its check


def _show(value: object) -> str:
    """A bad value for a one-line message, whatever a file or a caller gave."""
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 10**20 else "a huge number"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    return f"a value of type {type(value).__name__}"


class Checked:
    """Types first, then each field's range; the message names the class's field."""

    _ranges: ClassVar[Mapping[str, tuple[float, float | None]]] = {}

    def __post_init__(self) -> None:
        config: Any = type(self)
        kinds = _kinds(config)
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            value = _as_float(getattr(self, item.name), kinds[item.name])
            object.__setattr__(self, item.name, value)
            if not _matches(value, kinds[item.name]):
                raise ConfigError(f"{item.name} must be {_describe(kinds[item.name])}, not {_show(value)}")
            if isinstance(value, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
                raise ConfigError(f"{item.name} holds a character that no text or path can have: {_show(value)}")
            bounds = self._ranges.get(item.name)
            if bounds is None or not isinstance(value, (int, float)):
                continue
            least, most = bounds
            if value < least or (most is not None and value > most):
                span = f"at least {least:,}" if most is None else f"between {least:,} and {most:,}"
                raise ConfigError(f"{item.name} must be {span}, not {_show(value)}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> typing.Self:
        """The config of these values; an unknown key is an error.

        Raises:
            ConfigError: an unknown key, a wrong type or a value out of range, by name.
        """
        known = {item.name for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if not isinstance(values, Mapping):
            raise ConfigError(f"settings must be a mapping of names to values, not {_show(values)}")
        for key in values:
            if key not in known:
                raise ConfigError(f"unknown setting {_show(key)}; known: {', '.join(sorted(known))}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)  # type: ignore[call-overload]
