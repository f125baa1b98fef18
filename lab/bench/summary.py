"""Medians of measurements, and ratios of pairs."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from lab.bench.config import Group
from lab.bench.plan import MeasuredPair, Measurement
from lab.bench.variant import Variant


@dataclass(frozen=True)
class Ratio:
    """B over A in paired measurements: the median, the least and the greatest."""

    median: float
    least: float
    greatest: float
    pairs: int


@dataclass(frozen=True)
class Summary:
    """The measurements of one variant in one group.

    Attributes:
        step_s: seconds a batch: the median over passes, then over measurements.
        samples_per_s: samples a second, from the same median.
        peak_bytes: peak memory above the loaded model, the median over measurements.
        fraction_of_peak: counted floating point operations a second over the best matrix product of the same process,
            the median of measurements: a shared machine's speed may change by half between two processes.
        baseline: the variant that the ratios are to; None for a baseline itself.
        time, speed, memory: ratios of seconds, samples per second and peak memory to the baseline's.
    """

    group: Group
    variant: Variant
    measurements: int
    step_s: float
    samples_per_s: float
    peak_bytes: float
    flops: int | None
    fraction_of_peak: float | None
    trainable_parameters: int
    baseline: Variant | None = None
    time: Ratio | None = None
    speed: Ratio | None = None
    memory: Ratio | None = None

    def to_dict(self) -> dict[str, Any]:
        baseline = None if self.baseline is None else self.baseline.to_dict()
        return {**dataclasses.asdict(self), "variant": self.variant.to_dict(), "baseline": baseline}


def pass_seconds(measurement: Measurement) -> float:
    """Seconds of a pass over all batches: the median of the timed passes."""
    return median(measurement.pass_seconds)


def ratio(pairs: Iterable[MeasuredPair], value: Callable[[Measurement], float]) -> Ratio | None:
    """B over A of each pair whose both sides were measured; None where there is no such pair, or A is 0."""
    ratios = [
        value(pair.variant) / value(pair.baseline)
        for pair in pairs
        if pair.baseline is not None
        and pair.variant is not None
        and pair.baseline.fits
        and pair.variant.fits
        and value(pair.baseline)
    ]
    return Ratio(median(ratios), min(ratios), max(ratios), len(ratios)) if ratios else None


def best_matmul(measured: Iterable[MeasuredPair]) -> float | None:
    """The best matrix product of the benchmark, in floating point operations a second."""
    return max((m.matmul_peak for pair in measured for m in _both(pair) if m.matmul_peak), default=None)


def summarise(measured: Sequence[MeasuredPair]) -> list[Summary]:
    """A summary for each variant that fits in each group, in the order of first measurement."""
    by_variant: dict[tuple[Group, Variant], list[Measurement]] = {}
    baselines: dict[tuple[Group, Variant], Variant] = {}
    for pair in measured:
        group = pair.pair.group
        baselines[group, pair.pair.variant] = pair.pair.baseline
        for variant, measurement in ((pair.pair.baseline, pair.baseline), (pair.pair.variant, pair.variant)):
            if measurement is not None and measurement.fits:
                by_variant.setdefault((group, variant), []).append(measurement)
    return [
        _summary(group, variant, measurements, baselines.get((group, variant)), measured)
        for (group, variant), measurements in by_variant.items()
    ]


def _summary(
    group: Group,
    variant: Variant,
    measurements: Sequence[Measurement],
    baseline: Variant | None,
    measured: Sequence[MeasuredPair],
) -> Summary:
    seconds = median(pass_seconds(m) for m in measurements)
    flops = next((m.flops for m in measurements if m.flops is not None), None)
    fractions = [flops / pass_seconds(m) / m.matmul_peak for m in measurements if flops and m.matmul_peak]
    own = [pair for pair in measured if pair.pair.group == group and pair.pair.variant == variant]
    return Summary(
        group=group,
        variant=variant,
        measurements=len(measurements),
        step_s=seconds / measurements[0].steps,
        samples_per_s=measurements[0].samples / seconds,
        peak_bytes=median(m.peak_bytes or 0 for m in measurements),
        flops=flops,
        fraction_of_peak=median(fractions) if fractions else None,
        trainable_parameters=measurements[0].trainable_parameters or 0,
        baseline=baseline,
        time=ratio(own, pass_seconds),
        speed=ratio(own, lambda m: m.samples / pass_seconds(m)),
        memory=ratio(own, lambda m: m.peak_bytes or 0),
    )


def does_not_fit(measured: Iterable[MeasuredPair]) -> list[tuple[Group, Variant, str]]:
    """The variants that had too little memory, each once, with the reason."""
    reasons: dict[tuple[Group, Variant], str] = {}
    for pair in measured:
        for variant, measurement in ((pair.pair.baseline, pair.baseline), (pair.pair.variant, pair.variant)):
            if measurement is not None and not measurement.fits:
                reasons.setdefault((pair.pair.group, variant), measurement.reason or "")
    return [(group, variant, reason) for (group, variant), reason in reasons.items()]


def _both(pair: MeasuredPair) -> list[Measurement]:
    return [m for m in (pair.baseline, pair.variant) if m is not None]
