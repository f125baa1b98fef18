"""The machine: the cores that are ours to use, and the record of where a measurement was made."""

import contextlib
import math
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """The cores that this process may use: those of its affinity, or fewer if its container's quota is less."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    except OSError:  # not Linux
        groups = ""
    quotas = [max(1, math.ceil(quota)) for quota in _quotas(groups, _CONTROL_GROUPS)]
    return min([allowed, *quotas])


def _quotas(groups: str, root: Path) -> Iterator[float]:
    """The quotas, in cores, of a process's control groups and of the groups around them.

    Args:
        groups: the content of /proc/self/cgroup: number:controllers:path, without controllers in version 2.
        root: where the groups are mounted.
    """
    for line in groups.splitlines():
        controllers, path = line.split(":", 2)[1:]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounted = root / "cpu" if controllers else root
        own = mounted / path.lstrip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(mounted):
                yield from _quota(group)


def _quota(group: Path) -> Iterator[float]:
    with contextlib.suppress(OSError, ValueError):  # ValueError: "max", no limit
        limit, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        yield int(limit) / int(period)
    with contextlib.suppress(OSError, ValueError):
        limit, period = ((group / f"cpu.cfs_{name}_us").read_text(encoding="utf-8") for name in ("quota", "period"))
        if int(limit) > 0:  # -1: no limit
            yield int(limit) / int(period)


def machine() -> dict[str, Any]:
    """This machine's processor, cores, memory in bytes, and system."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        processor = names[0] if names else processor
    return {
        "processor": processor,
        "cores": cores(),
        "memory_bytes": psutil.virtual_memory().total,
        "platform": platform.platform(),
    }
