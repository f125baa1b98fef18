"""Typed configs as command-line flags, and one way for a command to fail: a line on stderr, exit 2."""

import dataclasses
import inspect
import os
import sys
import typing
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from typer.exceptions import TyperException

from dept.basics.checked import options_of
from dept.basics.settings_file import parse_value, read_config
from dept.errors import DeptError

STOPPED = 130  # the exit code of a command that was asked to stop
C = TypeVar("C")


def run_app(app: typer.Typer, argv: Sequence[str] | None = None) -> int:
    """Run a typer app; returns the exit code.

    A `DeptError` or a wrong flag is one or two lines on stderr and exit code 2, never a traceback; Ctrl-C is
    `STOPPED` (typer's doing).
    """
    warnings.showwarning = _show_warning
    try:
        result = app(list(argv) if argv is not None else None, standalone_mode=False)
    except DeptError as fault:
        return _fail(str(fault))
    except TyperException as fault:
        describe = getattr(fault, "format_message", fault.__str__)
        return _fail(f"{describe()} (see --help)")
    except BrokenPipeError:
        # The reader of a pipe is gone (`| head`); Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return result if isinstance(result, int) else 0


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: typing.TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {message}", file=file or sys.stderr)


class Given(dict[str, Any]):
    """What a user set, from a file and by flags.

    Attributes:
        flags: the names that were given as flags; a file may hold settings of several methods.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.flags: set[str] = set()


def with_flags(
    config: type[Any], parameter: str = "given", *, file: bool = True
) -> Callable[[Callable[..., C]], Callable[..., C]]:
    """Give a command one flag for each field of a config, and `--config FILE`.

    The command's other parameters stay flags of its own.

    Args:
        parameter: the command's parameter that receives what the user set, the file's values first, flags over them:
            a `Given` for `config.from_dict`. The flags stand in its place.
        file: whether there is a `--config FILE`.
    """
    kinds = typing.get_type_hints(config)

    def decorate(command: Callable[..., C]) -> Callable[..., C]:
        fields = [field for field in dataclasses.fields(config) if "help" in field.metadata]

        def wrapped(**values: Any) -> C:
            path = values.pop("config") if file else None
            given = Given(read_config(path) if path is not None else {})
            for field in fields:
                value = values.pop(field.name)
                if value is not None:
                    given[field.name] = parse_value(field.name, value, kinds[field.name])
                    given.flags.add(field.name)
            return command(**{parameter: given}, **values)

        flags = [_file_flag()] if file else []
        flags += [_flag(field, kinds[field.name]) for field in fields]
        parameters: list[inspect.Parameter] = []
        for name, own in inspect.signature(command).parameters.items():
            parameters += flags if name == parameter else [own.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
        wrapped.__doc__ = command.__doc__
        wrapped.__name__ = command.__name__
        return wrapped

    return decorate


def _file_flag() -> inspect.Parameter:
    option = typer.Option(metavar="FILE", help="YAML or JSON file of these settings; flags override it.")
    return inspect.Parameter(
        "config", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, option]
    )


def _flag(field: dataclasses.Field[Any], kind: Any) -> inspect.Parameter:
    text = field.metadata["help"]
    default = "" if field.default is None or "[" in text else f" [default: {field.default}]"
    if kind is bool:
        annotation: Any = Annotated[bool | None, typer.Option(help=text + default, show_default=False)]
    else:
        annotation = Annotated[
            str | None, typer.Option(metavar=_metavar(kind), help=text + default, show_default=False)
        ]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _metavar(kind: Any) -> str:
    names: list[str] = []
    for option in options_of(kind):
        if typing.get_origin(option) is Literal:
            names.extend(str(value) for value in typing.get_args(option))
        elif option is not type(None):
            names.append({int: "INTEGER", float: "NUMBER", str: "TEXT"}[option])
    return "|".join(names)
