"""DePT beside PT in time and memory, by the project's own benchmark; also writes docs/performance.md's table."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from lab.bench import run_bench
from lab.bench_plan import BenchConfig
from lab.bench_summary import Ratio, Summary, summarise
from tests.acceptance.section import Outcome, Section, shared, table

SMALL, BASE, GPT2 = "random:t5-small", "random:t5-base", "random:gpt2"


def questions() -> list[BenchConfig]:
    """What is measured; each is a run of `dept-lab bench`."""
    common = BenchConfig(backbones=(SMALL,), virtual_tokens=(20,), repeats=3, passes=2)
    rows, tokenizer = str(shared() / "data"), str(shared() / "t5_tokenizer")
    sst2 = dataclasses.replace(common, lengths=("task:sst2",), data=rows, tokenizer=tokenizer)
    return [
        dataclasses.replace(common, what=("train", "inference", "memory"), lengths=("padded:256",)),
        dataclasses.replace(sst2, what=("train", "inference")),
        dataclasses.replace(common, what=("train",), lengths=("fixed:17", "fixed:45")),
        dataclasses.replace(common, what=("train",), backbones=(BASE,), lengths=("fixed:45",), repeats=2),
        dataclasses.replace(common, what=("decoding",), backbones=(SMALL, GPT2), lengths=("fixed:17",)),
        dataclasses.replace(common, what=("inference",), backbones=(GPT2,), lengths=("fixed:45",)),
    ]


def measure() -> Outcome:
    found: list[Summary] = []
    with tempfile.TemporaryDirectory(prefix="dept-bench-") as folder:
        for index, question in enumerate(questions()):
            bench = run_bench(question, Path(folder) / str(index), Console(stderr=True))
            found.extend(summarise(bench.measured))
    bounds = list(checks(found))
    lines = [
        [what, f"{value:.2f}", f"{'at most' if most else 'at least'} {bound:g}", "yes" if good else "NO"]
        for what, value, bound, most, good in bounds
    ]
    text = (
        "Median ratios of pairs measured in turn, each in a fresh process; random weights, T5-small's shape and batch "
        "16 unless said; m = 20 beside PT with l = 100.\n\n"
        + table(["figure", "measured", "asked", "met"], lines)
        + "\n\nEvery measurement:\n\n"
        + everything(found)
    )
    return Outcome(all(good for *_, good in bounds), text)


def checks(found: Sequence[Summary]) -> list[tuple[str, float, float, bool, bool]]:
    """(figure, measured, bound, whether the bound is the most, met)."""
    padded, short = "padded:256", "task:sst2"
    dept = "DePT m=20"
    results = []

    def middle(ratio: Ratio | None) -> float | None:
        return None if ratio is None else ratio.median

    def add(what: str, value: float | None, bound: float, most: bool = False) -> None:
        value = float("nan") if value is None else value
        results.append((what, value, bound, most, value <= bound if most else value >= bound))

    def one(what: str, backbone: str, lengths: str, name: str, way: str = "") -> Summary:
        return next(
            row
            for row in found
            if (row.group.what, row.group.backbone, row.group.lengths, row.group.way) == (what, backbone, lengths, way)
            and row.variant.name == name
        )

    train, inference = one("train", SMALL, padded, dept), one("inference", SMALL, padded, dept)
    memory = one("memory", SMALL, padded, dept)
    add("padded to 256: DePT's training time over PT's", middle(train.time), 0.75, most=True)
    add("padded to 256: DePT's inference speed over PT's", middle(inference.speed), 1.3)
    add("padded to 256: DePT's peak memory over PT's", middle(memory.memory), 0.80, most=True)
    for what in ("train", "inference"):
        row = one(what, SMALL, short, dept)
        add(f"SST-2's lengths: DePT's {what} speed over PT's", middle(row.speed), 2.4)
    for lengths, bound in (("fixed:17", 0.45), ("fixed:45", 0.50), (padded, 0.45)):
        row = one("train", SMALL, lengths, dept)
        add(f"DePT's training at {lengths}: fraction of the matmul peak", row.fraction_of_peak, bound)
    base = one("train", BASE, "fixed:45", dept)
    add("T5-base's shape at fixed:45: fraction of the matmul peak", base.fraction_of_peak, 0.55)
    for backbone, bound in ((SMALL, 1.8), (GPT2, 3.0)):
        row = one("decoding", backbone, "fixed:17", dept)
        add(f"label scoring beside the release's way, {backbone}", middle(row.speed), bound)
    cached = one("inference", GPT2, "fixed:45", "PT", "cached")
    add("GPT-2, cached prompt: PT's time over no prompt's", middle(cached.time), 1.25, most=True)
    return results


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


SECTION = Section(
    "speed",
    "Time and memory",
    "the ratios and fractions in the table.",
    measure,
)
