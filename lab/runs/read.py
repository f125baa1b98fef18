"""Find and read run folders. `dept.runs.folder` writes them; nothing here changes a folder."""

import functools
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from dept.backbones.known import Source
from dept.basics.files import read_json
from dept.errors import ConfigError, RunError
from dept.methods.registry import title_of
from dept.runs.folder import FINGERPRINTS, RunFolder, read_metrics
from dept.runs.settings import TrainConfig
from lab.basics.processes import is_alive

DATA_SOURCES = ("hub", "sample", "folder", "package")  # the values of dept.data.names.Source
BACKBONE_SOURCES = get_args(Source)
STATUSES = ("queued", "running", "stopping", "stopped", "interrupted", "completed", "failed")
READS_SCHEMA = 1  # the result.json that this module knows (dept.training.result.SCHEMA_VERSION)
SILENCE_S = 900.0  # a run on another machine writes its heartbeat at steps and in evaluations, which can be long

# The values of result.json that readers rely on, and their kinds; a dot leads into an object.
_RESULT_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "status": str,
    "key": str,
    "task": str,
    "method": str,
    "main_metric": str,
    "backbone": dict,
    "backbone.name": str,
    "backbone.source": str,
    "backbone.fingerprint": str,
    "data": dict,
    "data.source": str,
    "data.rows": dict,
    "data.fingerprint": str,
    "config": dict,
    "metrics": dict,
    "metrics.untrained_validation": dict,
    "metrics.validation": dict,
    "metrics.test": (dict, type(None)),
    "time.total_s": (int, float),
    "time.test_samples_per_s": (int, float, type(None)),
    "trainable_parameters": int,
    "num_virtual_tokens": int,
    "rank": int,
    "input_length": int,
    "over_budget": bool,
    "steps": int,
    "seed": int,
}


@dataclass(frozen=True)
class Run:
    """The content of a run folder; `metrics` is read at its first use.

    Attributes:
        config: the content of config.json.
        state: the content of state.json; empty while the file is missing.
        result: the content of result.json; None while the file is missing.
    """

    path: Path
    config: dict[str, Any]
    state: dict[str, Any]
    result: dict[str, Any] | None

    @property
    def name(self) -> str:
        return title_of(self.config["method"])

    @functools.cached_property
    def settings(self) -> TrainConfig:
        """config.json as settings."""
        return settings_of_run(self.config)

    @functools.cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl.

        Raises:
            RunError: it cannot be read.
        """
        file = RunFolder(self.path).metrics_file
        try:
            return read_metrics(file)
        except (OSError, UnicodeDecodeError) as fault:
            raise RunError(f"{file} cannot be read ({fault})") from None

    @property
    def status(self) -> str:
        """One of `STATUSES`: that of state.json, or `interrupted` for a run whose process ended before the run did."""
        done = None if self.result is None else self.result["status"]
        said = self.state.get("status", done or "running")
        return (done or "interrupted") if said in ("running", "stopping") and not self.is_alive else said

    @property
    def is_alive(self) -> bool:
        """Whether the process that state.json names runs; on another machine, whether its heartbeat is recent."""
        return is_alive(self.state, SILENCE_S)

    @property
    def steps(self) -> int:
        """Optimiser steps done."""
        return int(self.result["steps"] if self.result is not None else self.state.get("step", 0))

    def score(self, split: str) -> float | None:
        """The main metric of the best adapter on validation or test, in per cent; None where there is none."""
        if self.result is None:
            return None
        metrics = self.result["metrics"].get(split) or {}
        return metrics.get(self.result["main_metric"])

    def curve(self, split: str, value: str) -> tuple[list[int], list[float]]:
        """Steps and values of one split's lines, for example ("train", "loss") or ("validation", "accuracy")."""
        steps, values = [], []
        for line in self.metrics:
            number = line.get(value, line.get("metrics", {}).get(value)) if line.get("split") == split else None
            if number is not None:
                steps.append(line["step"])
                values.append(number)
        return steps, values


@dataclass(frozen=True)
class Damaged:
    """A folder that is, or was, a run's and cannot be read; `reason` names the file."""

    path: Path
    reason: str


def settings_of_run(config: Mapping[str, Any]) -> TrainConfig:
    """The settings in a config.json, or in a result's `config`.

    Raises:
        ConfigError: they are no run's.
    """
    return TrainConfig.from_dict({name: value for name, value in config.items() if name != FINGERPRINTS})


def read_run(path: str | Path) -> Run:
    """Read a run folder.

    Raises:
        RunError: this is no run folder, or a damaged one; the message names the file.
    """
    folder = RunFolder(path)
    config = _checked_config(read_json(folder.config_file), folder.config_file)
    state = read_json(folder.state_file) if folder.state_file.exists() else {}
    result = read_json(folder.result_file) if folder.result_file.exists() else None
    _check_state(state, folder.state_file)
    if result is not None:
        _check_result(result, folder.result_file)
    return Run(folder.path, config, state, result)


