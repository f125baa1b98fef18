"""`dept-lab reproduce`: the paper's tasks, one notebook and one run each, as a batch that goes on where it stopped."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dept.backbones.known import DEFAULT_TOWER, default_backbone, default_tower
from dept.data import easy_vqa
from dept.data.names import DATA_NAMES
from dept.data.sources import files_of, local_path
from dept.errors import ConfigError, DataError
from dept.methods.registry import BASELINE, DEFAULT_METHOD, method_config, owners
from dept.runs.settings import TrainConfig, settings_of_method
from dept.tasks import load_task
from dept.tasks.registry import TASK_NAMES
from dept.training.trackers import check_tracker
from lab.jobs.job import Job, Notebook, Resources, new_job
from lab.paper import numbers as paper
from lab.reproduce.preset import preset

NOTEBOOK = "task.ipynb"
# The image encoder of the small presets where none comes with the backbone: a shape alone, so that they need no
# download. The paper preset takes the default one (dept.backbones.towers); the paper's own, a CLIP ResNet-101, is
# not to be had.
SMALL_TOWER = "random:clip-vit-base-patch32"
VISION_SETTINGS = ("vision_backbone", "projection_lr")


@dataclass(frozen=True)
class Request:
    """What is to be reproduced.

    Attributes:
        preset: smoke, sample or paper (`lab/reproduce/presets`).
        tasks: names, or paths of one's own; empty for all of the paper's.
        backbone, data: over the preset's.
        methods: of the registry, several joined by + too.
        settings: any others of `dept train`, over the preset's; each run has those that are its method's.
        track: a tracker that every run is mirrored to.

    Raises:
        ConfigError: an unknown preset or method, an empty list, a tracker that is not installed, a setting of none of
            the methods.
    """

    preset: str = "smoke"
    tasks: Sequence[str] = ()
    methods: Sequence[str] = (DEFAULT_METHOD, BASELINE)
    seeds: Sequence[int] = (42,)
    backbone: str | None = None
    data: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    track: str | None = None

    def __post_init__(self) -> None:
        preset(self.preset)
        for method in self.methods:
            try:
                method_config(method)
            except ConfigError as fault:
                raise ConfigError(f"--methods: {fault}") from None
        for name, given in (("--methods", self.methods), ("--seeds", self.seeds)):
            if not given:
                raise ConfigError(f"{name} is empty")
        if self.track is not None:
            check_tracker(self.track)
        for name in ("task", "method", "seed", "output_dir"):
            if name in self.settings:
                raise ConfigError(
                    f"{name} is no setting of a whole batch: use --tasks, --methods, --seeds, --output-dir"
                )
        kept = {name for method in self.methods for name in settings_of_method(method, dict(self.settings))}
        for name in self.settings:
            if name not in kept:
                raise ConfigError(f"{name} belongs to {' and '.join(owners(name))}: add it to --methods")


@dataclass(frozen=True)
class Reproduction:
    """The jobs of a request, PT's first, and the tasks that it cannot run: name and reason."""

    jobs: tuple[Job, ...]
    left_out: tuple[tuple[str, str], ...]


def plan(
    request: Request, folder: Path, *, cpus: int = 1, gpus: float | None = None, timeout_s: float | None = None
) -> Reproduction:
    """What is to be done; nothing is written or loaded.

    PT's runs come first, so that the other methods' notebooks find them to compare with.

    Args:
        folder: runs go to `runs/` in it, executed notebooks to `notebooks/`.
        cpus, gpus: of each job (`lab.jobs.job.Resources`).
        timeout_s: of each job.

    Raises:
        DeptError: settings or tasks that cannot be; no such data; a task that was named and has no rows.
    """
    runnable, left_out = _tasks(request)
    from lab.jobs.notebook import checked, declared  # imports papermill

    notebook = notebook_file(NOTEBOOK)
    names = declared(notebook)
    jobs = []
    for method in sorted(request.methods, key=lambda method: method != BASELINE):
        for task in runnable:
            for seed in request.seeds:
                job = new_job(config_of(request, task, method, seed), folder / "runs")
                executed = Notebook(
                    notebook,
                    folder.resolve() / "notebooks" / f"{job.name}.ipynb",
                    checked(notebook, {**parameters(job.config, names), "track": request.track}),
                )
                jobs.append(Job(job.key, job.config, executed, resources=Resources(cpus, gpus), timeout_s=timeout_s))
    return Reproduction(tuple(jobs), tuple(left_out))


def _tasks(request: Request) -> tuple[list[str], list[tuple[str, str]]]:
    """The tasks to run, and those of the paper that cannot be: without rows in the folder."""
    every = [task for tasks in paper.benchmarks().values() for task in tasks]
    runnable, left_out = [], []
    for name in request.tasks or every:
        reason = _without_rows(name, request)
        if not reason:
            runnable.append(name)
        elif request.tasks:
            raise ConfigError(f"--tasks: {name} is {reason}")
        else:
            left_out.append((name, reason))
    if not runnable:
        raise ConfigError(f"{request.data}: no task has rows there")
    return list(dict.fromkeys(runnable)), left_out


def _without_rows(name: str, request: Request) -> str:
    task, data = load_task(name), request.data or preset(request.preset).settings["data"]
    if data == easy_vqa.NAME:
        if task.name != easy_vqa.TASK:
            return f"without rows: {data} is for {easy_vqa.TASK}"
        easy_vqa.folder()  # or it says how to install it
        return ""
    path = None if data in DATA_NAMES else local_path(data)
    if path is None:
        if data not in DATA_NAMES and name in TASK_NAMES:  # a task of one's own may have a hub id there
            raise DataError(f"--data {data}: no such file or folder; {', '.join(DATA_NAMES)} or a data folder")
        return ""
    try:
        files_of(task, path)
    except DataError:
        return f"without rows: no {task.name}/train.jsonl (or .parquet) in {data}"
    return ""


def config_of(request: Request, task: str, method: str, seed: int) -> TrainConfig:
    """The settings of one run.

    Raises:
        ConfigError: an unknown or impossible setting.
    """
    values: dict[str, Any] = {"backbone": default_backbone(), **preset(request.preset).of(method, task)}
    given = {"backbone": request.backbone, "data": request.data}
    values |= {name: value for name, value in given.items() if value is not None}
    settings = settings_of_method(method, dict(request.settings))
    if load_task(task).image_column is None:  # settings of a whole batch, which has text tasks too
        settings = {name: value for name, value in settings.items() if name not in VISION_SETTINGS}
    elif request.preset != "paper" and default_tower(values["backbone"]) == DEFAULT_TOWER:
        values["vision_backbone"] = SMALL_TOWER
    return TrainConfig.from_dict({**values, **settings, "task": task, "method": method, "seed": seed})


def parameters(config: TrainConfig, names: Sequence[str]) -> dict[str, Any]:
    """A run's settings as a notebook's parameters: those it names, and the others that are set in its `settings`."""
    values, default = config.to_dict(), TrainConfig().to_dict()
    named = {name: value for name, value in values.items() if name in names}
    others = {name: value for name, value in values.items() if name not in named and value != default[name]}
    return {**named, "settings": others}


def notebook_file(name: str) -> Path:
    """A notebook of the project: in the checkout, or where an installed package has it.

    Raises:
        ConfigError: neither has it.
    """
    places = (Path(__file__).resolve().parents[2] / "notebooks", Path(sys.prefix) / "share/dept-lab/notebooks")
    for place in places:
        if (place / name).is_file():
            return place / name
    raise ConfigError(f"{name} is in none of {', '.join(map(str, places))}: install dept-lab again")
