"""Where a batch's runs are made, and how many at a time: the flags that all commands with many runs share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dept.basics.checked import Checked, setting
from dept.errors import ConfigError
from dept.training.trackers import TrackerName, check_tracker
from lab.basics.machine import cores

if TYPE_CHECKING:
    from lab.jobs.engine import Engine
    from lab.jobs.job import Resources


@dataclass(frozen=True)
class Where(Checked):
    """Where runs are made.

    Raises:
        ConfigError: a value out of range, GPUs of a local run, or a tracker that is not installed.
    """

    workers: int | None = setting(
        None,
        "Runs at a time [default: GPUs, else cores; with Ray what the cluster has].",
        least=1,
        of="machine",
    )
    cpus_per_job: int | None = setting(
        None, "Threads of a run [default: cores / workers; with Ray 1].", least=1, of="machine"
    )
    gpus_per_job: float | None = setting(
        None, "With Ray: GPUs of a run, parts too [default: 1 where there are any].", of="machine"
    )
    engine: Literal["local", "ray"] = setting(
        "local", "local (processes of this machine) or ray (a cluster).", of="machine"
    )
    address: str | None = setting(None, "Of a running Ray cluster [default: one is started here].", of="machine")
    timeout: float | None = setting(None, "Seconds after which a run is ended [default: none].", of="machine")
    track: TrackerName | None = setting(None, "Mirror the runs to a tracker [default: none].", of="machine")

    def __post_init__(self) -> None:
        from lab.jobs.job import Resources, check_timeout

        super().__post_init__()
        if self.gpus_per_job is not None and self.engine == "local":
            raise ConfigError(
                "--gpus-per-job is of a Ray cluster: add --engine ray (a local run has one GPU to itself)"
            )
        Resources(gpus=self.gpus_per_job)  # or it says what cannot be
        check_timeout(self.timeout)
        if self.track is not None:
            check_tracker(self.track)

    @property
    def at_once(self) -> int | None:
        """Runs at a time; None leaves it to the cluster."""
        from lab.jobs.local import visible_gpus

        if self.workers is not None or self.engine == "ray":
            return self.workers
        return len(visible_gpus()) or cores()

    @property
    def resources(self) -> Resources:
        """Of each run: a fair share of this machine's cores, one core of a cluster, or what was asked for."""
        from lab.jobs.job import Resources

        at_once = self.at_once
        share = max(1, cores() // at_once) if self.engine == "local" and at_once else 1
        return Resources(self.cpus_per_job or share, self.gpus_per_job)

    def connect(self) -> Engine:
        """The engine.

        Raises:
            ConfigError: Ray is not installed, or the address is malformed or given without Ray.
            RunError: no Ray cluster answers at the address.
        """
        from lab.jobs.choose_engine import engine_named

        return engine_named(self.engine, self.address)
