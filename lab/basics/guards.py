"""Guards of a long command: a lock keeps others out of its folder, and a signal stops it as Ctrl-C does."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from dept.errors import RunError


@contextlib.contextmanager
def locked_folder(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for this process within the block; make it if it is missing. `what` names the holder in messages.

    Raises:
        RunError: another process holds the folder, or it cannot be used.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"another {what} works in {folder}: wait for it, or use another --output-dir") from None
    except OSError as fault:
        raise RunError(f"{folder} cannot be used: {fault.strerror or fault}") from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def stop_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGINT raise KeyboardInterrupt, even if the shell set SIGINT to be ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
