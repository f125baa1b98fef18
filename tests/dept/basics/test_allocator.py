"""Memory that a training step frees is there for the next one, and is given back after training."""

from __future__ import annotations

import ctypes
import resource
import sys

import psutil
import pytest
import torch

from dept.basics.allocator import kept_memory

MIB = 2**20
BLOCK = 48 * MIB  # more than glibc keeps by itself
STEPS = 40  # so many that a block or two in a new place are few

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc"
)


def step() -> None:
    torch.ones(BLOCK // 4).sum()


def faults(steps: int) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_freed_memory_is_used_again_and_given_back() -> None:
    step()
    outside = faults(STEPS)
    with kept_memory():
        faults(STEPS)  # a small block that came to lie behind a large one makes the next take a new place, once
        inside = faults(STEPS)
        held = psutil.Process().memory_info().rss
    assert inside < outside / 10
    assert held - psutil.Process().memory_info().rss > BLOCK / 2
    assert faults(STEPS) > outside / 2
