"""Deleting runs: never one that is running, and nothing that a run did not write."""

import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from dept.errors import RunError
from dept.runs.folder import LOG, RunFolder
from lab.runs.read import Run, read_run

_BUSY = ("queued", "running", "stopping")
PRUNABLE = ("stopped", "interrupted", "completed", "failed")
# config.json is deleted last: until then a half-deleted run is still recognised as a run.
_FOLDERS = ("adapter", "tensorboard")
_FILES = ("metrics.jsonl", "result.json", "state.json", LOG, ".lock", "config.json")


@dataclass(frozen=True)
class Pruned:
    """The outcome for one run.

    Attributes:
        kept: which files stay in its folder because they are not the run's; or why nothing was deleted.
    """

    path: Path
    deleted: bool
    kept: str | None = None


def to_prune(runs: Sequence[Run], statuses: Collection[str], older_than_days: float = 0.0) -> list[Run]:
    """The runs with these statuses that last wrote their state at least so many days ago."""
    before = time.time() - older_than_days * 86_400
    return [run for run in runs if run.status in statuses and last_heard(run) <= before]


def last_heard(run: Run) -> float:
    """When the run last wrote its state, in seconds since 1970."""
    heartbeat = run.state.get("heartbeat")
    return float(heartbeat) if heartbeat is not None else RunFolder(run.path).config_file.stat().st_mtime


def prune(run: Run) -> Pruned:
    """Delete a run's files, and its folder if nothing else is in it.

    The status is checked again under the run's lock: a run that was started in the meantime stays.
    """
    folder = RunFolder(run.path)
    try:
        with folder.lock():
            now = read_run(run.path)
            if now.status in _BUSY or now.status != run.status:
                return Pruned(run.path, deleted=False, kept=f"it is {now.status} now")
            _delete(folder)
    except RunError as fault:
        return Pruned(run.path, deleted=False, kept=str(fault))
    except OSError as fault:
        return Pruned(run.path, deleted=False, kept=f"{fault.filename}: {fault.strerror}")
    others = sorted(path.name for path in run.path.iterdir())
    if not others:
        run.path.rmdir()
        return Pruned(run.path, deleted=True)
    return Pruned(run.path, deleted=True, kept=f"stays with what is not the run's: {', '.join(others)}")


def _delete(folder: RunFolder) -> None:
    checkpoints = [path for path in folder.path.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    for part in (*(folder.path / name for name in _FOLDERS), *checkpoints):
        if part.is_symlink():
            part.unlink()  # what it points to is not the run's
        elif part.is_dir():
            shutil.rmtree(part)
    for name in _FILES:
        (folder.path / name).unlink(missing_ok=True)
