"""Memory that a training step frees is there for the next one, and is given back after training."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
BLOCK = 96 * 2**20  # more than glibc keeps by itself
_MEASURE = f"""
import json, resource
import psutil, torch
from dept.basics.allocator import kept_memory

STEPS = 40  # so many that a block or two in a new place are few

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(STEPS):
        torch.ones({BLOCK} // 4).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return psutil.Process().memory_info().rss

torch.ones({BLOCK} // 4).sum()
outside = faults()
with kept_memory():
    faults()  # a small block that came to lie behind a large one makes the next take a new place, once
    inside, during = faults(), held()
print(json.dumps([outside, inside, during - held(), faults()]))
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc"
)


@pytest.mark.slow
def test_freed_memory_is_used_again_and_given_back() -> None:
    """In a process of its own: what other tests have freed would serve the blocks."""
    done = subprocess.run([sys.executable, "-c", _MEASURE], capture_output=True, text=True, check=True, cwd=ROOT)
    outside, inside, given_back, afterwards = json.loads(done.stdout)
    assert inside < outside / 10
    assert given_back > BLOCK / 2
    assert afterwards > outside / 2
