"""What guards a long command: nobody else works in its folder, and a signal stops it as Ctrl-C does."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from dept.errors import RunError


@contextlib.contextmanager
def locked_folder(folder: Path, what: str) -> Iterator[None]:
    """Within the block the folder, made if need be, is ours alone; `what` works there, in the message's words.

    Raises:
        RunError: another process has it, or it cannot be used.
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
    """Within the block SIGTERM and SIGINT raise KeyboardInterrupt, also where a shell had SIGINT ignored."""
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
