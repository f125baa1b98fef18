"""Name processes in files by their number and start time: the system reuses a number, but not both."""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

SILENCE_SECONDS = 60.0  # a worker on another machine whose last heartbeat is older counts as gone
# From the start of a process that trains or measures to its first pass. Importing torch and transformers takes most of
# it; then a small backbone and its rows are loaded. It is about the median of six starts on two cores that did other
# work too: training runs of mini-t5 took 8.4 to 11.3 s, measurements of the benchmark 7.7 to 13.6 s.
START_SECONDS = 10.0
_KILL_SECONDS = 5.0  # a killed process ends at once, unless the system is holding it
_SAME_START_SECONDS = 2.0  # the system's clock may be changed while a process lives
_ROOT = Path(__file__).resolve().parents[2]


def record(pid: int | None = None) -> dict[str, Any]:
    """A process, by default this one, as files record it: pid, start time, host, heartbeat."""
    process = psutil.Process(pid)
    return {
        "pid": process.pid,
        "pid_started": process.create_time(),
        "host": socket.gethostname(),
        "heartbeat": time.time(),
    }


def find(recorded: Mapping[str, Any]) -> psutil.Process | None:
    """The recorded process if it still runs on this machine; a zombie does not count."""
    pid, started = recorded.get("pid"), recorded.get("pid_started")
    if recorded.get("host") != socket.gethostname() or not isinstance(pid, int) or not isinstance(started, float):
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SAME_START_SECONDS
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.NoSuchProcess, ValueError):  # ValueError: the pid is no valid number
        return None


def is_alive(recorded: Mapping[str, Any], silence_s: float = SILENCE_SECONDS) -> bool:
    """Whether a recorded process still runs; on another machine, whether its heartbeat is recent enough."""
    if recorded.get("host") == socket.gethostname():
        return find(recorded) is not None
    heartbeat = recorded.get("heartbeat")
    return isinstance(heartbeat, float) and time.time() - heartbeat < silence_s


def terminate(recorded: Mapping[str, Any]) -> None:
    """Ask a recorded process to end (SIGTERM)."""
    process = find(recorded)
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            process.terminate()


def kill(recorded: Mapping[str, Any]) -> None:
    """Kill a recorded process and its descendants, and all processes of its session if it leads one."""
    process = find(recorded)
    if process is not None:
        kill_tree(process.pid)


def kill_tree(pid: int) -> None:
    """Kill a process, all its descendants, and the session that it leads; return when they have ended.

    A descendant may have outlived the process: it is known by its session.
    """
    family: set[psutil.Process] = set()
    until = time.monotonic() + _KILL_SECONDS
    while time.monotonic() < until:
        family.update(_family(pid))
        alive = [process for process in family if _is_alive(process)]
        if not alive:
            return
        for process in alive:
            with contextlib.suppress(psutil.Error):  # gone, or another user's: a program may change its own
                process.kill()
        time.sleep(0.01)


def _family(pid: int) -> Iterator[psutil.Process]:
    """The processes of a session, and the descendants of each and of its leader."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, OSError):  # it has just ended
            if process.pid == pid or os.getsid(process.pid) == pid:
                yield process
                yield from process.children(recursive=True)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def our_python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules; -P ignores folders `dept` or `lab` in the current folder."""
    return [sys.executable, "-P", "-m", module, *arguments]


def our_environment(**more: str) -> dict[str, str]:
    """The environment in which our modules are found from any current folder."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **more}
