"""A sweep from its command: what it says first, what it tests, its files, and going on after a kill."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from dept.basics.files import read_json
from dept.errors import RunError
from lab.cli import main
from lab.estimate.pace import Pace
from lab.jobs.job import Resources
from lab.jobs.pruning import curve
from lab.sweep.grid import Sweep, read_sweep
from lab.sweep.outcome import SweepPlan, Swept
from lab.sweep.run import preview, run_sweep, to_do
from tests.lab.sweep.helpers import InProcess

ROOT = Path(__file__).resolve().parents[3]
SETTINGS = {
    "data": "sample",
    "num_virtual_tokens": 4,
    "budget_tokens": 20,
    "max_seq_length": 64,
    "max_steps": 4,
    "eval_every": 2,
    "batch_size": 4,
    "low_rank_lr": 0.01,
    "max_train_rows": 16,
    "max_validation_rows": 16,
    "max_test_rows": 8,
}


@pytest.fixture
def grid(tiny_t5: Path, tmp_path: Path) -> Path:
    """Two tasks, three rates, one seed."""
    values = {
        "about": "a small one",
        "settings": {**SETTINGS, "backbone": str(tiny_t5)},
        "compare": {"task": ["rte", "cb"]},
        "choose": {"prompt_lr": [0.001, 0.3, 3.0]},
    }
    file = tmp_path / "small.json"
    file.write_text(json.dumps(values))
    return file


def outcome(folder: Path) -> list[tuple[Any, Any, Any, Any]]:
    """Of each row: what is compared, the choice, its validation and test."""
    saved = read_json(folder / "sweep.json")
    assert saved["status"] == "completed"
    return [
        (choice["group"], choice["chosen"]["point"], choice["chosen"]["validation"], choice["chosen"]["test"])
        for choice in saved["choices"]
    ]


def results(folder: Path) -> list[dict[str, Any]]:
    return [read_json(file) for file in sorted(folder.glob("runs/*/result.json"))]


def test_only_the_chosen_are_tested_and_the_files_say_so(grid: Path, tmp_path: Path, one_thread: None) -> None:
    plan, folder, engine = SweepPlan(read_sweep(str(grid))), tmp_path / "sweep", InProcess()
    swept = run_sweep(plan, folder, engine)
    assert swept.status == "completed"
    assert [job.test for job in engine.made] == [False] * 6 + [True] * 2
    tested = [result for result in results(folder) if result["metrics"]["test"] is not None]
    assert len(results(folder)) == 6
    assert len(tested) == 2
    for result in tested:
        rivals = [one for one in results(folder) if one["task"] == result["task"]]
        best = max(one["metrics"]["validation"][one["main_metric"]] for one in rivals)
        assert result["metrics"]["validation"][result["main_metric"]] == best

    saved = read_json(folder / "sweep.json")
    assert saved["plan"]["compare"] == {"task": ["rte", "cb"]}
    assert [choice["group"] for choice in saved["choices"]] == [{"task": "rte"}, {"task": "cb"}]
    for choice in saved["choices"]:
        assert choice["chosen"]["test"]["deviation"] is None, "one seed"
        assert {"sample data", "folder backbone", "fewer steps"} <= set(choice["marks"])
        assert [candidate["status"] for candidate in choice["candidates"]] == ["completed"] * 3
        assert all((folder / run / "result.json").is_file() for run in choice["chosen"]["runs"])
    page, text = (folder / "sweep.html").read_text(), (folder / "sweep.md").read_text()
    for report in (page, text):
        assert "sample data" in report
        assert "a small one" in report
        assert "no reproduction" in report
    assert 'src="http' not in page

    again = InProcess()
    assert run_sweep(plan, folder, again).status == "completed"
    assert again.made == [], "nothing is done twice"
    assert preview(plan, folder, workers=1, pace=None, price_per_hour=None) == []


def test_a_grid_over_the_settings_of_another_method(grid: Path, tmp_path: Path, one_thread: None) -> None:
    settings = {**read_sweep(str(grid)).settings, "task": "cb", "method": "lora", "lora_lr": 0.01}
    del settings["low_rank_lr"], settings["num_virtual_tokens"]
    plan, folder = SweepPlan(Sweep("own", settings=settings, choose={"lora_rank": (2, 4)})), tmp_path / "sweep"
    swept = run_sweep(plan, folder, InProcess())
    assert swept.status == "completed"
    [(_, point, _, test)] = outcome(folder)
    assert point["lora_rank"] in (2, 4) and test is not None
    report = (folder / "sweep.md").read_text()
    assert f"| lora_rank {point['lora_rank']} | LoRA: r = {point['lora_rank']} | LoRA's matrices 0.01 |" in report
    [line, *rest] = preview(plan, tmp_path / "other", workers=1, pace=Pace(1e9, "as given"), price_per_hour=None)
    assert "2 of them to be made" in line and rest[0].startswith("about ")


def test_an_unknown_cost_is_one_line(grid: Path, tmp_path: Path) -> None:
    peft = json.dumps({"peft_type": "IA3", "target_modules": ["k", "v"], "feedforward_modules": []})
    settings = {**read_sweep(str(grid)).settings, "task": "cb", "method": "peft", "peft_config": peft}
    del settings["low_rank_lr"], settings["num_virtual_tokens"]
    plan = SweepPlan(Sweep("own", settings=settings))
    lines = preview(plan, tmp_path / "sweep", workers=1, pace=None, price_per_hour=None)
    assert lines[1:] == ["no estimate: what a config of PEFT costs is measured on the backbone itself"]


def test_another_sweep_in_the_same_folder_is_refused(grid: Path, tmp_path: Path) -> None:
    plan, folder = SweepPlan(read_sweep(str(grid))), tmp_path / "sweep"
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps(Swept(plan, []).to_dict()))
    with pytest.raises(RunError, match="another sweep .it differs in random"):
        run_sweep(SweepPlan(plan.sweep, draw=2), folder, InProcess())
    (folder / "sweep.json").write_text("[]")
    with pytest.raises(RunError, match="no sweep's"):
        run_sweep(plan, folder, InProcess())
    assert not (folder / "runs").exists()


def test_a_failed_run_leaves_the_others_and_is_told(grid: Path, tmp_path: Path, one_thread: None) -> None:
    values = {"task": ("stsb",)}, {"decoding": ("label_scoring", "generate")}  # a score from 0 to 5 has no labels
    settings = {**read_sweep(str(grid)).settings, "prompt_lr": 0.1}
    plan = SweepPlan(Sweep("own", settings=settings, compare=values[0], choose=values[1]))
    swept = run_sweep(plan, tmp_path / "sweep", InProcess())
    assert swept.status == "incomplete"
    [(name, reason)] = swept.failures.items()
    assert "no labels to score" in reason
    [choice] = swept.choices
    assert [candidate.status for candidate in choice.candidates] == ["failed", "completed"]
    assert choice.chosen is not None
    assert choice.chosen.test is not None
    for file in ("sweep.md", "sweep.html"):
        assert name in (tmp_path / "sweep" / file).read_text()


def test_pruned_runs_are_out_and_stay_out(grid: Path, tmp_path: Path, one_thread: None) -> None:
    rates = [0.001, 3.0, 0.3, 1.0, 0.03, 0.1]
    sweep = read_sweep(str(grid)).with_setting("task", ["sst2"]).with_setting("prompt_lr", rates)
    plan, folder, engine = SweepPlan(sweep, prune="halving"), tmp_path / "sweep", InProcess()
    swept = run_sweep(plan, folder, engine)
    assert swept.status == "completed"
    [choice] = swept.choices
    seen: list[float] = []  # the first of two evaluations is a rung: the best third of those that came to it goes on
    for candidate in choice.candidates:
        [run] = candidate.trials
        seen.append(curve(run.job.folder, "accuracy").values[0])
        goes_on = seen[-1] >= sorted(seen, reverse=True)[max(0, len(seen) // 3 - 1)]
        assert candidate.status == ("completed" if goes_on else "pruned")
    assert choice.chosen is not None
    assert choice.chosen.status == "completed"
    assert [job.test for job in engine.made] == [False] * 6 + [True]

    again = InProcess()
    assert run_sweep(plan, folder, again).status == "completed"
    assert again.made == [], "a pruned run does not go on"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["table9"], "unknown sweep 'table9'"),
        (["table8", "--tasks", "rtee"], "unknown task 'rtee'"),
        (["table8", "--tasks", ","], "--tasks is empty"),
        (["table8", "--set", "prompt_lr=0.1"], "belongs to the cases"),
        (["table8", "--seeds", "x"], "--seeds takes whole numbers"),
        (["table8", "--random", "0"], "--random must be at least 1"),
        (["table8", "--prune", "best"], "none of median, halving"),
        (["table8", "--prune", "median", "--engine", "ray"], "--engine local"),
        (["table8", "--engine", "slurm"], "engine must be 'local' or 'ray'"),
        (["table8", "--gpus-per-job", "0.5"], "add --engine ray"),
        (["table8", "--timeout", "0"], "--timeout must be above 0"),
        (["table8", "--price-per-hour", "-1"], "--price-per-hour must be above 0"),
        (["table8", "--tasks", "cb", "--data", "nowhere"], "--data nowhere: no such file or folder"),
        (["table8", "--tasks", "cb", "--data", "sample", "--backbone", "random:t5-smal"], "t5-smal"),
        (["table8", "--tasks", "cb", "--data", "sample", "--backbone", "nobody/nothing"], "nobody/nothing"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", *flags, "--yes", "--output-dir", str(tmp_path / "sweep")]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.splitlines()) <= 2
    assert not (tmp_path / "sweep").exists()


def test_it_says_what_it_takes_and_asks_first(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["sweep", str(grid), "--output-dir", str(tmp_path / "sweep"), "--flops-per-s", "1e10"]
    assert main([*command, "--price-per-hour", "0.5", "--estimate"]) == 0
    told = capsys.readouterr().err
    assert "sweep small: 2 rows, 6 runs, 6 of them to be made" in told
    assert "FLOPs: 6 runs, 2 of them then scored on test" in told
    assert "at 1e+10 FLOP/s (as given)" in told
    assert "at 0.5 an hour" in told
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert main(command) == 2
    assert "--yes" in capsys.readouterr().err
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_chooses_the_same(grid: Path, tmp_path: Path, one_thread: None) -> None:
    plan, undisturbed, killed = SweepPlan(read_sweep(str(grid))), tmp_path / "undisturbed", tmp_path / "killed"
    run_sweep(plan, undisturbed, InProcess())

    command = [sys.executable, "-m", "lab.cli", "sweep", str(grid), "--output-dir", str(killed), "--yes"]
    command += ["--workers", "2", "--flops-per-s", "1e10"]
    sweep = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 90
        while not list(killed.glob("runs/*/result.json")):  # one is done, another under way or next
            assert sweep.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        workers = psutil.Process(sweep.pid).children(recursive=True)
    finally:
        sweep.send_signal(signal.SIGKILL)
        sweep.wait()
    assert psutil.wait_procs(workers, timeout=10)[1] == [], "no process outlives the sweep"
    before = {file: file.stat().st_mtime_ns for file in killed.glob("runs/*/result.json")}
    assert 0 < len(before) < 6
    assert read_json(killed / "sweep.json")["status"] == "running"

    engine = InProcess()
    swept = run_sweep(plan, killed, engine, resources=Resources(1))
    assert swept.status == "completed"
    trained = [job.folder for job in engine.made if not job.test]
    assert not {file.parent for file in before} & set(trained), "what was done is not done again"
    assert outcome(killed) == outcome(undisturbed)
    assert to_do(plan.trials(killed)) == ([], [])
