"""What a search over settings asks of the loop: a run without its test, one that a reporter ends early."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from dept import TrainConfig
from dept.basics.files import read_json
from dept.cli import main
from dept.runs.folder import RunFolder, read_metrics
from dept.runs.key import is_untested
from dept.training.loop import Silent, train

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_test_rows_can_wait_and_give_the_same_score_later(config: TrainConfig, tmp_path: Path) -> None:
    whole = train(dataclasses.replace(config, output_dir=str(tmp_path / "whole")))
    assert not is_untested(whole)
    waiting = train(config, test=False)
    assert waiting["status"] == "completed"
    assert waiting["metrics"]["test"] is None
    assert is_untested(waiting)
    folder = RunFolder(config.output_dir)
    assert {line["split"] for line in read_metrics(folder.metrics_file)} == {"train", "validation"}
    assert train(config, resume=True, test=False) == waiting, "it is completed: nothing is done again"

    tested = train(config, resume=True)
    assert tested == read_json(folder.result_file)
    assert tested["metrics"] == whole["metrics"]
    assert (tested["key"], tested["steps"], tested["best_step"]) == (whole["key"], whole["steps"], whole["best_step"])
    splits = [line["split"] for line in read_metrics(folder.metrics_file)]
    assert splits.count("test") == 1
    assert splits.count("validation") == 3, "nothing but the test was added"


def test_a_reporter_ends_a_run_with_its_reason_and_it_can_go_on(config: TrainConfig, tmp_path: Path) -> None:
    class Critic(Silent):
        def evaluated(self, line: dict[str, Any]) -> str | None:
            return "behind the others" if line["step"] == 2 else None

    config = dataclasses.replace(config, eval_every=1)  # the step after the reason is evaluated too
    result = train(config, reporter=Critic())
    assert (result["status"], result["stop_reason"], result["steps"]) == ("stopped", "behind the others", 3)
    assert read_json(RunFolder(config.output_dir).state_file)["status"] == "stopped"

    result = train(config, resume=True)
    assert (result["status"], result["stop_reason"]) == ("completed", None)
    whole = train(dataclasses.replace(config, output_dir=str(tmp_path / "whole")))
    assert result["metrics"] == whole["metrics"]


def test_no_test_is_a_flag(config: TrainConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {name: value for name, value in config.to_dict().items() if value != getattr(TrainConfig, name)}
    flags = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["train", *flags, "--quiet", "--no-test"]) == 0
    assert "not tested, validation" in capsys.readouterr().out
    assert main(["train", "--output-dir", config.output_dir, "--quiet", "--resume"]) == 0
    assert "rte accuracy: test " in capsys.readouterr().out
