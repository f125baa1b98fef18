"""Explain in a line or two why a process or a run failed: what happened, and what to do."""

import re
import shutil
import signal
from pathlib import Path

_LOG_TAIL_BYTES = 16 * 1024
_FULL_DISK_BYTES = 1024 * 1024  # less than a checkpoint and a line of metrics need
_NO_SPACE = ("No space left on device", "Errno 28", "Disk quota exceeded", "os error 28")
_NO_MEMORY = ("MemoryError", "OutOfMemoryError", "can't allocate memory", "out of memory", "Cannot allocate memory")
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")

NO_MEMORY = (
    "out of memory: repeat it with a smaller batch size or length, more gradient accumulation, or a smaller backbone"
)
RESUME = "resume to go on from the last checkpoint"
DISK_FULL = "the disk is full: free some space or delete runs, then resume"
ENDED = "killed: the steps since its last checkpoint are lost"
GONE = f"its process is gone without a word (killed, or a restart): {RESUME}"
_KILLED = "its process was ended from outside (SIGKILL)"
KILLED = f"{_KILLED}: {RESUME}"
_TRACEBACK = "Traceback (most recent call last)"


def log_tail(run: Path) -> list[str]:
    """The last lines of a log of the page, without control characters and without paths of this machine."""
    return [without_place(line, run) for line in tail(run / "log.txt")]


def without_place(text: str, run: Path) -> str:
    """A text about a run of the page, without the path of the folder that holds the runs."""
    return text.replace(str(run.parent), "RUNS")


def tail(log: Path, *, since: int = 0) -> list[str]:
    """The last lines of a log, without control characters; none if there is no log.

    Args:
        since: the byte to begin at, if it is nearer to the end.
    """
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            start = max(since, size - _LOG_TAIL_BYTES)
            file.seek(start)
            text = file.read(_LOG_TAIL_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return []
    lines = text.splitlines()
    if start > since:
        lines = lines[1:]  # the first line is most likely cut
    return [_ESCAPES.sub("", line) for line in lines]


def reason_of_exit(code: int, log: list[str], *, memory_ran_out: bool | None = False, advice: str = "") -> str:
    """The reason why a process ended, in one line.

    Args:
        code: the exit code, or the negative number of a signal, as `subprocess` gives it.
        log: the lines that the process printed.
        memory_ran_out: whether the system killed a process for lack of memory in the meantime; None if unknown.
        advice: what to do, added where the log does not say it.
    """
    last_words = _last_words(log)
    if any(words in last_words for words in _NO_SPACE):
        return DISK_FULL
    if any(words in last_words for words in _NO_MEMORY) or (code == -signal.SIGKILL and memory_ran_out):
        return NO_MEMORY
    if code >= 0 and last_words:
        return last_words
    if code == -signal.SIGKILL:
        reason = _KILLED + (", perhaps for lack of memory" if memory_ran_out is None else "")
    elif code < 0:
        reason = f"its process was ended by {_signal(-code)}"
    else:
        reason = f"its process ended with code {code}"
    return f"{reason}: {advice}" if advice else reason


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def reason_without_exit(run: Path) -> str:
    """The likely reason why a run ended, when its exit code is unknown."""
    last_words = _last_words(log_tail(run))
    if any(words in last_words for words in _NO_SPACE) or shutil.disk_usage(run).free < _FULL_DISK_BYTES:
        return DISK_FULL
    return NO_MEMORY if any(words in last_words for words in _NO_MEMORY) else GONE


def explain(error: str) -> str:
    """A run's own reason, with advice added if it has none."""
    if any(words in error for words in _NO_SPACE):
        return DISK_FULL
    if "out of memory:" not in error and any(words in error for words in _NO_MEMORY):
        return NO_MEMORY
    return error.removeprefix("RunError: ")


def _last_words(log: list[str]) -> str:
    """The last "error: ..." line with the one after it, or the last traceback's exception; else the last line."""
    lines = [line for line in log if line.strip()]
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith("error: "):
            return " ".join(lines[index : index + 2]).removeprefix("error: ")
        if lines[index].startswith(_TRACEBACK):
            return next((line for line in lines[index + 1 :] if not line.startswith(" ")), lines[-1])
    return lines[-1] if lines else ""
