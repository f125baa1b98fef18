"""What a batch of runs takes, before it starts: FLOPs, time and money, as the sum of what each run takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dept.backbones.known import default_tower
from dept.runs.settings import TrainConfig
from lab.basics.units import duration
from lab.estimate.cost import RunCost
from lab.estimate.expect import expect
from lab.estimate.pace import Pace


@dataclass(frozen=True)
class Estimate:
    """What a batch of runs takes, on one machine.

    Attributes:
        runs, tests: runs that are to be made, and runs that are to be scored on test.
        flops: of all of them.
        seconds: of the whole batch; None without a pace.
    """

    runs: int
    tests: int
    flops: int
    pace: Pace | None
    seconds: float | None

    def lines(self, price_per_hour: float | None = None) -> list[str]:
        """The estimate in words.

        Args:
            price_per_hour: of the machine, in any currency.
        """
        lines = [f"about {self.flops:.2g} FLOPs: {self.runs:,} runs, {self.tests:,} of them then scored on test"]
        if self.pace is None or self.seconds is None:
            return [*lines, "no pace is known for this machine: --flops-per-s gives a time"]
        lines.append(f"about {duration(self.seconds)} at {self.pace.flops_per_s:.2g} FLOP/s ({self.pace.source})")
        if price_per_hour is not None:
            hours = self.seconds / 3600
            lines.append(f"about {hours * price_per_hour:,.2f} at {price_per_hour:g} an hour")
        return lines


def costs_of(runs: Sequence[TrainConfig]) -> list[RunCost]:
    """What each run costs.

    Raises:
        DeptError: as `expect`; what a run costs cannot be told from sizes.
    """
    return [expect(config).known_cost() for config in runs]


def estimate(
    training: Sequence[TrainConfig],
    testing: Sequence[TrainConfig],
    *,
    workers: int,
    pace: Pace | None,
    costs: Sequence[RunCost] | None = None,
) -> Estimate:
    """What it takes to make runs without a test, and to score some of them on test in processes of their own.

    Images that several runs look at with the same encoder are looked at once.

    Args:
        workers: runs at a time: they share the machine's pace, but start side by side.
        costs: `costs_of` the runs to be made, where they are known already.

    Raises:
        DeptError: see `costs_of`.
    """
    costs = costs_of(training) if costs is None else costs
    looks = {_look(config): cost.features for config, cost in zip(training, costs, strict=True)}
    flops = sum(cost.flops(test=False) for cost in costs) + sum(looks.values())
    flops += sum(cost.test for cost in costs_of(testing))
    processes = len(training) + len(testing)
    seconds = None if pace is None else pace.seconds(flops, starts=processes / workers)
    return Estimate(len(training), len(testing), flops, pace, seconds)


def _look(config: TrainConfig) -> tuple[str, str, int | None, str]:
    """What an image encoder looks at (a sample's seed draws it) and which: equal for runs that share features."""
    tower = config.vision_backbone or default_tower(config.backbone)
    return config.task, config.data, config.seed if config.data == "sample" else None, tower
