"""Keep freed memory in the process between training steps on a CPU.

glibc returns every freed block of more than 32 MB to the system, which zeroes its pages again when the next step asks
for them (docs/performance.md says what that costs).
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
    """Return freed memory to the system. Without glibc this does nothing."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Within the block the process keeps the memory that it frees; after the block the system gets it back.

    Without glibc this does nothing.
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
