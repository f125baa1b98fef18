"""Keys of runs and jobs stay: by them a batch knows what is finished, and a run that it may be resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dept import TrainConfig, list_tasks
from tests.compat.helpers import (
    FINGERPRINTS,
    STORED,
    job_key_of,
    key_configs,
    read,
    run_key_of,
    task_fingerprint,
)

RUNS = sorted(file.parent.relative_to(STORED).as_posix() for file in STORED.glob("**/result.json"))


@pytest.mark.parametrize("name", key_configs())
def test_keys_of_fixed_settings_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(STORED)  # the path of the rows is relative
    config = key_configs()[name]
    assert {"run_key": run_key_of(config), "job_key": job_key_of(config)} == read(STORED / "keys.json")["keys"][name]


def test_fingerprints_of_the_tasks_stay() -> None:
    stored = read(STORED / "keys.json")["tasks"]
    found = {task.name: task_fingerprint(task) for task in list_tasks()}
    assert found.items() >= stored.items(), "tasks may be added"


@pytest.mark.parametrize("name", RUNS)
def test_a_stored_run_has_the_key_of_its_settings(name: str) -> None:
    folder: Path = STORED / name
    result, config = read(folder / "result.json"), read(folder / "config.json")
    assert run_key_of(TrainConfig.from_dict(result["config"]), config[FINGERPRINTS]) == result["key"]
    tasks = {task.name: task_fingerprint(task) for task in list_tasks()}
    assert config[FINGERPRINTS]["task"] == tasks[result["task"]]
