"""Settings as frozen dataclasses: each field says all that is known of it once, checks itself and names itself.

A field made by `setting` carries its help, label, range and widget. Flags, the page's form, tables and CSV columns are
queries over these (`settings_of`).
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

from dept.errors import ConfigError

Widget = Literal["number", "slider", "rate", "choice", "text", "json"]
Of = Literal["method", "loop", "data", "machine"]


@dataclass(frozen=True)
class Setting:
    """What is known of one field of a config.

    Attributes:
        name: of the field; its flag is --name-with-dashes.
        kind: the annotation.
        help: what a flag's help and a form say of it.
        label: what a form and a table call it.
        letter: the paper's, if it has one.
        least, most: the range of a number; None is open.
        widget: how a form asks for it; "rate" is a number on a logarithmic scale.
        of: what it belongs to: the method, the training loop, the data, or the machine.
        page: whether a browser may set it.
        since: the schema that it appeared in. A newer one than 1 is left out of `identity` while it has its default.
        choices: the words that it takes; empty where any value of its kind will do.
    """

    name: str
    kind: Any
    default: Any
    help: str
    label: str = ""
    letter: str = ""
    least: float | None = None
    most: float | None = None
    widget: Widget | None = None
    of: Of = "loop"
    page: bool = True
    since: int = 1
    choices: tuple[str, ...] = ()

    @property
    def takes_none(self) -> bool:
        return _matches(None, self.kind)

    @property
    def takes_whole(self) -> bool:
        """Whether it takes whole numbers."""
        return int in options_of(self.kind)

    @property
    def flag(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    def check_range(self, value: object) -> None:
        """Refuse a number outside the range, and a word that is none of the choices.

        Raises:
            ConfigError: it names the field.
        """
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            least, most = self.least, self.most
            if (least is not None and value < least) or (most is not None and value > most):
                span = f"at least {least:,}" if most is None else f"between {least:,} and {most:,}"
                raise ConfigError(f"{self.name} must be {span}, not {show(value)}")
        if self.choices and isinstance(value, str) and value not in self.choices:
            raise ConfigError(f"{self.name} must be {' or '.join(map(repr, self.choices))}, not {show(value)}")


def setting(
    default: Any,
    help: str,  # noqa: A002 - a field's own word for it
    *,
    label: str = "",
    letter: str = "",
    least: float | None = None,
    most: float | None = None,
    widget: Widget | None = None,
    of: Of = "loop",
    page: bool = True,
    since: int = 1,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that says what it is; see `Setting`."""
    return field_of(Setting("", None, default, help, label, letter, least, most, widget, of, page, since, choices))


def field_of(one: Setting) -> Any:
    """The dataclass field of a setting, whose name and kind are those that the class gives it."""
    said = {item.name: getattr(one, item.name) for item in dataclasses.fields(one)}
    del said["name"], said["kind"], said["default"]
    return dataclasses.field(default=one.default, metadata=said)


def settings_of(config: Any) -> Mapping[str, Setting]:
    """The settings of a config class by name, in the order of its fields; plain fields have no help."""
    return _settings(config)


@functools.cache  # beneath a function of its own, since a type checker takes config classes for unhashable
def _settings(config: Any) -> Mapping[str, Setting]:
    kinds = typing.get_type_hints(config)
    return types.MappingProxyType(
        {
            item.name: Setting(item.name, kinds[item.name], item.default, **{"help": "", **item.metadata})
            for item in dataclasses.fields(config)
        }
    )


@functools.cache  # a sweep makes thousands of configs, and typing's own answers take longer than the checks
def options_of(kind: Any) -> tuple[Any, ...]:
    """The kinds that a union is made of; another kind alone."""
    return typing.get_args(kind) if typing.get_origin(kind) in (Union, types.UnionType) else (kind,)


def _matches(value: object, kind: Any) -> bool:
    """Whether a value is of an annotated kind; a bool never passes as a number."""
    options = options_of(kind)
    if len(options) > 1:
        return any(_matches(value, option) for option in options)
    if kind is float:
        return isinstance(value, float) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if isinstance(kind, type):
        return isinstance(value, kind)
    return any(type(value) is type(option) and value == option for option in typing.get_args(kind))  # a Literal


def describe(kind: Any) -> str:
    options = options_of(kind)
    if len(options) > 1:
        return " or ".join(describe(option) for option in options)
    if typing.get_origin(kind) is Literal:
        return " or ".join(repr(option) for option in typing.get_args(kind))
    names = {int: "a whole number", float: "a finite number", str: "text", bool: "true or false"}
    return "null" if kind is type(None) else names[kind]


def _as_float(value: object, kind: Any) -> object:
    """A whole number as float where that is wanted, so that 8 and 8.0 are one setting (and one run's key)."""
    options = options_of(kind)
    if float not in options or int in options or isinstance(value, bool) or not isinstance(value, int):
        return value
    return float(value) if abs(value) < 2**1000 else value  # a larger one is no float and fails its check


def show(value: object) -> str:
    """A bad value for a one-line message, whatever a file or a caller gave."""
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 10**20 else "a huge number"
    if isinstance(value, str):
        return repr(value if len(value) <= 60 else value[:57] + "...")
    return f"a value of type {type(value).__name__}"


class Checked:
    """A config that checks its fields: types first, then each range; the message names the field."""

    def __post_init__(self) -> None:
        config: Any = type(self)
        for name, one in settings_of(config).items():
            value = _as_float(getattr(self, name), one.kind)
            object.__setattr__(self, name, value)
            if not _matches(value, one.kind):
                raise ConfigError(f"{name} must be {describe(one.kind)}, not {show(value)}")
            if isinstance(value, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
                raise ConfigError(f"{name} holds a character that no text or path can have: {show(value)}")
            one.check_range(value)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> typing.Self:
        """The config of these values; what is missing has its default, an unknown key is an error.

        Raises:
            ConfigError: an unknown key, a wrong type or a value out of range, by name.
        """
        known = {item.name for item in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if not isinstance(values, Mapping):
            raise ConfigError(f"settings must be a mapping of names to values, not {show(values)}")
        for key in values:
            if key not in known:
                raise ConfigError(f"unknown setting {show(key)}; known: {', '.join(sorted(known))}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """The fields by name; each is a single value, so that nothing has to be copied."""
        return {name: getattr(self, name) for name in settings_of(type(self))}

    def identity(self) -> dict[str, Any]:
        """What tells this config from others, for keys and comparisons.

        A setting that is newer than schema 1 is left out while it has its default: a version that brings a new
        setting keeps the keys of yesterday's runs.
        """
        return without_new_defaults(type(self), self.to_dict())


def without_new_defaults(config: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a config class, those newer than schema 1 left out where they are the default.

    Args:
        values: by field; names that are no fields stay.
    """
    known = settings_of(config)
    return {
        name: value
        for name, value in values.items()
        if name not in known or known[name].since == 1 or value != known[name].default
    }
