"""ZeroGPU Spaces lend a GPU for the length of one call: what predicts is marked for it, and runs as it is elsewhere.

Only the web process can have that GPU. Training, which takes longer than a call may, stays on the CPU.
"""

import importlib
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def on_zero_gpu() -> bool:
    """Whether this is such a Space; it says so in the environment."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def lent_gpu(seconds: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Mark a function that uses a GPU where one is lent, for at most so many seconds."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if not on_zero_gpu():
            return function
        spaces = importlib.import_module("spaces")
        marked: Callable[P, R] = spaces.GPU(duration=seconds)(function)
        return marked

    return decorate
