"""A worker: it takes the next run of a queue, trains it in a process of its own, records its end, and takes the next.

    python -m lab.service.worker ROOT --slot 0 --running 1

`lab.service.dispatch` starts a worker in its own session, so that it outlives the page's server; a worker ends when no
run waits. The run is `dept train` in another session: if the worker is killed, its run goes on. A worker stays small
(it imports no torch), so that the system does not kill it when memory runs out.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from filelock import Timeout

from dept.basics.files import read_json, write_json
from dept.runs.folder import RunFolder
from lab.basics.child import Child
from lab.basics.failures import ENDED, RESUME, without_place
from lab.basics.machine import cores
from lab.basics.processes import is_alive, our_environment, our_python, record
from lab.service.owners import OPERATOR_KEY
from lab.service.queue_folder import ACTIVE, Entry, QueueFolder, clear_asks

POLL_SECONDS = 0.25
STOP_SECONDS = 120.0  # a run that exceeds its time gets these to finish its step and save, then it is killed
_BEAT_SECONDS = 10.0
_NICENESS = 10  # the page's own process has priority


class Worker:
    """One worker of a queue.

    Args:
        slot: the worker's number, from 0.
        running: the number of runs that all workers together may train at once.
    """

    def __init__(self, folder: QueueFolder, slot: int, running: int) -> None:
        self.folder, self.slot, self.running = folder, slot, running
        self._claimed = 0.0  # time of its run's start, in seconds since the epoch

    def work(self) -> None:
        """Train the waiting runs one after the other; return at once if another process has this slot."""
        lock = self.folder.slot(self.slot)
        with self.folder.lock():
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return
        try:
            while True:
                with self.folder.lock():
                    entry = self._claim()
                    if entry is None:
                        lock.release()  # under the queue's lock: a process that then adds a run finds the slot free
                        return
                self._train(entry)
        finally:
            lock.release(force=True)

    def _claim(self) -> Entry | None:
        """The next run, marked as this worker's; None if no run waits or enough runs train."""
        entries = self.folder.entries()
        waiting = self.folder.waiting(entries)
        if not waiting or sum(entry.status in ACTIVE for entry in entries) >= self.running:
            return None
        entry = waiting[0]
        self._claimed = time.time()
        self._beat(entry)
        self.folder.write_state(entry, "running", record())
        return self.folder.entry(entry.run_id)

    def _train(self, entry: Entry) -> None:
        run = RunFolder(entry.path)
        submission = read_json(entry.path / "submission.json") if (entry.path / "submission.json").exists() else {}
        begun = run.config_file.exists()
        how = ["--resume"] if begun else ["--config", str(entry.path / "settings.json")]
        child = Child(
            our_python("dept.cli", "train", *how, "--output-dir", str(entry.path)),
            entry.path / "log.txt",
            environment=_environment(self.running),
            folder=self.folder.root,
            limit_s=submission.get("max_seconds"),
            grace_s=STOP_SECONDS,
            expendable=True,  # if memory runs out the run ends, not the page
        )
        # This holds until the run has loaded everything and writes state.json itself.
        self.folder.write_state(entry, "running", record(child.pid))
        self._wait(child, entry)
        self._note_end(entry, child)

    def _wait(self, child: Child, entry: Entry) -> None:
        """Wait for the run's end, passing stop and kill on."""
        beat = time.monotonic()
        while child.poll() is None:
            if (entry.path / "kill").exists():
                child.kill()
                continue
            if (entry.path / "stop").exists():
                child.stop()
            if time.monotonic() - beat > _BEAT_SECONDS:
                self._beat(entry)
                beat = time.monotonic()
            time.sleep(POLL_SECONDS)

    def _beat(self, entry: Entry) -> None:
        write_json(entry.path / "worker.json", {**record(), "claimed": self._claimed})

    def _note_end(self, entry: Entry, child: Child) -> None:
        """Complete state.json if the run did not, being killed, or failing before or while it wrote the file."""
        path, late = entry.path, child.late
        killed, stopped = (path / "kill").exists(), (path / "stop").exists()
        ended_by_signal = child.code in (-signal.SIGTERM, -signal.SIGKILL)
        with (
            self.folder.lock(),
            contextlib.suppress(OSError),
        ):  # OSError: a full disk; readers see that the process is gone
            now = Entry(path, read_json(path / "state.json"), False, None)
            if is_alive(now.state):  # somebody trains this run by hand, so our process has ended
                return
            if now.state["status"] in ACTIVE and killed:
                self.folder.write_state(now, "stopped", error=ENDED)
            elif now.state["status"] in ACTIVE and (stopped or late) and ended_by_signal:
                self.folder.write_state(now, "stopped", error=_late(entry) if late else None)
            elif now.state["status"] in ACTIVE:
                reason = without_place(child.reason(RESUME), path)
                self.folder.write_state(now, "failed", error=reason)
            elif now.state["status"] == "stopped" and late:
                self.folder.write_state(now, "stopped", error=_late(entry))
            clear_asks(path)


def _late(entry: Entry) -> str:
    minutes = read_json(entry.path / "submission.json")["max_seconds"] / 60
    return f"the {minutes:g} minutes that a run may take are over: resume to go on"


def _environment(running: int) -> dict[str, str]:
    """A run's environment: a fair share of the cores, unless the operator set one, and not the operator's key."""
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // running)))
    environment = our_environment(OMP_NUM_THREADS=threads, PYTHONUNBUFFERED="1")
    environment.pop(OPERATOR_KEY, None)
    return environment


def main(argv: Sequence[str] | None = None) -> int:
    """Work until no run waits."""
    parser = argparse.ArgumentParser(prog="python -m lab.service.worker", description="Trains what waits in a queue.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--slot", type=int, default=0)
    parser.add_argument("--running", type=int, default=1)
    arguments = parser.parse_args(argv)
    os.nice(_NICENESS)
    Worker(QueueFolder(arguments.root), arguments.slot, arguments.running).work()
    return 0


if __name__ == "__main__":
    sys.exit(main())
