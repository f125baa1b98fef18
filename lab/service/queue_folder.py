"""The folder of a queue: a folder for each run, and the locks. The page's process and the workers use it.

    ROOT/<run id>/          a run folder (docs/run_folder.md), with more files for a run of the queue:
        settings.json         the file for `dept train --config`
        submission.json       the owner, the settings as requested, the time, and the time limit
        own/                  the visitor's own rows and task
        log.txt               the run's output
        worker.json           the process that started the run and waits for its end
        stop, kill            present if somebody asked for it
    ROOT/.queue/            the queue's lock, a lock for each worker, the workers' log, the operator's key

state.json is the truth about a run's status. The run writes it while it trains, under its own lock; before and after,
a writer must hold the queue's lock.
"""

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from filelock import FileLock, Timeout

from dept.basics.files import read_json, write_json
from dept.errors import RunError
from dept.runs.folder import RunFolder
from lab.basics.failures import ENDED, reason_without_exit
from lab.basics.processes import is_alive, kill, terminate

Status = Literal["queued", "running", "stopping", "stopped", "completed", "failed"]
Ask = Literal["stop", "kill"]
ACTIVE = ("running", "stopping")
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,119}")
_STATUSES = ("queued", *ACTIVE, "stopped", "completed", "failed")
_LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Entry:
    """One run, as recorded in its folder.

    Attributes:
        state: the content of state.json.
        alive: whether one of its processes still runs.
        asked: the stop or kill that somebody asked for and that has not happened yet.
    """

    path: Path
    state: Mapping[str, Any]
    alive: bool
    asked: Ask | None

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def status(self) -> Status:
        """The run's status. A run whose processes ended without recording it has failed, unless asked to end."""
        status: Status = self.state["status"]
        if status not in ACTIVE:
            return status
        if not self.alive:
            return "stopped" if self.asked == "kill" else "failed"
        return "stopping" if self.asked else status

    @property
    def error(self) -> str | None:
        """The reason of a failure or stop, and what to do."""
        if self.state["status"] in ACTIVE and not self.alive:
            return ENDED if self.asked == "kill" else reason_without_exit(self.path)
        error = self.state.get("error")
        return error if isinstance(error, str) else None

    @property
    def owner(self) -> str | None:
        owner = self.state.get("owner")
        return owner if isinstance(owner, str) else None

    @property
    def queued_at(self) -> float:
        queued_at = self.state.get("queued_at")
        return queued_at if isinstance(queued_at, float) else 0.0


class JsonCache:
    """JSON files, each parsed again only when it has changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int, int], Any]] = {}
        self._lock = threading.Lock()

    def read(self, path: Path) -> Any:
        """The file's content; None if there is no such file.

        Raises:
            RunError: the file is damaged.
        """
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        with self._lock:
            known = self._known.get(path)
        if known is not None and known[0] == version:
            return known[1]
        value = read_json(path)
        with self._lock:
            self._known[path] = (version, value)
        return value

    def forget_but(self, folders: set[Path]) -> None:
        """Forget the files of folders that no longer exist."""
        with self._lock:
            self._known = {path: value for path, value in self._known.items() if path.parent in folders}


class QueueFolder:
    """Reads and locks a queue's folder.

    Args:
        root: made if it is missing.

    Raises:
        RunError: the folder cannot be made or written to.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        self.own = self.root / ".queue"
        self.json = JsonCache()
        try:
            self.own.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise RunError(f"{root} cannot be used as a folder of runs: {fault.strerror or fault}") from None
        if not os.access(self.own, os.W_OK):
            raise RunError(f"{root} cannot be used as a folder of runs: it cannot be written to")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the queue's lock: nobody else can start, add or remove a run. Hold it for moments only.

        Raises:
            RunError: another process has held the lock for too long.
        """
        lock = FileLock(self.own / "lock")
        try:
            lock.acquire(timeout=_LOCK_SECONDS)
        except Timeout:
            raise RunError("the queue is busy: try again in a moment") from None
        except OSError as fault:
            raise RunError(f"the queue cannot be locked: {fault.strerror or fault}") from None
        try:
            yield
        finally:
            lock.release()

    def slot(self, index: int) -> FileLock:
        """The lock that worker number `index` holds while it lives."""
        return FileLock(self.own / f"worker-{index}")

    def entry(self, run_id: str) -> Entry | None:
        """One run; None if no run has that id, which may be any text."""
        if not RUN_ID.fullmatch(run_id):
            return None
        path = self.root / run_id
        if path.is_symlink():
            return None
        try:
            state = self.json.read(path / "state.json")
            worker = self.json.read(path / "worker.json")
        except RunError:  # edited by hand and damaged: not a usable run
            return None
        if not isinstance(state, dict) or state.get("status") not in _STATUSES:
            return None
        if state["status"] not in ACTIVE:
            return Entry(path, state, False, None)
        alive = is_alive(state) or (isinstance(worker, dict) and is_alive(worker))
        asked: Ask | None = next((ask for ask in ("kill", "stop") if (path / ask).exists()), None)
        return Entry(path, state, alive, asked)

    def entries(self) -> list[Entry]:
        """All runs, in no order."""
        with os.scandir(self.root) as items:
            names = [item.name for item in items if item.is_dir(follow_symlinks=False)]
        self.json.forget_but({self.root / name for name in names})
        return [entry for name in names if (entry := self.entry(name)) is not None]

    @staticmethod
    def waiting(entries: list[Entry]) -> list[Entry]:
        """The queued runs, the next one first."""
        return sorted(
            (entry for entry in entries if entry.status == "queued"), key=lambda entry: (entry.queued_at, entry.run_id)
        )

    @staticmethod
    def write_state(entry: Entry, status: Status, process: Mapping[str, Any] | None = None, **details: Any) -> None:
        """Write state.json for a run that does not write it itself; step and owner are kept.

        Args:
            process: `lab.basics.processes.record` of the run's process from now on; None if it has none.
        """
        unchanged = {name: entry.state[name] for name in ("owner", "step", "max_steps") if name in entry.state}
        nobody = {"pid": None, "pid_started": None, "host": None, "heartbeat": time.time()}
        write_json(entry.path / "state.json", {"status": status, **nobody, **unchanged, **(process or {}), **details})

    def settle(self, entry: Entry) -> None:
        """Record the status of a run whose processes ended without recording it; call this under the lock."""
        with contextlib.suppress(RunError), RunFolder(entry.path).lock():  # RunError: a process does train there
            self.write_state(entry, entry.status, error=entry.error)
            clear_asks(entry.path)

    def ask(self, entry: Entry, ask: Ask) -> None:
        """Ask a training run to stop or to end at once: its worker does that; if it has none, this process does.

        Raises:
            RunError: the run's process belongs to another user.
        """
        (entry.path / ask).touch()
        worker = self.json.read(entry.path / "worker.json")
        if isinstance(worker, dict) and is_alive(worker):
            return
        try:
            if ask == "kill":
                kill(entry.state)
            else:
                terminate(entry.state)
        except (psutil.AccessDenied, PermissionError):
            raise RunError(f"{entry.run_id} is trained by another user's process, which cannot be ended") from None


def clear_asks(path: Path) -> None:
    for ask in ("stop", "kill"):
        (path / ask).unlink(missing_ok=True)
