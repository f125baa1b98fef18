"""What a preset fixes beside the task, the method and the seed; everything else is `dept train`'s default."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dept.basics.settings_file import read_config
from dept.errors import ConfigError
from dept.methods.combined import SUM
from dept.methods.registry import DEFAULT_METHOD
from dept.runs.settings import TrainConfig
from dept.tasks import load_task

_FOLDER = Path(__file__).parent / "presets"
_ORDER = ("smoke", "sample", "paper")  # the small ones first; others come after them
_OF_A_RUN = ("task", "method", "seed", "output_dir")


@dataclass(frozen=True)
class OfMethod:
    """What a preset fixes for one method: in all its runs, and in those of some tasks."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Preset:
    """A file of `lab/reproduce/presets`.

    Attributes:
        settings: of every run. methods: of the runs of a method, by its name.

    Raises:
        ConfigError: an unknown setting, method or task, or a value that no run can have.
    """

    settings: Mapping[str, Any]
    methods: Mapping[str, OfMethod] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self.settings, DEFAULT_METHOD)
        for method, of_method in self.methods.items():
            _check({**self.settings, **of_method.settings}, method)
            for task, settings in of_method.tasks.items():
                load_task(task)
                _check({**self.settings, **of_method.settings, **settings}, method)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preset:
        try:
            methods = {name: OfMethod(**of_method) for name, of_method in values.get("methods", {}).items()}
            return cls(**{**values, "methods": methods})
        except TypeError as fault:
            raise ConfigError(f"a preset has settings and methods, a method settings and tasks: {fault}") from None

    def of(self, method: str, task: str) -> dict[str, Any]:
        """The settings of a run; a method that is joined of several has what each of them has."""
        settings = dict(self.settings)
        for name in method.split(SUM):
            of_method = self.methods.get(name, OfMethod())
            settings |= {**of_method.settings, **of_method.tasks.get(task, {})}
        return settings


def _check(settings: Mapping[str, Any], method: str) -> None:
    for name in _OF_A_RUN:
        if name in settings:
            raise ConfigError(f"{name} is no setting of a preset")
    TrainConfig.from_dict({**settings, "method": method})


def preset_names() -> tuple[str, ...]:
    """Names of the presets that there are."""
    names = {file.stem for file in _FOLDER.glob("*.yaml")}
    return (*(name for name in _ORDER if name in names), *sorted(names - set(_ORDER)))


@functools.cache
def preset(name: str) -> Preset:
    """A preset by its name.

    Raises:
        ConfigError: no such one, or as `Preset`.
    """
    if name not in preset_names():
        raise ConfigError(f"--preset: {name!r} is none of {', '.join(preset_names())}")
    return Preset.from_dict(read_config(_FOLDER / f"{name}.yaml"))
