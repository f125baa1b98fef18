"""The queue of runs as the page's visitors see and change it: runs that wait, train or have ended.

    queue = RunQueue("runs", Limits(), Allowed())
    with queue.watched():                                  # beside a server
        ids = queue.submit([{"task": "sst2", ...}], visitor)
        queue.runs(visitor); queue.curves(ids[0], visitor)

Nothing trains in this process. A run is a process in its own session (`lab.service.worker`), and its whole state is in
its folder: this process may be killed at any time, and another may use the same folder. First in, first out.

A browser sends a mapping of settings, which `lab.service.allowed` checks, or a run's id. Errors that a visitor can
mend are `DeptError`s. Their text can be shown, but as text, never as HTML: it may quote what the visitor wrote.
"""

import contextlib
import dataclasses
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from dept.basics.files import write_json
from dept.errors import RunError
from dept.runs.folder import RunFolder
from dept.runs.settings import TrainConfig
from lab.basics.failures import log_tail
from lab.runs.curves import CurveReader, Curves
from lab.service.allowed import Allowed
from lab.service.dispatch import TICK_SECONDS, Dispatcher
from lab.service.limits import Limits
from lab.service.owners import Visitor
from lab.service.queue_folder import ACTIVE, Entry, QueueFolder, clear_asks
from lab.service.summary import RunSummary, can_resume, summary
from lab.service.uploads import ROWS_FILE, TASK_FILE, Uploads

_MOST_LISTED = 200


