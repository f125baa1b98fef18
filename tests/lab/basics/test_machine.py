from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.basics import machine


def written(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {}, []),
        ("0::/", {"cpu.max": "max 100000\n"}, []),
        ("0::/", {"cpu.max": "150000 100000\n"}, [1.5]),
        ("0::/a/b", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}, [4.0, 2.0]),
        ("4:cpu,cpuacct:/a", {"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "100000"}, [0.5]),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []),
        ("3:cpuset:/\n2:memory:/", {"cpu.max": "150000 100000\n"}, []),
        # Within a container the path may be that of the host, of which only the end of the way is mounted.
        ("4:cpu:/docker/x", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, [3.0]),
    ],
)
def test_the_quota_of_a_container_is_read(
    groups: str, files: dict[str, str], expected: list[float], tmp_path: Path
) -> None:
    written(tmp_path, files)
    assert list(machine._quotas(groups, tmp_path)) == expected


@pytest.mark.parametrize(("quotas", "expected"), [([], 6), ([2.5], 3), ([0.2], 1), ([64.0, 4.0], 4)])
def test_the_least_of_affinity_and_quota_counts(
    quotas: list[float], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)), raising=False)
    monkeypatch.setattr(machine, "_quotas", lambda groups, root: iter(quotas))
    assert machine.cores() == machine.machine()["cores"] == expected
