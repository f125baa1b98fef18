"""A mirror of a run in Trackio, TensorBoard or Weights & Biases, through Accelerate's trackers.

The run folder is authoritative: nothing is read back from a tracker. A tracker may have steps twice that a killed run
repeated when it was resumed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import yaml

from dept.errors import ConfigError, RunError
from dept.runs.key import run_key

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

    from dept.training.loop import Reporter
    from dept.training.prepare import Prepared

TrackerName = Literal["trackio", "tensorboard", "wandb"]
PROJECT = "dept-lab"  # the runs' project in Trackio and W&B


def check_tracker(name: str) -> None:
    """Check, before a run starts, that a tracker can be used.

    Raises:
        ConfigError: the tracker is unknown, or its library is not installed.
    """
    if name not in get_args(TrackerName):
        raise ConfigError(f"--track: {name!r} is none of {', '.join(get_args(TrackerName))}")
    if importlib.util.find_spec(name) is None:
        raise ConfigError(f"--track {name} needs the library {name}: pip install {name}, or 'dept-lab[track]'")


@contextlib.contextmanager
def mirrored(name: str | None, reporter: Reporter) -> Iterator[Reporter]:
    """A reporter that passes everything to `reporter` and to the tracker; without a tracker `reporter` itself.

    Raises:
        ConfigError: as `check_tracker`.
    """
    if name is None:
        yield reporter
        return
    mirror = Mirror(name, reporter)
    try:
        yield mirror
    finally:
        mirror.finish()


class Mirror:
    """A reporter that passes every line to another reporter and then to a tracker.

    TensorBoard's files are in the run folder, `tensorboard/`; Trackio and W&B show a run under the folder's name and
    the run's key, in the project `dept-lab`.

    Raises:
        ConfigError: as `check_tracker`.
    """

    def __init__(self, name: str, reporter: Reporter) -> None:
        check_tracker(name)
        self._name, self._reporter = name, reporter
        self._tracker: GeneralTracker | None = None

    def started(self, prepared: Prepared, first_step: int) -> None:
        self._reporter.started(prepared, first_step)
        with contextlib.redirect_stdout(sys.stderr):  # stdout is for the run's result
            self._tracker = _start(self._name, prepared, first_step)

    def stepped(self, line: dict[str, Any]) -> None:
        self._reporter.stepped(line)
        values = {
            name: value for name, value in line.items() if name in ("loss", "label_loss") or name.endswith("_lr")
        }
        self._log({f"train/{name}": value for name, value in values.items() if value is not None}, line["step"])

    def evaluating(self, split: str, done: int, rows: int) -> None:
        self._reporter.evaluating(split, done, rows)

    def evaluated(self, line: dict[str, Any]) -> str | None:
        reason = self._reporter.evaluated(line)
        self._log({f"{line['split']}/{name}": value for name, value in line["metrics"].items()}, line["step"])
        return reason

    def finish(self) -> None:
        """Let the tracker write what it has not written yet."""
        if self._tracker is not None:
            with contextlib.redirect_stdout(sys.stderr):
                _finish(self._name, self._tracker)
            self._tracker = None

    def _log(self, values: dict[str, float], step: int) -> None:
        if self._tracker is not None:
            self._tracker.log(values, step=step)


def _start(name: str, prepared: Prepared, first_step: int) -> GeneralTracker:
    folder, settings = Path(prepared.config.output_dir), prepared.config.to_dict()
    key = run_key(prepared.config.identity(), prepared.fingerprints)
    run = f"{folder.name}-{key[:6]}"
    if name == "tensorboard":
        from accelerate.tracking import TensorBoardTracker

        # Steps that a killed run wrote after its checkpoint are dropped from the curves.
        board = TensorBoardTracker("tensorboard", folder, purge_step=first_step + 1)
        board.start()
        board.log({"settings": f"```\n{yaml.safe_dump(settings)}```"}, step=first_step)
        return board
    if name == "trackio":
        from accelerate.tracking import TrackioTracker

        trackio = TrackioTracker(
            PROJECT, name=run, config=settings, resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False
        )
        trackio.start()
        return trackio
    from accelerate.tracking import WandBTracker
    from wandb.errors import Error

    wandb = WandBTracker(PROJECT, name=run, id=key, config=settings, resume="allow", dir=str(folder))
    try:
        wandb.start()
    except Error as fault:
        reason = str(fault).splitlines()[0]
        raise RunError(f"--track wandb: {reason} (WANDB_MODE=offline keeps the mirror on this machine)") from fault
    return wandb


def _finish(name: str, tracker: GeneralTracker) -> None:
    if name == "trackio":  # its own `finish` also forgets the run, which would else be ended, with output, at exit
        import trackio

        trackio.finish()
    else:
        tracker.finish()
