"""Processes as files name them: a number can be given to another process, a number with its start time cannot."""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

SILENCE_SECONDS = 60.0  # after which a worker on another machine, which sends heartbeats, counts as gone
_SAME_START_SECONDS = 2.0  # the system's clock may be set while a process lives
_ROOT = Path(__file__).resolve().parents[2]


def record(pid: int | None = None) -> dict[str, Any]:
    """This process, or one of its children, as a file keeps it: pid, its start time, host, a heartbeat."""
    process = psutil.Process(pid)
    return {
        "pid": process.pid,
        "pid_started": process.create_time(),
        "host": socket.gethostname(),
        "heartbeat": time.time(),
    }


def find(recorded: Mapping[str, Any]) -> psutil.Process | None:
    """The recorded process where it still runs, on this machine; a zombie does not."""
    pid, started = recorded.get("pid"), recorded.get("pid_started")
    if recorded.get("host") != socket.gethostname() or not isinstance(pid, int) or not isinstance(started, float):
        return None
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - started) < _SAME_START_SECONDS
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.NoSuchProcess, ValueError):  # ValueError: no number of a process
        return None


def is_alive(recorded: Mapping[str, Any], silence_s: float = SILENCE_SECONDS) -> bool:
    """Whether a recorded process still runs; on another machine, whether it was heard of in that many seconds."""
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


def kill_group(recorded: Mapping[str, Any]) -> None:
    """End a recorded process, and what it started in its session, at once."""
    process = find(recorded)
    if process is None:
        return
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):  # it has just ended
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:  # started by hand, in somebody's terminal
            process.kill()


def our_python(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules; -P: a folder `dept` or `lab` where the user stands is not ours."""
    return [sys.executable, "-P", "-m", module, *arguments]


def our_environment(**more: str) -> dict[str, str]:
    """The environment in which a module of ours is found, wherever it is started."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **more}
