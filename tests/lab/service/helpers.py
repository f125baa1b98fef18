"""What the tests of the queue share: a queue whose visitors may name the tiny T5, and a small run of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.service.allowed import Allowed
from lab.service.limits import Limits
from lab.service.owners import OPERATOR, Visitor, new_token, visitor
from lab.service.queue import RunQueue

SMALL: dict[str, Any] = {
    "task": "sst2",
    "method": "dept",
    "backbone": "folder:tiny",
    "data": "sample",
    "num_virtual_tokens": 4,
    "budget_tokens": 10,
    "max_seq_length": 32,
    "max_steps": 4,
    "batch_size": 4,
    "max_train_rows": 16,
    "max_validation_rows": 8,
    "max_test_rows": 8,
}


def queue_in(root: Path, backbone: Path, **limits: int) -> RunQueue:
    return RunQueue(root, Limits(**limits), Allowed(backbone_folders={"tiny": backbone}))


def somebody() -> Visitor:
    return visitor(new_token())


def wait_for(what: Callable[[], bool], seconds: float = 60.0) -> float:
    """Seconds until it is so; a failure after `seconds`."""
    started = time.monotonic()
    while not what():
        assert time.monotonic() - started < seconds, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - started


def wait_for_status(queue: RunQueue, run_id: str, status: str, seconds: float = 60.0) -> None:
    wait_for(lambda: queue.run(run_id, OPERATOR).status == status, seconds)
