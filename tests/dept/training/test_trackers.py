"""The mirror of a run in a tracker: the same numbers, and a run folder that knows nothing of it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from dept import TrainConfig
from dept.cli import main
from dept.errors import ConfigError
from dept.runs.folder import RunFolder, read_metrics
from dept.training.loop import Silent, train
from dept.training.trackers import check_tracker, mirrored


def expected(folder: str) -> dict[str, list[tuple[int, float]]]:
    """What metrics.jsonl holds, by the tracker's names."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in read_metrics(RunFolder(folder).metrics_file):
        values = line["metrics"] if "metrics" in line else {"loss": line["loss"], "prompt_lr": line["prompt_lr"]}
        for name, value in values.items():
            found.setdefault(f"{line['split']}/{name}", []).append((line["step"], value))
    return found


def test_tensorboard_shows_the_run_folders_numbers(
    config: TrainConfig, tmp_path: Path, one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with mirrored("tensorboard", Silent()) as reporter:
        result = train(config, reporter=reporter)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    events = EventAccumulator(str(Path(config.output_dir) / "tensorboard"))
    events.Reload()
    for name, points in expected(config.output_dir).items():
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in shown] == [step for step, _ in points]
        assert [value for _, value in shown] == pytest.approx([value for _, value in points])
    assert capsys.readouterr().out == "", "stdout is for the result"

    alone = train(dataclasses.replace(config, output_dir=str(tmp_path / "alone")))
    assert alone["metrics"] == result["metrics"]
    assert alone["key"] == result["key"], "a mirror is no part of the experiment"


def train_apart(config: TrainConfig, tracker: str, environment: dict[str, str]) -> None:
    settings = Path(config.output_dir).with_suffix(".json")
    settings.write_text(json.dumps({**config.to_dict(), "output_dir": config.output_dir}))
    command = [sys.executable, "-m", "dept.cli", "train", "--config", str(settings), "--quiet", "--track", tracker]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"result: {Path(config.output_dir) / 'result.json'}"


@pytest.mark.slow
def test_trackio_shows_the_run_folders_numbers(config: TrainConfig, tmp_path: Path) -> None:
    train_apart(config, "trackio", {"TRACKIO_DIR": str(tmp_path / "trackio")})
    [file] = (tmp_path / "trackio").glob("**/dept-lab*.db")
    shown: dict[str, list[tuple[int, float]]] = {}
    with contextlib.closing(sqlite3.connect(file)) as database:
        for step, text in database.execute("SELECT step, metrics FROM metrics ORDER BY id"):
            for name, value in json.loads(text).items():
                shown.setdefault(name, []).append((step, value))
    for name, points in expected(config.output_dir).items():
        assert shown[name] == points


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_keeps_a_mirror_offline(config: TrainConfig) -> None:
    train_apart(config, "wandb", {"WANDB_MODE": "offline", "WANDB_SILENT": "true"})
    [file] = Path(config.output_dir).glob("wandb/offline-run-*/run-*.wandb")
    assert b"validation/accuracy" in file.read_bytes()


def test_a_missing_library_is_one_line_and_nothing_is_written(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    flags = ["--task", "rte", "--data", "sample", "--backbone", config.backbone, "--output-dir", config.output_dir]
    assert main(["train", *flags, "--track", "trackio"]) == 2
    assert capsys.readouterr().err == (
        "error: --track trackio needs the library trackio: pip install trackio, or 'dept-lab[track]'\n"
    )
    assert not Path(config.output_dir).exists()


def test_an_unknown_tracker_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--track", "paper"]) == 2
    assert "trackio" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="'paper' is none of trackio, tensorboard, wandb"):
        check_tracker("paper")
