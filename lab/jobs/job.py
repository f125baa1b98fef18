"""A job, one run of `dept.training.loop.train` on its own or inside a notebook, and its outcome.

A job's key is a hash of its settings, task, rows and backbone. Its folder is named after the key: a changed setting
or row starts a run beside the old one, and the same job finds its old run. A job is done when its folder holds the
completed run of exactly its settings, whatever its process returned. This module imports no torch, so that finished
jobs are recognised quickly.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dept.backbones.known import RANDOM, known_backbone, registry
from dept.backbones.locate import locate
from dept.basics.digest import json_digest
from dept.basics.files import read_json
from dept.data.names import DATA_NAMES
from dept.data.sources import SPLITS, files_of, local_path
from dept.errors import ConfigError, RunError
from dept.runs.folder import FINGERPRINTS, RunFolder
from dept.runs.key import is_untested, run_key
from dept.runs.settings import TrainConfig
from dept.runs.whole_paths import with_whole_paths
from dept.tasks import Task, load_task
from dept.tasks.sample import SAMPLE_SIZES, sample_rows

Status = Literal["completed", "stopped", "failed", "cell error", "dead kernel", "timed out"]
_BLOCK, _BLOCKS = 4096, 1024  # bytes of a sampled block of a weight file, number of blocks


@dataclass(frozen=True)
class Resources:
    """The resources of one job.

    Attributes:
        cpus: cores, and as many threads.
        gpus: GPUs on a Ray cluster, fractions allowed; None means one if there are any.

    Raises:
        ConfigError: Ray cannot give this number of GPUs.
    """

    cpus: int = 1
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.gpus is not None and not (0 <= self.gpus <= 1 or (self.gpus > 1 and self.gpus % 1 == 0)):
            raise ConfigError(f"--gpus-per-job takes a part of one GPU or whole ones, not {self.gpus:g}")


def check_timeout(seconds: float | None) -> None:
    """Refuse a time limit that is not above 0.

    Raises:
        ConfigError: it is 0, less, or no number.
    """
    if seconds is not None and not seconds > 0:
        raise ConfigError(f"--timeout must be above 0, not {seconds:g}")


@dataclass(frozen=True)
class Pruning:
    """Settings to end a run early (`lab.jobs.pruning`): the pruner, and the run folders to compare with."""

    pruner: str
    rivals: tuple[Path, ...]


@dataclass(frozen=True)
class Notebook:
    """A parameterised notebook in whose kernel a job's run is trained.

    Attributes:
        source: the notebook to execute.
        output: the path of the executed notebook.
        parameters: values for the names in its cell tagged `parameters`; plain JSON.
    """

    source: Path
    output: Path
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """One run to be made; see `new_job`.

    Attributes:
        key: see `job_key`.
        config: its output_dir is the run folder.
        notebook: executed around the run; None trains without one.
        test: whether the best adapter is scored on test.
        track: mirror the run to a tracker (`dept.training.trackers`); a notebook has a parameter for it.
        pruning: end the run early if it is behind others; not with a notebook.
        timeout_s: seconds after which the job is ended; None for no limit.

    Raises:
        ConfigError: the timeout is not above 0.
    """

    key: str
    config: TrainConfig
    notebook: Notebook | None = None
    test: bool = True
    track: str | None = None
    pruning: Pruning | None = None
    resources: Resources = field(default_factory=Resources)
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        check_timeout(self.timeout_s)

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir)

    @property
    def name(self) -> str:
        """The job's name, of its folder and in lists."""
        return self.folder.name

    def to_dict(self) -> dict[str, Any]:
        """The job as plain JSON, for another process or machine."""
        return json.loads(json.dumps(dataclasses.asdict(self), default=str))  # paths become text

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Job:
        notebook, pruning = values["notebook"], values["pruning"]
        if notebook is not None:
            notebook = Notebook(Path(notebook["source"]), Path(notebook["output"]), notebook["parameters"])
        if pruning is not None:
            pruning = Pruning(pruning["pruner"], tuple(map(Path, pruning["rivals"])))
        return cls(
            **{
                **values,
                "config": TrainConfig.from_dict(values["config"]),
                "notebook": notebook,
                "pruning": pruning,
                "resources": Resources(**values["resources"]),
            }
        )


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    Attributes:
        status: completed (its files exist), stopped (a new start goes on with it), failed, or for a notebook: cell
            error, dead kernel, timed out.
        error: one line; None for completed.
        seconds: run time of its process; 0 for a job that was done before.
        attempts: processes that worked on it; 0 for a job that was done before or never started.
    """

    job: Job
    status: Status
    error: str | None = None
    seconds: float = 0.0
    attempts: int = 1


def new_job(config: TrainConfig, root: Path, **more: Any) -> Job:
    """Make a job whose run has its own folder in `root`.

    Args:
        config: local paths are made absolute; output_dir is replaced.
        more: the job's other fields.

    Raises:
        DeptError: the task is unknown, or the data folder lacks its rows.
    """
    config = with_whole_paths(config)
    key = job_key(config)
    folder = root.resolve() / f"{load_task(config.task).name}-{config.method}-seed{config.seed}-{key[:8]}"
    return Job(key, dataclasses.replace(config, output_dir=str(folder)), **more)


def job_key(config: TrainConfig) -> str:
    """A hash of the settings as they were given, the task's definition, the rows and the backbone.

    A folder's rows and weights count by their content. Hub ids and packages count by their names alone.
    """
    task = load_task(config.task)
    return run_key(
        config.to_dict(),
        {"task": json_digest(task.identity()), "data": _rows(task, config), "backbone": _weights(config.backbone)},
    )


def _rows(task: Task, config: TrainConfig) -> str:
    if config.data == "sample":
        sizes = {split: getattr(config, f"max_{split}_rows") or SAMPLE_SIZES[split] for split in SPLITS}
        return _sample(task.name, tuple(sizes.items()), config.seed)
    path = None if config.data in DATA_NAMES else local_path(config.data)
    if path is None:
        return f"{config.data} {task.hub_id} {task.hub_config} {task.hub_revision}"
    files = {name: _content(file, file.stat().st_mtime_ns) for name, file in files_of(task, path).items()}
    return json_digest(files)


@functools.cache
def _sample(task: str, sizes: tuple[tuple[str, int], ...], seed: int) -> str:
    return json_digest({split: sample_rows(task, split, size, seed=seed) for split, size in sizes})


@functools.cache
def _content(file: Path, changed: int) -> str:
    """sha256 of a file; `changed` is its time of change, which renews the cached value."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _weights(name: str) -> str:
    shape = name.removeprefix(RANDOM)
    if shape in registry() and known_backbone(shape).source != "embedded":
        return name
    folder = Path(name if shape == name else shape)
    if shape in registry():
        folder = locate(shape, [])[0]
    if not folder.is_dir():
        return name
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".model"))
    return json_digest({file.name: _sampled(file, file.stat().st_mtime_ns) for file in files})


