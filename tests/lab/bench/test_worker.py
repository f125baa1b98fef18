"""Measurements of the benchmark: every kind of them, too little memory, fresh processes that never stay behind."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dept.backbones.load import load_backbone
from dept.backbones.tower_sizes import TowerInfo
from dept.errors import RunError
from dept.methods.known_facts import known_facts
from lab.bench import worker as bench_worker
from lab.bench.config import BenchConfig, Group
from lab.bench.cost import pass_cost
from lab.bench.plan import MeasureJob, Measurement, job_of, pairs
from lab.bench.run import measure_apart, run_bench
from lab.bench.variant import BACKBONE, Variant, variant_of
from lab.cli import main
from tests.support import cases

PT = variant_of("prompt_tuning", {"num_virtual_tokens": 100})
DEPT = variant_of("dept", {"num_virtual_tokens": 20, "rank": 53})

KINDS = {
    "train": ("train", DEPT),
    "memory": ("memory", PT),
    "plain": ("inference", DEPT),
    "cached": ("inference", dataclasses.replace(PT, cache_prompt=True)),
    "backbone": ("inference", variant_of(BACKBONE, cache_prompt=True)),
    "release": ("decoding", dataclasses.replace(DEPT, decoding="release")),
}
WITH_IMAGES = {**{name: KINDS[name] for name in ("train", "backbone", "release")}, "plain": ("inference", PT)}
METHODS = ("bitfit", "lora", "adept", "lopt", "dept+lora")
QUICK = (("bitfit", "tiny_gpt2"), ("lora", "tiny_t5"))


def rotated(names: Iterable[str], families: Sequence[str]) -> list[Any]:
    """Every name on every family; the quick tests take each name on one of them."""
    names = [*names]
    return cases(
        itertools.product(names, families),
        lambda name, family: family == families[names.index(name) % len(families)],
    )


def made(seconds: float) -> Measurement:
    return Measurement(fits=True, pass_seconds=(seconds,), samples=16, steps=1, peak_bytes=100, matmul_peak=1e3)


def tiny_job(folder: Path, what: str = "train", variant: Variant = DEPT) -> MeasureJob:
    config = BenchConfig(batch_size=3, passes=2, threads=1)
    group = Group(what, f"random:{folder}", "fixed:6")
    return dataclasses.replace(job_of(config, group, variant, [[6, 6, 6], [3, 2, 4]]), count_flops=True)


@pytest.fixture
def quick_peak(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(bench_worker, "PEAK_SIZES", (64,))
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("quick_peak")
@pytest.mark.parametrize(("kind", "family"), rotated(KINDS, ["tiny_t5", "tiny_gpt2", "tiny_llama"]))
def test_every_kind_of_measurement(kind: str, family: str, request: pytest.FixtureRequest) -> None:
    what, variant = KINDS[kind]
    found = bench_worker.measure(tiny_job(request.getfixturevalue(family), what, variant))
    assert found.fits
    assert len(found.pass_seconds) == (1 if what == "memory" else 2)
    assert (found.samples, found.steps) == (6, 2)
    assert found.flops is not None and found.flops > 0
    assert found.matmul_peak is not None and found.matmul_peak > 0
    assert (
        found.trainable_parameters
        == {"dept": 20 * 32 + (256 + 32) * 53, "prompt_tuning": 3200, "backbone": 0}[variant.method]
    )


@pytest.mark.usefixtures("quick_peak")
@pytest.mark.parametrize(
    ("method", "what", "family"),
    cases(
        itertools.product(METHODS, ["train", "inference", "decoding"], ["tiny_t5", "tiny_gpt2"]),
        lambda method, what, family: (method, family) in QUICK,
    ),
)
def test_every_method_is_measured(method: str, what: str, family: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(family)
    small = BenchConfig(batch_size=2, passes=1, threads=1, lengths=("fixed:6",), max_seq_length=16)
    config = dataclasses.replace(small, virtual_tokens=(20,), methods=(method,))
    group = Group(what, f"random:{folder}", "fixed:6")
    variant = pairs(config, group)[-1].variant
    job = dataclasses.replace(job_of(config, group, variant, [[6, 6]]), count_flops=True)
    measured, facts = bench_worker.measure(job), known_facts(job.backbone, 16)
    assert measured.fits and measured.flops is not None
    assert measured.trainable_parameters == sum(variant.config(16).resolved(facts).counts(facts).values())
    cost = pass_cost(job)
    assert cost is not None and cost.flops == pytest.approx(measured.flops, rel=0.15)


@pytest.mark.usefixtures("quick_peak")
@pytest.mark.parametrize(("kind", "family"), rotated(WITH_IMAGES, ["tiny_t5", "tiny_gpt2"]))
def test_images_stand_before_every_source(kind: str, family: str, request: pytest.FixtureRequest) -> None:
    what, variant = WITH_IMAGES[kind]
    blind = tiny_job(request.getfixturevalue(family), what, variant)
    job = dataclasses.replace(blind, tower=TowerInfo("made up", width=24, positions=16, flops=0))
    assert MeasureJob.from_dict(json.loads(json.dumps(job.to_dict()))) == job
    assert job.width((3, 2, 4)) == blind.width((3, 2, 4)) + 16
    seeing, without = bench_worker.measure(job), bench_worker.measure(blind)
    assert seeing.fits and seeing.flops is not None and without.flops is not None
    cost, cost_without = pass_cost(job), pass_cost(blind)
    assert cost is not None and cost_without is not None
    assert seeing.flops - without.flops == pytest.approx(cost.flops - cost_without.flops, rel=0.1)
    assert (seeing.trainable_parameters or 0) - (without.trainable_parameters or 0) == 32 * 24 + 32


@pytest.mark.usefixtures("quick_peak")
@pytest.mark.parametrize("kind", ["tiny_t5", "tiny_gpt2"])
@pytest.mark.parametrize("what", ["train", "inference"])
def test_flops_counted_on_few_rows_are_those_of_all(kind: str, what: str, request: pytest.FixtureRequest) -> None:
    job = tiny_job(request.getfixturevalue(kind), what)
    model = bench_worker.build(job.variant, load_backbone(job.backbone)[0], job.max_seq_length)
    batches = bench_worker.random_batches(job, model)
    if what == "train":
        step = bench_worker.training_step(model)
    else:
        step = bench_worker.inference_step(model.requires_grad_(False), job.variant)
    step(batches[0])
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        for batch in batches:
            step(batch)
    assert bench_worker.counted_flops(step, batches) == counter.get_total_flops()


@pytest.mark.usefixtures("quick_peak")
def test_inference_works_as_the_variant_says(tiny_gpt2: Path) -> None:
    """The cached way computes fewer positions than the plain one; no prompt at all the fewest."""
    flops = [
        bench_worker.measure(dataclasses.replace(tiny_job(tiny_gpt2, "inference", variant), passes=1)).flops or 0
        for variant in (PT, dataclasses.replace(PT, cache_prompt=True), variant_of(BACKBONE, cache_prompt=True))
    ]
    assert flops[0] > 2 * flops[1] > 2 * flops[2]


def test_a_job_that_cannot_fit_is_not_started(tiny_t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_worker, "available_bytes", lambda device: 1000)
    monkeypatch.setattr(bench_worker, "load_backbone", lambda *args, **kwargs: pytest.fail("loaded all the same"))
    found = bench_worker.measure(tiny_job(tiny_t5))
    assert not found.fits
    assert found.reason is not None and "0.0 GiB are free" in found.reason


def test_running_out_of_memory_is_no_failure(tiny_t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(bench_worker, "load_backbone", refuse)
    assert bench_worker.measure(tiny_job(tiny_t5)).reason == "out of memory"


def worker_that(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str) -> None:
    """Let `measure_apart` start this code in place of the worker."""
    script = tmp_path / "worker.py"
    script.write_text(code)
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **kwargs: start([command[0], str(script)], **kwargs))


def test_a_killed_measurement_did_not_fit(tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker_that(monkeypatch, tmp_path, "import os, sys\nsys.stdin.read()\nos.kill(os.getpid(), 9)")
    found = measure_apart(tiny_job(tiny_t5))
    assert not found.fits
    assert found.reason is not None and "out of memory" in found.reason


def test_another_fault_is_told_by_its_last_line(
    tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker_that(
        monkeypatch, tmp_path, "import sys\nsys.stdin.read()\nsys.exit('Traceback\\nValueError: no such thing')"
    )
    with pytest.raises(RunError, match="DePT m=20: ValueError: no such thing"):
        measure_apart(tiny_job(tiny_t5))


def test_what_does_not_fit_is_said_and_the_rest_goes_on(
    tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def measure(job: MeasureJob) -> Measurement:
        asked.append(job.variant.name)
        return Measurement(False, "too large") if job.variant.method == "prompt_tuning" else made(1.0)

    monkeypatch.setattr("lab.bench.run.measure_apart", measure)
    config = BenchConfig(what=("train",), backbones=(f"random:{tiny_t5}",), virtual_tokens=(20,), repeats=2)
    bench = run_bench(config, tmp_path / "bench")
    assert asked == ["PT", "DePT m=20", "DePT m=20"], "what did not fit is not tried again"
    assert bench.status == "completed"
    found = json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert [pair["baseline"]["fits"] for pair in found["pairs"]] == [False, False]
    with pytest.raises(RunError, match="already holds a benchmark"):
        run_bench(config, tmp_path / "bench")


def test_a_stop_keeps_what_was_measured(tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([made(2.0), made(1.0), made(2.0)])

    def measure(job: MeasureJob) -> Measurement:
        found = next(answers, None)
        if found is None:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr("lab.bench.run.measure_apart", measure)
    config = BenchConfig(what=("train",), backbones=(f"random:{tiny_t5}",), virtual_tokens=(20,), repeats=3)
    bench = run_bench(config, tmp_path)
    assert bench.status == "stopped"
    found = json.loads((tmp_path / "bench.json").read_text())
    assert [pair["variant"] is not None for pair in found["pairs"]] == [True, False]
    assert found["summary"][1]["time"]["median"] == 0.5


@pytest.mark.slow
def test_a_run_through_fresh_processes(tiny_t5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "bench"
    flags = ["--what", "train", "--backbones", f"random:{tiny_t5}", "--virtual-tokens", "20", "--lengths", "task:sst2"]
    flags += ["--batch-size", "2", "--repeats", "1", "--passes", "1", "--threads", "1", "--output-dir", str(output)]
    assert main(["bench", *flags]) == 0
    assert "Report:" in capsys.readouterr().out
    found = json.loads((output / "bench.json").read_text())
    assert found["status"] == "completed"
    assert found["schema_version"] == 1
    assert found["settings"]["threads"] == 1
    [pair] = found["pairs"]
    assert pair["baseline"]["threads"] == pair["variant"]["threads"] == 1
    assert pair["baseline"]["flops"] > pair["variant"]["flops"] > 0
    assert {row["variant"]["method"] for row in found["summary"]} == {"prompt_tuning", "dept"}
    assert (output / "bench.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind(stop: signal.Signals, tiny_t5: Path, tmp_path: Path) -> None:
    flags = ["--what", "train", "--backbones", f"random:{tiny_t5}", "--virtual-tokens", "20", "--threads", "1"]
    command = [
        sys.executable,
        "-m",
        "lab.cli",
        "bench",
        *flags,
        "--passes",
        "100000",
        "--output-dir",
        str(tmp_path / "b"),
    ]
    bench = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    worker = wait_for_child(bench.pid)
    os.kill(bench.pid, stop)
    complaint = bench.communicate(timeout=60)[1]
    assert bench.returncode == (-9 if stop == signal.SIGKILL else 130), complaint
    assert "Traceback" not in complaint
    psutil.wait_procs([worker], timeout=20)
    assert not worker.is_running()
    status = json.loads((tmp_path / "b" / "bench.json").read_text())["status"]
    assert status == ("running" if stop == signal.SIGKILL else "stopped")


def wait_for_child(pid: int) -> psutil.Process:
    """The worker, once it has begun to watch its parent."""
    for _ in range(600):
        for child in psutil.Process(pid).children():
            if "lab.bench.worker" in " ".join(child.cmdline()) and child.num_threads() > 1:
                time.sleep(1)
                return child
        time.sleep(0.1)
    raise AssertionError("no measurement was started")
