"""DePT beside PT in time and memory, by the project's own benchmark; docs/performance.md discusses the figures."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lab.bench.config import BenchConfig
from lab.bench.run import run_bench
from lab.bench.summary import Ratio, Summary, summarise
from tests.acceptance.section import Outcome, Section, shared, table

SMALL, BASE, GPT2 = "random:t5-small", "random:t5-base", "random:gpt2"
_COMMON = BenchConfig(backbones=(SMALL,), virtual_tokens=(20,), repeats=3, passes=2)


def padded() -> list[BenchConfig]:
    """The paper's way: every source padded to 256 tokens."""
    return [dataclasses.replace(_COMMON, what=("train", "inference", "memory"), lengths=("padded:256",))]


def grouped() -> list[BenchConfig]:
    """Batches of like length, label scoring beside the release's way, a cached prompt beside none."""
    rows, tokenizer = str(shared() / "data"), str(shared() / "t5_tokenizer")
    return [
        dataclasses.replace(
            _COMMON, what=("train", "inference"), lengths=("task:sst2",), data=rows, tokenizer=tokenizer
        ),
        dataclasses.replace(_COMMON, what=("train",), lengths=("fixed:17", "fixed:45")),
        dataclasses.replace(_COMMON, what=("train",), backbones=(BASE,), lengths=("fixed:45",), repeats=2),
        dataclasses.replace(_COMMON, what=("decoding",), backbones=(SMALL, GPT2), lengths=("fixed:17",)),
        dataclasses.replace(_COMMON, what=("inference",), backbones=(GPT2,), lengths=("fixed:45",)),
    ]


def measured(questions: Sequence[BenchConfig], bounds: Callable[[Figures], Iterator[Bound]]) -> Outcome:
    """Run each question's benchmark; the figures with their bounds, then every measurement."""
    found: list[Summary] = []
    with tempfile.TemporaryDirectory(prefix="dept-bench-") as folder:
        for index, question in enumerate(questions):
            bench = run_bench(question, Path(folder) / str(index), Console(stderr=True))
            found.extend(summarise(bench.measured))
    checked = list(bounds(Figures(found)))
    lines = [
        [bound.what, f"{bound.value:.2f}", f"{'at most' if bound.most else 'at least'} {bound.asked:g}",
         "yes" if bound.met else "NO"]
        for bound in checked
    ]  # fmt: skip
    text = (
        "Median ratios of pairs measured in turn, each in a fresh process; random weights, T5-small's shape and batch "
        "16 unless said; m = 20 beside PT with l = 100.\n\n"
        + table(["figure", "measured", "asked", "met"], lines)
        + "\n\nEvery measurement:\n\n"
        + everything(found)
    )
    return Outcome(all(bound.met for bound in checked), text)


@dataclass(frozen=True)
class Bound:
    """A figure beside what was asked of it; a figure that could not be measured does not meet it."""

    what: str
    value: float
    asked: float
    most: bool = False

    @property
    def met(self) -> bool:
        return self.value <= self.asked if self.most else self.value >= self.asked


class Figures:
    """What was measured, by question, backbone, lengths and variant."""

    def __init__(self, found: Sequence[Summary]) -> None:
        self._found = found

    def one(self, what: str, backbone: str, lengths: str, name: str = "DePT m=20", way: str = "") -> Summary:
        return next(
            row
            for row in self._found
            if (row.group.what, row.group.backbone, row.group.lengths, row.group.way) == (what, backbone, lengths, way)
            and row.variant.name == name
        )


def _middle(ratio: Ratio | None) -> float:
    return math.nan if ratio is None else ratio.median


def _fraction(row: Summary) -> float:
    return math.nan if row.fraction_of_peak is None else row.fraction_of_peak


def padded_bounds(figures: Figures) -> Iterator[Bound]:
    train, inference, memory = (figures.one(what, SMALL, "padded:256") for what in ("train", "inference", "memory"))
    yield Bound("DePT's training time over PT's", _middle(train.time), 0.75, most=True)
    yield Bound("DePT's inference speed over PT's", _middle(inference.speed), 1.3)
    yield Bound("DePT's peak memory over PT's", _middle(memory.memory), 0.80, most=True)
    yield Bound("DePT's training: fraction of the matmul peak", _fraction(train), 0.45)


def grouped_bounds(figures: Figures) -> Iterator[Bound]:
    for what in ("train", "inference"):
        row = figures.one(what, SMALL, "task:sst2")
        yield Bound(f"SST-2's lengths: DePT's {what} speed over PT's", _middle(row.speed), 2.4)
    for lengths, asked in (("fixed:17", 0.45), ("fixed:45", 0.50)):
        row = figures.one("train", SMALL, lengths)
        yield Bound(f"DePT's training at {lengths}: fraction of the matmul peak", _fraction(row), asked)
    base = figures.one("train", BASE, "fixed:45")
    yield Bound("T5-base's shape at fixed:45: fraction of the matmul peak", _fraction(base), 0.55)
    for backbone, asked in ((SMALL, 1.8), (GPT2, 3.0)):
        row = figures.one("decoding", backbone, "fixed:17")
        yield Bound(f"label scoring beside the release's way, {backbone}", _middle(row.speed), asked)
    cached = figures.one("inference", GPT2, "fixed:45", "PT", "cached")
    yield Bound("GPT-2, cached prompt: PT's time over no prompt's", _middle(cached.time), 1.25, most=True)


def everything(found: Sequence[Summary]) -> str:
    rows = []
    for row in found:
        ratio = row.speed
        span = "-" if ratio is None else f"{ratio.median:.2f} ({ratio.least:.2f} to {ratio.greatest:.2f})"
        fraction = "-" if row.fraction_of_peak is None else f"{row.fraction_of_peak:.0%}"
        memory = f"{row.peak_bytes / 2**20:,.0f}"
        rows.append([row.group.name, row.variant.name, f"{row.step_s * 1000:,.0f}", f"{row.samples_per_s:.1f}",
                     span, fraction, memory])  # fmt: skip
    header = ["what", "variant", "ms a batch", "samples/s", "speed over the baseline's", "of matmul peak", "peak MiB"]
    return table(header, rows)


PADDED = Section(
    "padded",
    "Time and memory, padded to 256 as in the paper",
    "the ratios and the fraction in the table.",
    lambda: measured(padded(), padded_bounds),
)
GROUPED = Section(
    "speed",
    "Time, in batches of like length",
    "the ratios and fractions in the table.",
    lambda: measured(grouped(), grouped_bounds),
)
