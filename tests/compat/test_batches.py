"""A stored batch, sweep and benchmark: what is finished stays finished, and what was measured is read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from lab.cli import main
from tests.compat.helpers import (
    STORED,
    SWEEP,
    batch_flags,
    contents,
    copied,
    read,
    read_bench,
    sweep_flags,
    write_report,
)


def test_a_finished_batch_is_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(STORED / "batch.yaml", tmp_path)
    batch = copied("batch", tmp_path)
    before = {name: contents(batch / name) for name in ("runs", "notebooks")}
    assert main(batch_flags(tmp_path)) == 0
    assert "2 of 2 runs completed (2 of them before)" in capsys.readouterr().out
    assert {name: contents(batch / name) for name in ("runs", "notebooks")} == before
    saved = read(batch / "batch.json")
    assert (saved["status"], len(saved["jobs"])) == ("completed", 2)
    assert [(job["status"], job["attempts"], job["earlier"]) for job in saved["jobs"]] == [("completed", 0, False)] * 2
    stored = {(job["key"], job["name"]) for job in read(STORED / "batch" / "batch.json")["jobs"]}
    assert {(job["key"], job["name"]) for job in saved["jobs"]} == stored
    assert (batch / "index.html").stat().st_size > 0


def test_a_finished_sweep_is_not_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(STORED / SWEEP, tmp_path)
    sweep = copied("sweep", tmp_path)
    before = contents(sweep / "runs")
    assert main(sweep_flags(tmp_path)) == 0
    assert "nothing is left to do" in capsys.readouterr().err
    assert contents(sweep / "runs") == before
    saved, stored = read(sweep / "sweep.json"), read(STORED / "sweep" / "sweep.json")
    assert saved["status"] == "completed"
    assert saved["plan"] == stored["plan"]
    for choice in (*saved["choices"], *stored["choices"]):
        choice["marks"].sort()  # a set of reasons: their order is no promise
    assert saved["choices"] == stored["choices"]


def test_a_benchmark_is_read_and_reported(tmp_path: Path) -> None:
    file = copied("bench", tmp_path) / "bench.json"
    bench, stored = read_bench(file), read(file)
    assert stored["schema_version"] == 1
    written = bench.to_dict()
    assert (bench.status, len(bench.measured)) == ("completed", 2)
    for name in ("settings", "summary", "pairs", "machine", "versions", "matmul_peak_flops_per_s"):
        _assert_holds(written[name], stored[name], name)
    page = write_report(bench, tmp_path)
    assert "DePT" in page.read_text(encoding="utf-8")


def _assert_holds(found: Any, stored: Any, where: str) -> None:
    """A later version may write more keys; those that are stored keep their values."""
    if isinstance(stored, dict):
        for key, value in stored.items():
            _assert_holds(found[key], value, f"{where}.{key}")
    elif isinstance(stored, list):
        assert len(found) == len(stored), where
        for index, value in enumerate(stored):
            _assert_holds(found[index], value, f"{where}.{index}")
    else:
        assert found == stored, where
