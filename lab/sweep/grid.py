"""What a sweep runs: a grid read from YAML, checked, laid out as runs. Nothing here imports torch."""

import dataclasses
import itertools
import random
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept.basics.settings_file import parse_value, read_config
from dept.errors import ConfigError
from dept.methods.registry import owners
from dept.runs.settings import TrainConfig, settings_of_method
from lab.jobs.job import Job, new_job

SHIPPED = Path(__file__).parent / "grids"
Setting = str | int | float | bool | None
Values = Mapping[str, Setting]
Axes = Mapping[str, tuple[Setting, ...]]

_SECTIONS = ("about", "settings", "compare", "choose", "cases", "seeds")
_KINDS = typing.get_type_hints(TrainConfig)
_NOT_SWEPT = {"output_dir": "each run has its own folder", "seed": "its values stand under `seeds`"}
_DEFAULT_SEED = TrainConfig.seed
_MAX_RUNS = 100_000


@dataclass(frozen=True)
class Sweep:
    """A grid. Every name in it is a field of `TrainConfig`.

    Attributes:
        settings: the same in every run.
        compare: each combination of these is a row of the outcome, with a choice of its own.
        choose: each combination of these is tried; the best by validation is chosen.
            Of `settings` and `choose` a row has those that are its method's.
        cases: compared too, by a name: settings that belong together. A tuple among them is searched, as in `choose`.
        seeds: each combination runs with every one; validation is averaged over them before the choice.

    Raises:
        ConfigError: an unknown or repeated name, an empty list, a value that no run can have.
    """

    name: str
    about: str = ""
    settings: Values = dataclasses.field(default_factory=dict)
    compare: Axes = dataclasses.field(default_factory=dict)
    choose: Axes = dataclasses.field(default_factory=dict)
    cases: Mapping[str, Mapping[str, Setting | tuple[Setting, ...]]] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = (_DEFAULT_SEED,)

    def __post_init__(self) -> None:
        for section, axes in (("compare", self.compare), ("choose", self.choose)):
            for name, values in axes.items():
                _check_axis(f"{section}: {name}", values)
        _check_axis("seeds", self.seeds)
        for case, given in self.cases.items():
            for name, value in given.items():
                if isinstance(value, tuple):
                    _check_axis(f"cases: {case}: {name}", value)
        for where, names in self._names().items():
            for name in names:
                if name in _NOT_SWEPT:
                    raise ConfigError(f"sweep {self.name}: {where}: {name} cannot be set: {_NOT_SWEPT[name]}")
                if name not in _KINDS or name.startswith("_"):
                    raise ConfigError(f"sweep {self.name}: {where}: unknown setting {name!r}; `dept train --help`")
                others = [other for other, theirs in self._names().items() if other != where and name in theirs]
                clash = [other for other in others if {where, other} & {"compare", "choose"}]
                if clash:
                    raise ConfigError(f"sweep {self.name}: {name} stands under {where} and under {clash[0]}")

    def _names(self) -> dict[str, list[str]]:
        cases = {f"cases: {case}": list(values) for case, values in self.cases.items()}
        return {
            "settings": list(self.settings),
            "compare": list(self.compare),
            "choose": list(self.choose),
            **cases,
        }

    @classmethod
    def from_dict(cls, name: str, values: Mapping[str, Any]) -> "Sweep":
        """The sweep that a YAML file describes.

        Raises:
            ConfigError: an unknown section, a section of the wrong kind, and as the class.
        """
        for section in values:
            if section not in _SECTIONS:
                raise ConfigError(f"sweep {name}: unknown section {section!r}; known: {', '.join(_SECTIONS)}")
        given = {section: value for section, value in values.items() if value is not None}
        for section in ("settings", "compare", "choose", "cases"):
            if not _is_mapping(given.get(section, {})):
                raise ConfigError(f"sweep {name}: {section} must hold values by name")
        cases = given.get("cases", {})
        for case, settings in cases.items():
            if not _is_mapping(settings):
                raise ConfigError(f"sweep {name}: cases: {case} must hold settings by name")
        return cls(
            name=name,
            about=str(given.get("about", "")),
            settings=given.get("settings", {}),
            compare={field: _listed(value) for field, value in given.get("compare", {}).items()},
            choose={field: _listed(value) for field, value in given.get("choose", {}).items()},
            cases={
                case: {field: tuple(value) if isinstance(value, list) else value for field, value in settings.items()}
                for case, settings in cases.items()
            },
            seeds=_listed(given.get("seeds", [_DEFAULT_SEED])),
        )

    def to_dict(self) -> dict[str, Any]:
        """As the YAML file has it: equal dicts are the same sweep."""
        return {section: _plain(getattr(self, section)) for section in _SECTIONS}

    def with_setting(self, name: str, values: Sequence[Setting]) -> "Sweep":
        """The same sweep with other values of one setting; where several are given, or stood before, it stays an axis.

        Raises:
            ConfigError: the cases set it, or it has several values and is no axis of this sweep.
        """
        for case, given in self.cases.items():
            if name in given:
                raise ConfigError(
                    f"{name} belongs to the cases of sweep {self.name} ({case}): edit a copy of its file"
                )
        if name in self.compare:
            return dataclasses.replace(self, compare={**self.compare, name: tuple(values)})
        if name in self.choose:
            return dataclasses.replace(self, choose={**self.choose, name: tuple(values)})
        if len(values) == 1:
            return dataclasses.replace(self, settings={**self.settings, name: values[0]})
        settings: Values = {field: value for field, value in self.settings.items() if field != name}
        if name in _COMPARED:
            return dataclasses.replace(self, settings=settings, compare={**self.compare, name: tuple(values)})
        return dataclasses.replace(self, settings=settings, choose={**self.choose, name: tuple(values)})


