"""The inside of a child process: end it with its parent, and keep stdout for its answer."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any


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