@functools.cache
def _sampled(file: Path, changed: int) -> str:
    """sha256 of a file's size and of evenly spaced blocks, which is quick for gigabytes of weights."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as handle:
        for start in range(0, size, max(_BLOCK, size // _BLOCKS)):
            handle.seek(start)
            digest.update(handle.read(_BLOCK))
    return digest.hexdigest()


def is_done(job: Job) -> bool:
    """Whether the job's folder holds the completed run of its settings, with the adapter, and the notebook's output.

    A damaged file counts as missing: the job is then started again and reports the damage.
    """
    run = RunFolder(job.folder)
    if not run.result_file.exists():
        return False
    try:
        result, saved = read_json(run.result_file), read_json(run.config_file)
        known = result["key"] == run_key(result["config"], saved[FINGERPRINTS]) and _agree(
            job.config, result["config"]
        )
        done = known and result["status"] == "completed" and not (job.test and is_untested(result))
    except (RunError, KeyError, TypeError):
        return False
    adapter = all((run.adapter / name).is_file() for name in ("adapter_config.json", "adapter_model.safetensors"))
    return done and adapter and (job.notebook is None or is_executed(job.notebook.output))


def _agree(config: TrainConfig, resolved: Mapping[str, Any]) -> bool:
    """Whether a run's resolved settings agree with a job's; None and "auto" in the job's agree with any value."""
    return all(
        resolved[name] == value
        for name, value in config.identity().items()
        if name != "output_dir" and value not in (None, "auto")
    )


def is_executed(notebook: Path) -> bool:
    """Whether papermill executed a notebook to its end: otherwise its record lacks an end time, or is cut off."""
    try:
        ran = read_json(notebook)["metadata"]["papermill"]
    except (RunError, KeyError, TypeError):
        return False
    return ran.get("end_time") is not None and not ran.get("exception")