_COMPARED = ("task", "method", "backbone", "data")


def _is_mapping(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) for name in value)


def _listed(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _check_axis(where: str, values: tuple[Any, ...]) -> None:
    if not values:
        raise ConfigError(f"{where} has no values")
    if any(isinstance(value, (list, tuple, dict)) for value in values):
        raise ConfigError(f"{where} must be a list of plain values")
    if len(set(values)) != len(values):
        raise ConfigError(f"{where} has a value twice")


@dataclass(frozen=True)
class Trial:
    """One run of a sweep.

    Attributes:
        group: what it is compared as, by name: the case first, then the compared settings.
        point: the searched settings, one point of the group's grid.
        job: trains it, and leaves its test rows alone.
    """

    group: Values
    point: Values
    job: Job


def shipped() -> list[str]:
    """Names of the sweeps that ship with the lab."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def read_sweep(name_or_path: str) -> Sweep:
    """A shipped sweep by its name, or one's own by the path of its YAML file.

    Raises:
        ConfigError: neither, or as `Sweep`.
    """
    if name_or_path in shipped():
        return Sweep.from_dict(name_or_path, read_config(SHIPPED / f"{name_or_path}.yaml"))
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml", ".json"):
        raise ConfigError(
            f"unknown sweep {name_or_path!r}: one of {', '.join(shipped())}, or the path of your own .yaml file"
        )
    return Sweep.from_dict(path.stem, read_config(path))


def parse_setting(text: str) -> tuple[str, list[Setting]]:
    """`name=value`, or `name=value,value`, as typed values.

    Raises:
        ConfigError: no such setting, or not a value of its kind.
    """
    name, equals, values = text.partition("=")
    name = name.strip().replace("-", "_")
    if not equals or not values.strip():
        raise ConfigError(f"--set takes name=value, for example max_steps=100, not {text!r}")
    if name not in _KINDS or name in _NOT_SWEPT or name.startswith("_"):
        reason = _NOT_SWEPT.get(name, "no such setting; `dept train --help` lists them")
        raise ConfigError(f"--set {name}: {reason}")
    return name, [_parse(name, value.strip()) for value in values.split(",")]


def _parse(name: str, text: str) -> Setting:
    if _KINDS[name] is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"--set {name} takes true or false, not {text!r}")
        return text.lower() == "true"
    value: Setting = parse_value(name, text, _KINDS[name])
    return value


def trials(sweep: Sweep, folder: Path, *, draw: int | None = None, draw_seed: int = 0, **job: Any) -> list[Trial]:
    """Every run of a sweep, in the order of the grid: row by row of the outcome, point by point, seed by seed.

    Args:
        folder: holds a folder for each run.
        draw: try only so many points of each grid, drawn at random; the same for every row that has that grid.
        draw_seed: of the drawing.
        job: fields of every run's job.

    Raises:
        DeptError: a run that cannot be (its settings are named), too many runs, rows that are not there.
    """
    found: list[Trial] = []
    _check_owners(sweep)
    for group, given in _groups(sweep):
        searched = {name: value for name, value in given.items() if isinstance(value, tuple)}
        fixed = {name: value for name, value in given.items() if not isinstance(value, tuple)}
        points = _points(searched)
        if draw is not None and draw < len(points):
            chosen = random.Random(draw_seed).sample(range(len(points)), draw)
            points = [points[index] for index in sorted(chosen)]
        if len(found) + len(points) * len(sweep.seeds) > _MAX_RUNS:
            raise ConfigError(f"sweep {sweep.name} has more than {_MAX_RUNS:,} runs")
        for point, seed in itertools.product(points, sweep.seeds):
            config = _config(sweep, {**fixed, **point, "seed": seed})
            found.append(Trial(group, point, new_job(config, folder, test=False, **job)))
    return found


def _groups(sweep: Sweep) -> Iterator[tuple[Values, dict[str, Any]]]:
    """(what is compared, all its settings; the searched ones as tuples)."""
    cases: list[tuple[Values, Mapping[str, Any]]] = [({"case": name}, values) for name, values in sweep.cases.items()]
    for compared in _points(sweep.compare):
        for label, case in cases or [({}, {})]:
            yield {**label, **compared}, _given(sweep, compared, case)


def _given(sweep: Sweep, compared: Values, case: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a row: of those that all rows have, the ones that are its method's."""
    shared = {**sweep.settings, **sweep.choose}
    method = {**shared, **compared, **case}.get("method", TrainConfig.method)
    if isinstance(method, str):  # where the method itself is searched, it must have all that is set
        try:
            own = settings_of_method(method, shared)
        except ConfigError as fault:
            raise ConfigError(f"sweep {sweep.name}: {fault}") from fault
    else:
        own = shared
    fixed = {name: value for name, value in own.items() if name in sweep.settings}
    return {**fixed, **compared, **{name: own[name] for name in sweep.choose if name in own}, **case}


def _check_owners(sweep: Sweep) -> None:
    """Refuse a setting that no row's method has."""
    used = {name for _, given in _groups(sweep) for name in given}
    for name in (*sweep.settings, *sweep.choose):
        if name not in used:
            raise ConfigError(f"sweep {sweep.name}: {name} belongs to {' and '.join(owners(name))}: set the method")


def _points(axes: Axes) -> list[dict[str, Setting]]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def _config(sweep: Sweep, settings: Mapping[str, Any]) -> TrainConfig:
    try:
        return TrainConfig.from_dict(settings)
    except ConfigError as fault:
        where = ", ".join(f"{name} {value}" for name, value in settings.items())
        raise ConfigError(f"sweep {sweep.name}: {fault} (in {where[:200]})") from fault


def narrowed(
    sweep: Sweep,
    *,
    tasks: Sequence[str] = (),
    backbones: Sequence[str] = (),
    data: str | None = None,
    seeds: Sequence[int] = (),
    settings: Sequence[str] = (),
) -> Sweep:
    """The sweep with other values where some are given.

    Args:
        settings: texts for `parse_setting`.

    Raises:
        ConfigError: as `parse_setting` and `Sweep.with_setting`.
    """
    given: list[tuple[str, Sequence[Setting]]] = [("task", tasks), ("backbone", backbones)]
    given += [("data", [data] if data is not None else []), *(parse_setting(text) for text in settings)]
    for name, values in given:
        if values:
            sweep = sweep.with_setting(name, values)
    return dataclasses.replace(sweep, seeds=tuple(seeds)) if seeds else sweep
