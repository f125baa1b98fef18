"""Find and read benchmarks' bench.json files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dept.backbones.tower_sizes import TowerInfo
from dept.basics.files import read_json
from dept.errors import ConfigError, RunError
from lab.bench.config import BenchConfig
from lab.bench.plan import MeasuredPair, Measurement, Pair
from lab.bench.run import SCHEMA_VERSION, Bench
from lab.runs.read import Damaged


def find_benches(root: str | Path) -> tuple[list[tuple[Path, Bench]], list[Damaged]]:
    """Every benchmark at or below a folder, sorted by path, and the damaged ones; links and hidden folders are not
    followed.
    """
    benches, damaged = [], []
    for place, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if "bench.json" in files:
            file = Path(place) / "bench.json"
            try:
                benches.append((file, read_bench(file)))
            except RunError as fault:
                damaged.append(Damaged(file, str(fault)))
    return benches, damaged


def read_bench(file: Path) -> Bench:
    """Read a bench.json.

    Raises:
        RunError: the file is missing, damaged or of a newer version.
    """
    values = read_json(file)
    try:
        if values["schema_version"] > SCHEMA_VERSION:
            raise RunError(f"{file} was written by a newer version: update dept-lab")
        given = values["settings"]
        settings: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        return Bench(
            config=BenchConfig(**settings),
            measured=[_measured(pair) for pair in values["pairs"]],
            skipped=[Pair.from_dict(pair) for pair in values["no_time_for"]],
            status=values["status"],
            started=values["started"],
            elapsed_s=values["elapsed_s"],
            machine=values["machine"],
            versions=values["versions"],
            commit=values["commit"],
            towers=[TowerInfo(**tower) for tower in values.get("image_encoders", ())],  # older files have none
        )
    except (LookupError, TypeError, AttributeError, ConfigError) as fault:
        raise RunError(f"{file} does not hold a benchmark ({type(fault).__name__}: {fault})") from None


def _measured(values: Mapping[str, Any]) -> MeasuredPair:
    sides = {name: _measurement(values[name]) for name in ("baseline", "variant")}
    return MeasuredPair(Pair.from_dict(values["pair"]), values["repeat"], **sides)


def _measurement(values: Mapping[str, Any] | None) -> Measurement | None:
    if values is None:
        return None
    return Measurement(**{**values, "pass_seconds": tuple(values["pass_seconds"])})
