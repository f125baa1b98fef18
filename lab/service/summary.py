"""The summary of one run, for a line in a list of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept.runs.folder import FINGERPRINTS, RunFolder
from lab.basics.failures import explain
from lab.runs.curves import CurveReader
from lab.service.owners import Visitor
from lab.service.queue_folder import ACTIVE, Entry, QueueFolder, Status


@dataclass(frozen=True)
class RunSummary:
    """The summary of one run.

    Attributes:
        run_id: the id, also for `?run=` in an address.
        request: the settings as they were requested, with which a form can be filled again.
        position: the place in the queue, from 1; None for a run that does not wait.
        step, max_steps: optimiser steps done and in all; None while unknown.
        elapsed_s, left_s: seconds of training so far, and expected until the last step.
        submitted: the time of submission, in seconds since the epoch; None for a run from outside the queue.
        error: the reason of a failure or stop, and what to do.
        may_change: whether this visitor may stop, kill, resume, delete it.
        can_resume: whether the run can be resumed.
        has_adapter: whether there is a best adapter already, to try and to download.
        steps_at_risk: the steps since the last checkpoint, which killing would lose.
        result: the content of result.json, if there is one.
    """

    run_id: str
    status: Status
    request: Mapping[str, Any]
    position: int | None
    step: int | None
    max_steps: int | None
    elapsed_s: float | None
    left_s: float | None
    submitted: float | None
    error: str | None
    may_change: bool
    can_resume: bool
    has_adapter: bool
    steps_at_risk: int
    result: Mapping[str, Any] | None

    @property
    def task(self) -> str:
        return str(self.request.get("task", ""))

    @property
    def method(self) -> str:
        return str(self.request.get("method", ""))

    @property
    def backbone(self) -> str:
        return str(self.request.get("backbone", ""))

    @property
    def vision_backbone(self) -> str:
        """The image encoder, "" if none was named."""
        return str(self.request.get("vision_backbone") or "")

    @property
    def data(self) -> str:
        return str(self.request.get("data", ""))


def summary(
    entry: Entry, waiting: Sequence[Entry], visitor: Visitor, folder: QueueFolder, curves: CurveReader
) -> RunSummary:
    """Summarise a run; unchanged files are not read again.

    Args:
        waiting: the queued runs, the next one first.
    """
    run, state, status = RunFolder(entry.path), entry.state, entry.status
    submission = _read(folder, entry.path / "submission.json")
    result = _read(folder, run.result_file) or None
    step, max_steps = _whole(state.get("step")), _whole(state.get("max_steps"))
    elapsed = left = None
    if status in ACTIVE:
        now = curves.read(run.metrics_file)
        if now is not None and now.step:
            step, elapsed = max(step or 0, now.step), now.elapsed_s
            left = elapsed / now.step * (max_steps - now.step) if max_steps else None
    elif result is not None:
        elapsed = result.get("time", {}).get("total_s")
    error = entry.error
    return RunSummary(
        run_id=entry.run_id,
        status=status,
        request=submission.get("request") or _settings(folder, run),
        position=next((place for place, other in enumerate(waiting, 1) if other.path == entry.path), None),
        step=step,
        max_steps=max_steps,
        elapsed_s=elapsed,
        left_s=left,
        submitted=submission.get("submitted"),
        error=explain(error) if error else None,
        may_change=visitor.may_change(entry.owner),
        can_resume=can_resume(entry),
        has_adapter=run.adapter.is_dir(),
        steps_at_risk=max(0, (step or 0) - _saved(run)) if status in ACTIVE else 0,
        result=result,
    )


def _saved(run: RunFolder) -> int:
    """The step of the last checkpoint, 0 if there is none."""
    checkpoints = run.checkpoints()
    return int(checkpoints[-1].name.rpartition("-")[2]) if checkpoints else 0


def can_resume(entry: Entry) -> bool:
    """Whether a run was stopped or failed, and its settings are still there."""
    begun = any((entry.path / name).exists() for name in ("settings.json", "config.json"))
    return entry.status in ("stopped", "failed") and begun


def _settings(folder: QueueFolder, run: RunFolder) -> dict[str, Any]:
    """The settings of a run from outside the queue."""
    return {name: value for name, value in _read(folder, run.config_file).items() if name != FINGERPRINTS}


def _read(folder: QueueFolder, path: Path) -> dict[str, Any]:
    value = folder.json.read(path)
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
