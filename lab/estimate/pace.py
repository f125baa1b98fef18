"""How fast this machine is, in FLOPs a second, and how FLOPs become seconds.

The page and the command turn FLOPs into seconds alike (`Pace.seconds`), but learn the pace in different ways. The page
must answer at once: it takes the pace of a finished run, or that of a matrix product (`pace_at_once`). The command has
the time to measure training steps of its costliest run in a fresh process (`measured_pace`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dept.errors import DeptError
from dept.runs.settings import TrainConfig
from lab.basics.processes import START_SECONDS
from lab.bench.cost import pass_cost
from lab.bench.plan import MeasureJob
from lab.bench.run import measure_apart
from lab.bench.variant import variant_of
from lab.estimate.cost import cost_of
from lab.estimate.plan import plan_of
from lab.service.summary import RunSummary

_PACE_ROWS = 4  # of the step that the pace is measured with
_SHARE_OF_PEAK = 0.5  # of a matrix product's pace, what a training step reaches on a CPU
_SIDE = 1024


@dataclass(frozen=True)
class Pace:
    """FLOPs a second of this machine.

    Attributes:
        source: how the number is known, in words.
    """

    flops_per_s: float
    source: str

    def seconds(self, flops: int, starts: float = 1.0) -> float:
        """The time that FLOPs take, after the starts of so many processes one after another."""
        return starts * START_SECONDS + flops / self.flops_per_s


def pace_at_once(backbone: str, runs: Sequence[RunSummary]) -> Pace:
    """The pace of the newest completed run of a backbone on this machine, else half that of a matrix product.

    Args:
        runs: earlier ones on this machine, the newest first.
    """
    for run in runs:
        result = run.result
        if run.status != "completed" or result is None or result["backbone"]["name"] != backbone:
            continue
        with contextlib.suppress(DeptError):  # rows that are gone, a method or a backbone without a cost
            if result["steps"]:
                return Pace(_flops_of(result) / result["time"]["total_s"], "as the last run of this backbone here")
    return Pace(_SHARE_OF_PEAK * matmul_flops(), "from the speed of a matrix product here")


def _flops_of(result: Mapping[str, Any]) -> int:
    """The FLOPs of the time in a result: steps that were done, evaluations, the test; features come before it."""
    cost = cost_of(plan_of(TrainConfig.from_dict(result["config"])))
    done = dataclasses.replace(cost, steps=result["steps"])
    return done.flops(test=result["metrics"]["test"] is not None)


@functools.cache
def matmul_flops() -> float:
    """Floating point operations a second of a matrix product, the best of five."""
    left = np.ones((_SIDE, _SIDE), dtype=np.float32)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - started)
    return 2 * _SIDE**3 / best


def measured_pace(config: TrainConfig) -> Pace | None:
    """The pace of training steps of this run's backbone and lengths, measured in a fresh process.

    The weights play no part: for a backbone of the hub it is a random one of the same shape. None where it does not
    fit the memory.

    Raises:
        DeptError: as `plan_of`; the measurement failed.
    """
    plan = plan_of(config)
    job = MeasureJob(
        what="train",
        backbone=f"random:{config.backbone}" if plan.backbone.source == "hub" else config.backbone,
        variant=variant_of(config.method, plan.method.to_dict()),
        batches=((plan.source_tokens,) * min(_PACE_ROWS, config.batch_size),),
        pad_to=None,
        max_seq_length=plan.facts.max_seq_length,
        passes=1,
        dtype="bfloat16" if config.dtype == "bfloat16" else "float32",
        seed=0,
        tower=plan.tower,
        parent_pid=os.getpid(),
    )
    cost, measurement = pass_cost(job), measure_apart(job)
    if cost is None or not measurement.fits:
        return None
    where = f"measured here: {measurement.device}, {measurement.threads} threads"
    return Pace(cost.flops / min(measurement.pass_seconds), where)
