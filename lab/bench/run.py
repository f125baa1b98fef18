"""`dept-lab bench`: methods beside PT, each measurement in a fresh process, A B A B; all is kept at once."""

import dataclasses
import json
import os
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from dept.backbones.tower_sizes import TowerInfo
from dept.basics.files import write_json
from dept.basics.provenance import checkout, version
from dept.errors import ConfigError, RunError
from lab.basics.child import Child
from lab.basics.guards import stop_signals
from lab.basics.machine import machine
from lab.basics.processes import our_environment, our_python
from lab.basics.progress import Progress
from lab.bench.batches import source_batches
from lab.bench.config import BenchConfig, Group
from lab.bench.cost import expected_seconds
from lab.bench.plan import MeasuredPair, MeasureJob, Measurement, Pair, groups, job_of, pairs, tower_of
from lab.bench.summary import best_matmul, pass_seconds, summarise
from lab.bench.variant import Variant

SCHEMA_VERSION = 1
QUICK_SECONDS = 160.0  # no pair begins that would end later
_PACKAGES = ("dept-lab", "torch", "transformers", "numpy", "plotly")


@dataclass
class Bench:
    """A benchmark as far as it has come; `to_dict` is the content of bench.json.

    Attributes:
        measured: in the order of measuring.
        skipped: pairs that `--quick` had no time for.
        status: running, completed, stopped or failed.
        towers: the image encoders whose features are read, for tasks with images.
    """

    config: BenchConfig
    measured: list[MeasuredPair] = field(default_factory=list)
    skipped: list[Pair] = field(default_factory=list)
    status: str = "running"
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    elapsed_s: float = 0.0
    machine: dict[str, Any] = field(default_factory=lambda: machine())
    versions: dict[str, str] = field(
        default_factory=lambda: {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
    )
    commit: dict[str, Any] | None = None
    towers: list[TowerInfo] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Times in seconds, memory in bytes, FLOPs as counted; ratios are B over A of pairs."""
        return {
            "schema_version": SCHEMA_VERSION,
            "status": self.status,
            "started": self.started,
            "elapsed_s": round(self.elapsed_s, 1),
            "machine": self.machine,
            "versions": self.versions,
            "commit": self.commit,
            "settings": dataclasses.asdict(self.config),
            "image_encoders": [dataclasses.asdict(tower) for tower in self.towers],
            "matmul_peak_flops_per_s": best_matmul(self.measured),
            "summary": [row.to_dict() for row in summarise(self.measured)],
            "pairs": [pair.to_dict() for pair in self.measured],
            "no_time_for": [pair.to_dict() for pair in self.skipped],
        }


def run_bench(
    config: BenchConfig,
    output_dir: Path,
    console: Console | None = None,
    measure: Callable[[MeasureJob], Measurement] | None = None,
) -> Bench:
    """Measure all that the settings ask for; bench.json holds each pair as soon as it is done.

    Ctrl-C ends it cleanly: no process stays, what was measured is kept, `status` says stopped.

    Args:
        measure: how a job is measured, in place of a fresh process each (`measure_apart`).

    Raises:
        DeptError: settings, backbones or rows that cannot be used, or a folder that holds a benchmark already
            (nothing has been written then); a measurement that failed for another reason than memory.
    """
    result = output_dir / "bench.json"
    if result.exists():
        raise RunError(f"{output_dir} already holds a benchmark: choose another --output-dir")
    plan = schedule(config)
    batches = {group: source_batches(config, group) for group in dict.fromkeys(pair.group for _, pair in plan)}
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise RunError(f"{output_dir} cannot be made ({fault.strerror}): choose another --output-dir") from fault
    bench = Bench(config, commit=checkout(), towers=_towers(config, [pair for _, pair in plan]))
    expected = [_expected(config, pair, batches[pair.group]) for _, pair in plan]
    started = time.monotonic()

    def keep(status: str) -> None:
        bench.status, bench.elapsed_s = status, time.monotonic() - started
        write_json(result, bench.to_dict())

    keep("running")
    status = "failed"
    try:
        with stop_signals(), Progress(len(plan), work=sum(expected), console=console) as progress:
            for index, (repeat, pair) in enumerate(plan):
                work = expected[index]
                if config.quick and index and progress.elapsed_s + progress.seconds_for(work) > QUICK_SECONDS:
                    bench.skipped.append(pair)
                    left_out = f"{pair.group.name}, {pair.variant.name}: left out, no time in --quick"
                    progress.passed_over(left_out, work)
                    continue
                _measure_pair(bench, pair, repeat, batches[pair.group], progress, measure or measure_apart)
                keep("running")
                progress.ended(_in_a_line(bench.measured[-1]), work)
        status = "completed"
    except KeyboardInterrupt:
        status = "stopped"
    finally:
        keep(status)
    return bench


def schedule(config: BenchConfig) -> list[tuple[int, Pair]]:
    """(repeat, pair) in the order of measuring: every pair once, then every pair again.

    The two of a pair follow each other, so that a machine that slows down slows both. What `--quick` adds if there
    is time comes last, once.

    Raises:
        DeptError: an unknown backbone, a budget that cannot be, an image encoder for text.
    """
    found = [pair for group in groups(config) for pair in pairs(config, group)]
    if config.vision_backbone is not None and not _towers(config, found):
        raise ConfigError("--vision-backbone goes with a task that has images: --task vqa or coco_captions")
    asked = [pair for pair in found if pair.group.backbone in config.backbones]
    extra = [pair for pair in found if pair.group.backbone not in config.backbones]
    return [(repeat, pair) for repeat in range(config.repeats) for pair in asked] + [(0, pair) for pair in extra]


def _towers(config: BenchConfig, pairs: Sequence[Pair]) -> list[TowerInfo]:
    groups = dict.fromkeys(pair.group for pair in pairs)
    return list(dict.fromkeys(tower for group in groups if (tower := tower_of(config, group)) is not None))


def _measure_pair(
    bench: Bench,
    pair: Pair,
    repeat: int,
    batches: Sequence[Sequence[int]],
    progress: Progress,
    measure: Callable[[MeasureJob], Measurement],
) -> None:
    """A, then B; A is kept when B is interrupted."""

    def measured(variant: Variant) -> Measurement:
        progress.now(f"{pair.group.name} {variant.name}")
        before = _measurements(bench.measured, pair.group, variant)
        too_large = next((m for m in before if not m.fits), None)
        if too_large is not None:
            return too_large
        job = job_of(bench.config, pair.group, variant, batches)
        return measure(dataclasses.replace(job, count_flops=not before, parent_pid=os.getpid()))

    baseline = measured(pair.baseline)
    bench.measured.append(MeasuredPair(pair, repeat, baseline))
    bench.measured[-1] = MeasuredPair(pair, repeat, baseline, measured(pair.variant))


def _measurements(measured: Sequence[MeasuredPair], group: Group, variant: Variant) -> list[Measurement]:
    sides = [
        side
        for done in measured
        if done.pair.group == group
        for of, side in ((done.pair.baseline, done.baseline), (done.pair.variant, done.variant))
        if of == variant
    ]
    return [side for side in sides if side is not None]


def measure_apart(job: MeasureJob) -> Measurement:
    """One measurement in a fresh process, which never outlives this call.

    A process that the system kills did not fit the memory.

    Raises:
        RunError: the measurement failed; its own last line says why.
    """
    with tempfile.TemporaryDirectory(prefix="dept-bench-") as folder:
        command, log = our_python("lab.bench.worker"), Path(folder) / "log.txt"
        child = Child(command, log, question=json.dumps(job.to_dict()), environment=our_environment())
        try:
            code = child.wait()
        finally:
            child.kill()
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
            return Measurement(fits=False, reason="the system ended the measurement: out of memory")
        if code:
            raise RunError(f"measuring {job.backbone}, {job.variant.name}: {child.reason()}")
    values = json.loads(child.answer)
    return Measurement(**{**values, "pass_seconds": tuple(values["pass_seconds"])})


def _expected(config: BenchConfig, pair: Pair, batches: Sequence[Sequence[int]]) -> float:
    """Seconds that a pair is expected to take."""
    return sum(
        expected_seconds(job_of(config, pair.group, variant, batches)) for variant in (pair.baseline, pair.variant)
    )


def _in_a_line(done: MeasuredPair) -> str:
    parts = [
        f"{variant.name} {_short(side)}"
        for variant, side in ((done.pair.baseline, done.baseline), (done.pair.variant, done.variant))
    ]
    return f"{done.pair.group.name}: {'; '.join(parts)}"


def _short(measurement: Measurement | None) -> str:
    if measurement is None:
        return "not measured"
    if not measurement.fits:
        return f"does not fit ({measurement.reason})"
    seconds = pass_seconds(measurement) / measurement.steps
    return f"{seconds:.3g} s a batch, peak {(measurement.peak_bytes or 0) / 2**20:,.0f} MiB"