def labels(runs: Sequence[Run]) -> list[str]:
    """A distinct name for each run: the method's if that is enough, else with as much of the path as it takes."""
    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return names
    parts = [run.path.resolve().parts for run in runs]
    depth = 1
    while depth < max(map(len, parts)) and len({part[-depth:] for part in parts}) < len(parts):
        depth += 1
    return [f"{name} {'/'.join(part[-depth:])}" for name, part in zip(names, parts, strict=True)]


def find_runs(root: str | Path) -> tuple[list[Run], list[Damaged]]:
    """All runs at or below a folder, sorted by path, and the damaged ones; links and hidden folders are left out.

    Raises:
        RunError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        raise RunError(f"{root}: no such folder")
    runs: list[Run] = []
    damaged: list[Damaged] = []

    def unreadable(fault: OSError) -> None:
        damaged.append(Damaged(Path(fault.filename), f"cannot be opened ({fault.strerror})"))

    for place, folders, files in os.walk(root, onerror=unreadable):
        path = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _is_part_of_run(name))
        if _may_be_run(path, files):
            try:
                runs.append(read_run(path))
            except RunError as fault:
                damaged.append(Damaged(path, str(fault)))
    return runs, damaged


def _is_part_of_run(name: str) -> bool:
    return name == "adapter" or name.startswith("checkpoint-")


def _may_be_run(path: Path, files: list[str]) -> bool:
    """Whether a folder is a run's, damaged or not; a backbone's folder also has a config.json, of another kind."""
    if "config.json" not in files:
        return {"state.json", "metrics.jsonl"} <= set(files) or {"state.json", "result.json"} <= set(files)
    try:
        return _is_config(read_json(path / "config.json"))
    except RunError:
        return True


def _is_config(config: Any) -> bool:
    return isinstance(config, dict) and all(isinstance(config.get(name), str) for name in ("task", "method"))


def _checked_config(config: Any, file: Path) -> dict[str, Any]:
    """All settings, those that the file leaves out with their defaults, and the fingerprints."""
    if not _is_config(config) or not isinstance(config.get(FINGERPRINTS, {}), dict):
        raise RunError(f"{file} does not hold a run's settings")
    try:
        settings = settings_of_run(config).to_dict()
    except ConfigError as fault:
        raise RunError(f"{file}: {fault}") from None
    return {**settings, FINGERPRINTS: config.get(FINGERPRINTS, {})}


def _check_state(state: Any, file: Path) -> None:
    if not isinstance(state, dict):
        raise RunError(f"{file} does not hold a run's state")
    for name in ("pid", "pid_started", "heartbeat", "step"):
        value = state.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise RunError(f"{file}: {name} is not a number from 0")
    if not isinstance(state.get("pid", 0), int):
        raise RunError(f"{file}: pid is not a whole number")
    if "status" in state and state["status"] not in STATUSES:
        raise RunError(f"{file}: unknown status {str(state['status'])[:40]!r}")
    if state.get("host") == socket.gethostname() and not {"pid", "pid_started"} <= state.keys():
        raise RunError(f"{file} does not name its process")


def _check_result(result: Any, file: Path) -> None:
    if not isinstance(result, dict):
        raise RunError(f"{file} does not hold a run's result")
    version = result.get("schema_version")
    if isinstance(version, int) and version > READS_SCHEMA:
        raise RunError(f"{file} was written by a newer version (schema_version {version}): update dept-lab")
    for name, kind in _RESULT_KINDS.items():
        value: Any = result
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise RunError(f"{file}: {name} is missing or of the wrong kind")
    for name, known in (("backbone", BACKBONE_SOURCES), ("data", DATA_SOURCES)):
        if result[name]["source"] not in known:
            raise RunError(f"{file}: {name}.source is none of {', '.join(known)}")
    if any(type(count) is not int for count in result["data"]["rows"].values()):
        raise RunError(f"{file}: data.rows are not whole numbers")
    for split in ("untrained_validation", "validation", "test"):
        metrics = result["metrics"][split] or {}
        if any(not isinstance(value, int | float) for value in metrics.values()):
            raise RunError(f"{file}: metrics.{split} are not all numbers")
        if metrics and result["main_metric"] not in metrics:
            raise RunError(f"{file}: metrics.{split} lack the main metric, {result['main_metric'][:40]!r}")
    if result["status"] not in STATUSES:
        raise RunError(f"{file}: unknown status {result['status'][:40]!r}")
    result["config"] = _checked_config(result["config"], file)
    if result["method"] != result["config"]["method"]:
        raise RunError(f"{file}: method is not that of its settings")
