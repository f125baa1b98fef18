"""Stored run folders are listed, read, returned as they are when resumed, and their adapters still answer."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from dept.cli import main as dept_main
from lab.cli import main as lab_main
from tests.compat.helpers import COMPLETED, FINGERPRINTS, STOPPED, STORED, contents, copied, lines, read, read_run

# name: (status, task, method, steps, validation, test, trainable parameters, num_virtual_tokens, rank)
FACTS: dict[str, tuple[Any, ...]] = {
    "dept-completed": ("completed", "rte", "dept", 8, 87.5, 100.0, 992, 4, 3),
    "pt-completed": ("completed", "rte", "prompt_tuning", 8, 62.5, 75.0, 512, 4, 0),
    "vqa-completed": ("completed", "vqa", "dept", 60, 25.0, 50.0, 17_504, 4, 3),
    "dept-stopped": ("stopped", "rte", "dept", 4, 62.5, None, 992, 4, 3),
    "pt-stopped": ("stopped", "rte", "prompt_tuning", 4, 62.5, None, 512, 4, 0),
}
RATES = {
    "dept-completed": ["prompt_lr", "low_rank_lr"],
    "pt-completed": ["prompt_lr"],
    "vqa-completed": ["prompt_lr", "low_rank_lr", "projection_lr"],
}


def test_every_stored_run_has_its_facts_here() -> None:
    assert set(FACTS) == {*COMPLETED, *STOPPED} == {path.name for path in (STORED / "runs").iterdir()}


def test_runs_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert lab_main(["runs", "list", str(STORED / "runs"), "--json"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "", "no folder is damaged"
    found = {
        Path(run["path"]).name: tuple(
            run[name] for name in ("status", "task", "method", "steps", "validation", "test")
        )
        for run in json.loads(printed.out)
    }
    assert found == {name: facts[:6] for name, facts in FACTS.items()}
    assert lab_main(["runs", "list", str(STORED / "runs")]) == 0, "as a table too"


@pytest.mark.parametrize("name", FACTS)
def test_a_result_is_read_with_its_numbers(name: str) -> None:
    folder = STORED / "runs" / name
    run, stored = read_run(folder), read(folder / "result.json")
    assert run.result is not None
    parameters, tokens, rank = FACTS[name][6:]
    assert (stored["trainable_parameters"], stored["num_virtual_tokens"], stored["rank"]) == (parameters, tokens, rank)
    # A later version may fill in settings that it has and the file has not.
    assert {key: value for key, value in run.result.items() if key != "config"}.items() >= {
        key: value for key, value in stored.items() if key != "config"
    }.items()
    assert run.result["config"].items() >= stored["config"].items()
    assert run.config.items() >= read(folder / "config.json").items()
    assert set(run.config[FINGERPRINTS]) >= {"data", "task", "backbone"}


@pytest.mark.parametrize("name", COMPLETED)
def test_metrics_are_read_by_their_columns(name: str) -> None:
    folder = STORED / "runs" / name
    run, stored = read_run(folder), lines(folder / "metrics.jsonl")
    train = [line for line in stored if line["split"] == "train"]
    for column in ("loss", "label_loss", *RATES[name]):
        steps, values = run.curve("train", column)
        assert steps == list(range(1, FACTS[name][3] + 1))
        assert values == [line[column] for line in train]
    metric = read(folder / "result.json")["main_metric"]
    assert run.curve("test", metric) == ([FACTS[name][3]], [FACTS[name][5]])


def test_runs_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "compared.html"
    runs = [str(STORED / "runs" / name) for name in ("dept-completed", "pt-completed")]
    assert lab_main(["runs", "compare", *runs, "--output", str(page)]) == 0
    assert "87.5" in capsys.readouterr().out
    assert page.stat().st_size > 0


@pytest.mark.parametrize("name", COMPLETED)
def test_a_completed_run_is_returned_as_it_is(name: str, tmp_path: Path) -> None:
    run = copied(f"runs/{name}", tmp_path)
    before = contents(run)
    assert dept_main(["train", "--resume", "--quiet", "--output-dir", str(run)]) == 0
    assert contents(run) == before


@pytest.mark.parametrize("name", COMPLETED)
def test_a_completed_run_is_evaluated(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = STORED / "runs" / name
    result = read(folder / "result.json")
    for split in ("validation", "test"):
        assert dept_main(["evaluate", str(folder), "--split", split, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["metrics"] == pytest.approx(result["metrics"][split])
        assert (found["rows"], found["decoding"]) == (result["data"]["rows"][split], result["decoding"])


@pytest.mark.parametrize("name", COMPLETED)
def test_a_completed_run_predicts_what_it_did(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = STORED / "runs" / name
    stored = read(folder / "predictions.json")
    flags = [part for row in stored for part in ("--text", row["source"])]
    for index, row in enumerate(stored):
        if row["image"] is not None:
            picture = tmp_path / f"{index}.jpg"
            picture.write_bytes(base64.b64decode(row["image"]))
            flags += ["--image", str(picture)]
    assert dept_main(["predict", str(folder), *flags, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prediction"] for row in found] == [row["prediction"] for row in stored]