class RunQueue:
    """The queue in a folder of runs; several may share a folder, in one process or in many.

    Args:
        root: the folder; its direct subfolders are run folders, also those of `dept train --output-dir ROOT/NAME`.
        limits: the operator's limits.
        allowed: the values that a browser may send.

    Raises:
        RunError: the folder cannot be used.
    """

    def __init__(self, root: str | Path, limits: Limits | None = None, allowed: Allowed | None = None) -> None:
        self.limits = limits or Limits()
        self.allowed = allowed or Allowed()
        self.folder = QueueFolder(root)
        self.uploads = Uploads(self.folder.root / ".uploads", self.limits)
        self._dispatcher = Dispatcher(self.folder, self.limits.running)
        self._curves = CurveReader()
        self._seen: tuple[float, list[Entry]] = (0.0, [])
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within the block a thread looks after the queue: it starts runs and records runs that have died."""
        with self._dispatcher.watched():
            yield

    # Requests of a visitor

    def check(self, request: Mapping[str, Any], visitor: Visitor) -> TrainConfig:
        """Check a browser's settings and return the run's config; nothing is started.

        Raises:
            DeptError: a setting is unknown or not allowed, out of range, above a limit, or conflicts with another; the
                message names the field.
        """
        return self._checked(request, visitor)[0]

    def submit(self, requests: Sequence[Mapping[str, Any]], visitor: Visitor) -> list[str]:
        """Put runs into the queue, all of them or none; return their ids in the same order.

        Args:
            requests: the settings of each run by `TrainConfig`'s names, as far as `lab.service.allowed` permits them;
                `data` is sample, hub, folder:<name>, upload:<id> (with task "own") or run:<id>, the rows of an earlier
                run.

        Raises:
            DeptError: as in `check`, or the queue is full, or the visitor has too many runs in it.
        """
        checked = [(dict(request), *self._checked(request, visitor)) for request in requests]
        with self.folder.lock():
            self._check_room(len(checked), visitor, new=len(checked))
            ids = [self._add(request, config, own, visitor) for request, config, own in checked]
        self._dispatcher.tick()
        self._forget()
        return ids

    def repeat(self, run_id: str, changes: Mapping[str, Any], visitor: Visitor) -> str:
        """Queue a new run with another run's settings and some changes; return its id.

        Raises:
            DeptError: as in `submit`, or there is no such run.
        """
        request = dict(self.run(run_id, visitor).request)
        if str(request.get("data", "")).startswith("upload:"):
            request["data"] = f"run:{run_id}"  # the upload may have been deleted; the run has a copy of its rows
        return self.submit([{**request, **changes}], visitor)[0]

    def stop(self, run_id: str, visitor: Visitor) -> None:
        """Let a run finish its step, save, and stop; a waiting one leaves the queue. It can be resumed.

        Raises:
            RunError: no such run, not this visitor's, or neither waiting nor training.
        """
        with self.folder.lock():
            entry = self._own_entry(run_id, visitor)
            if entry.status == "queued":
                self.folder.write_state(entry, "stopped", error="taken out of the queue before its turn")
            elif entry.status in ACTIVE:
                self.folder.ask(entry, "stop")
            else:
                raise RunError(f"{run_id} is {entry.status}: there is nothing to stop")
        self._forget()

    def kill(self, run_id: str, visitor: Visitor) -> None:
        """End a run's process at once; the steps since its last checkpoint are lost. It can be resumed.

        Raises:
            RunError: no such run, not this visitor's, or not training.
        """
        with self.folder.lock():
            entry = self._own_entry(run_id, visitor)
            if entry.status not in ACTIVE:
                raise RunError(f"{run_id} is {entry.status}: there is no process to end")
            self.folder.ask(entry, "kill")
        self._forget()

    def resume(self, run_id: str, visitor: Visitor) -> None:
        """Put a stopped or failed run back into the queue, at its end; it goes on from its last checkpoint.

        Raises:
            RunError: no such run, not this visitor's, neither stopped nor failed, or no room in the queue.
        """
        with self.folder.lock():
            entry = self._own_entry(run_id, visitor)
            if not can_resume(entry):
                raise RunError(f"{run_id} is {entry.status}: only a stopped or failed run can be resumed")
            self._check_room(1, visitor, new=0)
            clear_asks(entry.path)
            self.folder.write_state(entry, "queued", queued_at=time.time())
        self._dispatcher.tick()
        self._forget()

    def delete(self, run_id: str, visitor: Visitor) -> None:
        """Delete a run's folder, adapter and all.

        Raises:
            RunError: no such run, not this visitor's, or it still trains.
        """
        with self.folder.lock():
            entry = self._own_entry(run_id, visitor)
            if entry.status in ACTIVE:
                raise RunError(f"{run_id} is {entry.status}: stop or kill it first")
            with RunFolder(entry.path).lock():  # RunError if a process trains there without saying so in state.json
                grave = Path(tempfile.mkdtemp(dir=self.folder.own, prefix="deleted-"))
                entry.path.rename(grave / entry.run_id)
        self._forget()
        shutil.rmtree(grave)

    # Views of a visitor: cheap, and they never wait for the queue's lock

    def runs(self, visitor: Visitor) -> list[RunSummary]:
        """The visitor's runs (for the operator, all): first those that train, then those that wait, then the newest.

        At most the first 200.
        """
        entries = self._entries()
        waiting = self.folder.waiting(entries)
        mine = [entry for entry in entries if visitor.may_change(entry.owner)]
        runs = [self._summary(entry, waiting, visitor) for entry in mine]
        rank = {"running": 0, "stopping": 0, "queued": 1}
        runs.sort(key=lambda run: (rank.get(run.status, 2), run.position or 0, -(run.submitted or 0.0), run.run_id))
        return runs[:_MOST_LISTED]

    def run(self, run_id: str, visitor: Visitor) -> RunSummary:
        """One run; anybody who knows its id may see it.

        Raises:
            RunError: no such run.
        """
        return self._summary(self._entry(run_id, visitor), self.folder.waiting(self._entries()), visitor)

    def curves(self, run_id: str, visitor: Visitor, since: str | None = None) -> Curves | None:
        """A run's curves; None if there is nothing new since the given `Curves.version`.

        Raises:
            RunError: no such run.
        """
        return self._curves.read(RunFolder(self._entry(run_id, visitor).path).metrics_file, since)

    def log(self, run_id: str, visitor: Visitor, lines: int = 40) -> list[str]:
        """The last lines that a run has printed.

        Raises:
            RunError: no such run.
        """
        return [self.allowed.without_places(line) for line in log_tail(self._entry(run_id, visitor).path)[-lines:]]

    def predictions(self, run_id: str, visitor: Visitor) -> list[dict[str, Any]]:
        """The best adapter's predictions for the first test rows (docs/run_folder.md); empty before the test.

        Raises:
            RunError: no such run.
        """
        predictions = self.folder.json.read(RunFolder(self._entry(run_id, visitor).path).predictions_file)
        return predictions if isinstance(predictions, list) else []

    def adapter_files(self, run_id: str, visitor: Visitor) -> dict[str, bytes]:
        """The files of a run's adapter, for download or upload: they name no path of this machine.

        Raises:
            RunError: there is no such run, or it has no adapter (any more).
        """
        path = self._entry(run_id, visitor).path
        try:
            files = {file.name: file.read_bytes() for file in sorted(RunFolder(path).adapter.iterdir())}
        except OSError:
            raise RunError("this run has no adapter (any more)") from None
        return {
            name: self.without_places(data.decode()).encode() if name.endswith((".json", ".md")) else data
            for name, data in files.items()
        }

    def path(self, run_id: str, visitor: Visitor) -> Path:
        """A run's folder, to load its adapter or read its result; never show it to a visitor.

        Raises:
            RunError: no such run.
        """
        return self._entry(run_id, visitor).path

    def load(self) -> tuple[int, int]:
        """The number of runs that train and the number that wait, of all visitors together."""
        statuses = [entry.status for entry in self._entries()]
        return sum(status in ACTIVE for status in statuses), statuses.count("queued")

    def _summary(self, entry: Entry, waiting: Sequence[Entry], visitor: Visitor) -> RunSummary:
        run_summary = summary(entry, waiting, visitor, self.folder, self._curves)
        if not run_summary.error:
            return run_summary
        return dataclasses.replace(run_summary, error=self.without_places(run_summary.error))

    def without_places(self, message: str) -> str:
        """A message to a visitor, with no folder of this machine in it."""
        return self.allowed.without_places(message.replace(str(self.folder.root), "RUNS"))

    def _entries(self) -> list[Entry]:
        """All runs, read a moment ago at most: many visitors share one reading."""
        with self._lock:
            when, entries = self._seen
            if time.monotonic() - when > TICK_SECONDS / 2:
                entries = self.folder.entries()
                self._seen = (time.monotonic(), entries)
            return entries

    def _forget(self) -> None:
        with self._lock:
            self._seen = (0.0, [])

    def _entry(self, run_id: str, visitor: Visitor) -> Entry:
        entry = self.folder.entry(run_id) if isinstance(run_id, str) else None
        # The name of a run that somebody started by hand can be guessed.
        if entry is None or (entry.owner is None and not visitor.is_operator):
            raise RunError("there is no such run: it may have been deleted")
        return entry

    def _own_entry(self, run_id: str, visitor: Visitor) -> Entry:
        entry = self._entry(run_id, visitor)
        if not visitor.may_change(entry.owner):
            raise RunError("this run was started by somebody else: you can look at it, not change it")
        return entry

    def _checked(self, request: Mapping[str, Any], visitor: Visitor) -> tuple[TrainConfig, Path | None]:
        """The checked settings, and the folder of the visitor's own rows and task, of which the run needs a copy."""

        def own_data(name: str) -> Path:
            kind, _, key = name.partition(":")
            if kind == "upload":
                return self.uploads.chosen(key, visitor)
            own = self._entry(key, visitor).path / "own"
            if not own.is_dir():
                raise RunError(f"data: {name[:60]} did not train on own data")
            return own

        return self.allowed.check(request, self.limits, own_data)

    def _check_room(self, count: int, visitor: Visitor, *, new: int) -> None:
        """Raise RunError if `count` more runs may not wait, or `new` more folders may not be kept."""
        if visitor.owner is None and not visitor.is_operator:
            raise RunError("this browser has no token to own a run with: allow the page to store data, and reload it")
        entries, limits = self.folder.entries(), self.limits
        busy = [entry for entry in entries if entry.status in ("queued", *ACTIVE)]
        waiting = sum(entry.status == "queued" for entry in busy)
        if waiting + count > limits.waiting:
            raise RunError(f"the queue is full ({waiting} of at most {limits.waiting} runs wait): try again later")
        mine = sum(visitor.owns(entry.owner) for entry in busy)
        if mine + count > limits.per_visitor and not visitor.is_operator:
            raise RunError(f"you have {mine} runs in the queue, of at most {limits.per_visitor}: wait for one to end")
        if len(entries) + new > limits.kept:
            raise RunError(f"{len(entries)} runs are kept, of at most {limits.kept}: delete some first")

    def _add(self, request: Mapping[str, Any], config: TrainConfig, own: Path | None, visitor: Visitor) -> str:
        """Make a run's folder; it appears whole or not at all."""
        now = time.time()
        task, method = _plain_words(str(request["task"])), _plain_words(config.method_class.title)
        # The random part makes the id a secret: anybody who has it may look at the run.
        run_id = f"{task}-{method}-{datetime.fromtimestamp(now):%m%d-%H%M%S}-{secrets.token_hex(6)}"
        path = self.folder.root / run_id
        settings = {**config.to_dict(), "output_dir": str(path)}
        with tempfile.TemporaryDirectory(dir=self.folder.own, prefix="new-") as temporary:
            made = Path(temporary) / run_id
            made.mkdir()
            if own is not None:
                shutil.copytree(own, made / "own")
                settings |= {"task": str(path / "own" / TASK_FILE), "data": str(path / "own" / ROWS_FILE)}
            write_json(made / "settings.json", settings)
            submission = {"submitted": now, "request": dict(request), "max_seconds": 60.0 * self.limits.minutes}
            write_json(made / "submission.json", submission)
            state = {"owner": visitor.owner, "step": 0, "max_steps": config.max_steps}
            self.folder.write_state(Entry(made, state, False, None), "queued", queued_at=now)
            made.rename(path)
        return run_id


def _plain_words(name: str) -> str:
    """A name as part of a folder's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
