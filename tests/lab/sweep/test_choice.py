"""The choice: by validation over the seeds, never by test, among settings whose runs all came to their end."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.sweep.choice import Choice, choices
from lab.sweep.grid import Sweep, Trial, trials
from tests.lab.sweep.helpers import made_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Trial]:
    """Three rates with two seeds each."""
    values = {
        "settings": {"data": "sample", "backbone": "random:t5-small", "task": "rte"},
        "choose": {"prompt_lr": [0.3, 0.4, 0.5]},
        "seeds": [1, 2],
    }
    return trials(Sweep.from_dict("own", values), tmp_path)


def chosen_rate(choice: Choice) -> object:
    return None if choice.chosen is None else choice.chosen.point["prompt_lr"]


def test_the_mean_of_validation_decides_and_test_does_not(runs: list[Trial]) -> None:
    scores = {0.3: [(60, 99), (70, 99)], 0.4: [(64, 10), (68, 20)], 0.5: [(80, 50), (51, 50)]}
    for run in runs:
        validation, test = scores[run.job.config.prompt_lr or 0][run.job.config.seed - 1]
        made_run(run.job.folder, [validation], test)
    [choice] = choices(runs)
    assert chosen_rate(choice) == 0.4
    assert choice.chosen is not None
    assert choice.chosen.validation is not None
    assert choice.chosen.test is not None
    assert (choice.chosen.validation.mean, choice.chosen.validation.deviation) == (66, pytest.approx(2.828, abs=1e-3))
    assert choice.chosen.test.values == (10, 20)


def test_of_equal_settings_the_first_of_the_grid_is_chosen(runs: list[Trial]) -> None:
    for run in runs:
        made_run(run.job.folder, [60 if run.job.config.prompt_lr == 0.3 else 61])
    [choice] = choices(runs)
    assert chosen_rate(choice) == 0.4
    assert choice.chosen is not None
    assert choice.chosen.test is None, "it was not tested yet"


def test_failed_and_pruned_settings_cannot_be_chosen_and_unfinished_ones_are_waited_for(runs: list[Trial]) -> None:
    for run in runs[:-1]:
        made_run(run.job.folder, [{0.3: 60, 0.4: 90, 0.5: 99}[run.job.config.prompt_lr or 0]])
    assert chosen_rate(choices(runs)[0]) is None, "a run is missing"
    made_run(runs[-1].job.folder, [99], status="failed")
    assert chosen_rate(choices(runs)[0]) == 0.4
    (runs[2].job.folder / "result.json").unlink()
    (runs[2].job.folder / "metrics.jsonl").unlink()
    runs[2].job.folder.rmdir()
    made_run(runs[2].job.folder, [95], status="stopped", stop_reason="pruned (median): accuracy 1.00 is behind")
    [choice] = choices(runs)
    assert chosen_rate(choice) == 0.3
    assert [candidate.status for candidate in choice.candidates] == ["completed", "pruned", "failed"]
    assert [choice.count(status) for status in ("completed", "pruned", "failed", "unfinished")] == [1, 1, 1, 0]


def test_a_run_that_a_person_stopped_is_unfinished(runs: list[Trial]) -> None:
    for run in runs:
        made_run(run.job.folder, [60], status="stopped" if run is runs[0] else "completed")
    [choice] = choices(runs)
    assert choice.candidates[0].status == "unfinished"
    assert chosen_rate(choice) is None
