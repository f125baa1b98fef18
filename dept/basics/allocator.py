"""Freed memory stays at hand between training steps on a CPU.

glibc takes a block of over 32 MB from the system each time and gives it back when it is freed, so that the activations
of every step are zeroed by the system anew (docs/performance.md has what that costs).
"""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

# malloc.h; the values are glibc's defaults.
_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD, _NEVER = -1, 128 * 1024, -1
_MMAP_MAX, _DEFAULT_MMAP_MAX = -4, 65536


def _glibc() -> ctypes.CDLL | None:
    """The C library of this process, where that is glibc (musl has no mallopt)."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") else None


def give_back_freed_memory() -> None:
    """Let the system have what this process has freed; nothing happens where the C library is not glibc."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Within the block, memory that is freed stays with this process; afterwards the system has it back.

    Only where the C library is glibc: elsewhere nothing changes.
    """
    library = _glibc()
    if library is None:
        yield
        return
    library.mallopt(_MMAP_MAX, 0)
    library.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        library.mallopt(_MMAP_MAX, _DEFAULT_MMAP_MAX)
        library.mallopt(_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD)
        give_back_freed_memory()
