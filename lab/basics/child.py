"""Child processes from both sides: start, limit, stop, kill and explain one; end with the parent, answer on stdout.

Each child has a session of its own. It outlives the process that started it unless it calls `end_with`, and a
terminal's Ctrl-C does not reach it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.basics.failures import reason_of_exit, tail
from lab.basics.processes import kill_tree

_POLL_SECONDS = 0.05


class Child:
    """A process in a session of its own, started on construction; call `poll` until it returns the exit code.

    Args:
        log: the file to which the child's output is appended.
        question: text for its stdin, which is empty otherwise. Its stdout is then kept for `answer`; stderr goes to
            the log.
        environment: of the child; None is this process's.
        folder: the child's current folder; None is this process's.
        limit_s: seconds after which it is stopped.
        grace_s: seconds that it then has to save and end, before it is killed.
        expendable: the system ends it before others if memory runs out.

    Attributes:
        late: whether it has exceeded its time.
        stopped: whether it was asked to end.
        answer: what it wrote to stdout, once it has ended.
        memory_ran_out: whether the system ended a process for lack of memory in the meantime; None if it doesn't say.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        question: str | None = None,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
        limit_s: float | None = None,
        grace_s: float = 30.0,
        expendable: bool = False,
    ) -> None:
        self.late = False
        self.answer = ""
        self.memory_ran_out: bool | None = False
        self._log = log
        self._grace_s = grace_s
        self._memory_kills = _memory_kills()
        self.stopped = self._ended = False
        self._ending = threading.Lock()  # a server's threads may poll at the same time
        self._late_at = float("inf") if limit_s is None else time.monotonic() + limit_s
        self._kill_at = float("inf")
        self._stdout = None if question is None else tempfile.TemporaryFile()  # noqa: SIM115 - closed at its end
        with log.open("ab") as output, _stdin(question) as stdin:
            self._log_began = output.tell()
            self._process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=output if self._stdout is None else self._stdout,
                stderr=output,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        if expendable and sys.platform == "linux":
            with contextlib.suppress(OSError):
                Path(f"/proc/{self.pid}/oom_score_adj").write_text("1000")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code as `poll` has found it: the negative number of the signal that ended the child, if one did."""
        return self._process.returncode

    def poll(self) -> int | None:
        """The exit code, or None while the child runs; a child that exceeds its time is stopped, then killed.

        A child that failed leaves nothing behind: what is left of its session is killed.
        """
        if self._process.poll() is None:
            now = time.monotonic()
            if now > self._late_at and not self.late:
                self.late = True
                self.stop(self._grace_s)
            if now > self._kill_at:
                self.kill()
        self._end()
        return self.code

    def wait(self) -> int:
        """Poll until the child has ended; return its exit code."""
        while (code := self.poll()) is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_POLL_SECONDS)
        return code

    def stop(self, grace_s: float = float("inf")) -> None:
        """Ask the child to end (SIGTERM, once); `poll` kills it if it has not ended after `grace_s` seconds."""
        self._kill_at = min(self._kill_at, time.monotonic() + grace_s)
        if not self.stopped:
            self.stopped = True
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the child, all its descendants and what is left of its session."""
        if self._process.poll() is None:
            kill_tree(self.pid)
            self._process.wait()
        self._end()

    def reason(self, advice: str = "") -> str:
        """Why the child ended, in one line, from its exit code and its log.

        Args:
            advice: what to do, added where the log does not say it.
        """
        log = tail(self._log, since=self._log_began)
        return reason_of_exit(self.code or 0, log, memory_ran_out=self.memory_ran_out, advice=advice)

    def _end(self) -> None:
        """Keep what an ended child leaves, once."""
        with self._ending:
            if self.code is None or self._ended:
                return
            self._ended = True
            if self._memory_kills is not None:
                self.memory_ran_out = (_memory_kills() or 0) > self._memory_kills
            else:
                self.memory_ran_out = None
            if self.code:
                kill_tree(self.pid)
            if self._stdout is not None:
                self._stdout.seek(0)
                self.answer = self._stdout.read().decode(errors="replace")
                self._stdout.close()


@contextlib.contextmanager
def _stdin(question: str | None) -> Iterator[Any]:
    """A child's stdin: a file, since a pipe would make the parent wait for the child to read."""
    if question is None:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile() as file:
        file.write(question.encode())
        file.seek(0)
        yield file


def _memory_kills() -> int | None:
    """The number of processes that the system has ended for lack of memory; None if it does not count them."""
    counts: list[int] = []
    for file in ("/proc/vmstat", "/sys/fs/cgroup/memory.events"):  # the counts of the machine and of a container
        with contextlib.suppress(OSError, ValueError):
            lines = Path(file).read_text(encoding="utf-8").splitlines()
            counts += [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return sum(counts) if counts else None


def end_with(parent: int) -> None:
    """End this process when the process that started it has ended in any way."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def stdout_for_the_answer() -> Iterator[Any]:
    """Within the block, the real stdout; what libraries print goes to stderr."""
    answer = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield answer
