"""A child process: it ends with its parent, and keeps stdout for its answer."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any


def end_with(parent: int) -> None:
    """Let this process end when the one that started it has gone, however that went."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def stdout_for_the_answer() -> Iterator[Any]:
    """The real stdout; whatever a library prints goes to stderr meanwhile."""
    answer = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield answer
