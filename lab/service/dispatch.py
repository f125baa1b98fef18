"""Keep a queue going: record runs that have died, and start a worker if one is free and a run waits."""

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import Timeout

from dept.errors import DeptError
from lab.basics.child import Child
from lab.basics.processes import our_environment, our_python
from lab.service.queue_folder import ACTIVE, QueueFolder

TICK_SECONDS = 1.0
# The workers that this process has started, by folder and slot. They belong to the process, not to a dispatcher: they
# outlive the dispatcher, and their parent process has to wait for them.
_children: dict[tuple[Path, int], Child] = {}


class Dispatcher:
    """Looks after one queue's folder. Several dispatchers may, in one process or in many: they work under its lock.

    Args:
        running: the number of runs that train at once.
    """

    def __init__(self, folder: QueueFolder, running: int) -> None:
        self.folder, self.running = folder, running

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within the block a thread calls `tick` again and again."""
        done = threading.Event()

        def watch() -> None:
            while not done.wait(TICK_SECONDS):
                try:
                    self.tick()
                except (DeptError, OSError) as fault:  # a full disk or a busy lock: the next tick tries again
                    print(f"warning: the queue: {fault}", file=sys.stderr)

        self.tick()
        thread = threading.Thread(target=watch, name="queue", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def tick(self) -> None:
        """Check every run once.

        Raises:
            RunError: the queue is busy.
        """
        with self.folder.lock():
            for key, worker in list(_children.items()):
                if worker.poll() is not None:  # polling leaves no zombie
                    _children.pop(key, None)
            entries = self.folder.entries()
            for entry in entries:
                if entry.state["status"] in ACTIVE and not entry.alive:
                    self.folder.settle(entry)
            active = sum(entry.status in ACTIVE for entry in entries)
            free = min(len(self.folder.waiting(entries)), self.running - active)
            for slot in range(self.running):
                if free > 0 and self._is_free(slot):
                    _children[self.folder.root, slot] = self._start(slot)
                    free -= 1

    def _is_free(self, slot: int) -> bool:
        if (self.folder.root, slot) in _children:
            return False
        try:
            with self.folder.slot(slot).acquire(timeout=0):
                return True
        except Timeout:
            return False

    def _start(self, slot: int) -> Child:
        """Start a worker in its own session: it outlives this process, and inherits none of the server's sockets."""
        arguments = [str(self.folder.root), "--slot", str(slot), "--running", str(self.running)]
        return Child(
            our_python("lab.service.worker", *arguments),
            self.folder.own / "workers.log",
            environment=our_environment(),
            folder=self.folder.root,
        )
