"""Reduce other libraries' exceptions to one line."""


def first_line(fault: Exception) -> str:
    """The first line of a library's message, or the kind of fault when it has none."""
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return lines[0] if lines else type(fault).__name__
