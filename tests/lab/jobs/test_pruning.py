"""Pruning: who is behind by Optuna's rules, and a real run that is ended by what stands in its rivals' folders."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import pytest

from dept import TrainConfig
from dept.basics.files import read_json
from dept.errors import ConfigError
from lab.jobs.job import Pruning, is_done, new_job
from lab.jobs.pruning import Curve, check_pruner, is_behind
from lab.jobs.worker import execute
from lab.sweep.choice import is_pruned
from tests.lab.sweep.helpers import made_run

RIVALS = [Curve((50.0, value, 90.0), completed=True) for value in (60.0, 70.0, 80.0, 90.0)]


@pytest.mark.parametrize(
    ("own", "rivals", "behind"),
    [
        ((50.0, 74.0), RIVALS, True),  # the median of the second evaluation is 75
        ((50.0, 76.0), RIVALS, False),
        ((76.0, 10.0), RIVALS, False),  # the best so far counts
        ((50.0, 10.0), RIVALS[:3], False),  # too few to judge by
        ((50.0, 10.0), [*RIVALS[:3], Curve((50.0, 99.0))], False),  # the fourth is not completed
        ((50.0, 10.0), [*RIVALS, Curve(())], True),
    ],
)
def test_median(own: tuple[float, ...], rivals: list[Curve], behind: bool) -> None:
    assert is_behind(Curve(own), rivals, "median", evaluations=3) is behind


def test_nobody_is_judged_while_the_rates_rise() -> None:
    rivals = [Curve(tuple([90.0] * 30), completed=True)] * 5
    behind = [is_behind(Curve(tuple([10.0] * count)), rivals, "median", evaluations=30) for count in (1, 6, 7)]
    assert behind == [False, False, True]


def test_halving_lets_the_best_third_of_a_rung_go_on() -> None:
    # With 30 evaluations the rungs are 6 and 18.
    rivals = [Curve(tuple([value] * 6)) for value in (10.0, 20.0, 30.0, 40.0, 50.0)]

    def behind(value: float, evaluations: int) -> bool:
        return is_behind(Curve(tuple([value] * evaluations)), rivals, "halving", evaluations=30)

    assert not behind(5.0, 5), "before the rung"
    assert behind(35.0, 6)
    assert not behind(45.0, 6)
    assert not behind(5.0, 7), "between two rungs"


def test_a_run_that_is_behind_is_stopped_with_its_reason(tiny_t5: Path, tmp_path: Path, one_thread: None) -> None:
    config = TrainConfig(
        task="rte",
        backbone=str(tiny_t5),
        data="sample",
        num_virtual_tokens=4,
        budget_tokens=20,
        max_seq_length=64,
        max_steps=40,
        eval_every=10,
        batch_size=2,
        max_train_rows=8,
        max_validation_rows=4,
        max_test_rows=4,
    )
    rivals = tuple(tmp_path / f"rival-{index}" for index in range(4))
    for rival in rivals:
        made_run(rival, [101.0] * 4)
    job = new_job(config, tmp_path, test=False)
    pruned = dataclasses.replace(job, pruning=Pruning("median", (*rivals, job.folder, tmp_path / "not yet")))
    status, error = execute(pruned)
    result = read_json(job.folder / "result.json")
    score = result["metrics"]["validation"]["accuracy"]
    assert status == "stopped"
    assert error == result["stop_reason"] == f"pruned (median): accuracy {score:.2f} at step 10 is behind"
    assert result["steps"] == 11
    assert is_pruned(result)
    assert not is_done(pruned)


def test_optuna_is_asked_for_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="'best' is none of median, halving"):
        check_pruner("best")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install 'dept-lab.sweep.'"):
        check_pruner("median")
