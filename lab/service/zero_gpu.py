"""ZeroGPU Spaces lend a GPU for one call: functions that predict are marked for it; elsewhere the mark does nothing.

Only the web process can have that GPU. Training, which takes longer than a call may, stays on the CPU.
"""

import importlib
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def on_zero_gpu() -> bool:
    """Whether this is a ZeroGPU Space, by its environment variable."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def lent_gpu(seconds: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function that uses a lent GPU for at most this many seconds."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if not on_zero_gpu():
            return function
        spaces = importlib.import_module("spaces")
        marked: Callable[P, R] = spaces.GPU(duration=seconds)(function)
        return marked

    return decorate
