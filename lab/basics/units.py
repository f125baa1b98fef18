"""Format durations and large numbers for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds in a suitable unit."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.{0 if seconds >= 20 * size else 1}f} {unit}"
    return f"{seconds:.0f} s"


def si(number: float) -> str:
    """A large number as three digits and a letter: 134M, 1.20T."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:#.3g}".rstrip(".") + f" {letter}"
    return f"{number:.0f} "
