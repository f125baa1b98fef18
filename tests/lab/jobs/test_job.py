"""What tells one job from another, and when it is done."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dept.errors import ConfigError, DataError
from dept.runs.folder import RunFolder
from dept.training.loop import train
from lab.jobs.job import Job, Notebook, Pruning, Resources, is_done, is_executed, job_key, new_job
from lab.jobs.notebook import checked, plain
from tests.lab.reproduce.helpers import ROOT, notebook_job, tiny_config


@pytest.fixture(scope="module")
def done(tiny_t5: Path, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job that has been done."""
    job = new_job(tiny_config(tiny_t5), tmp_path_factory.mktemp("jobs"))
    train(job.config)
    return job


def test_a_done_job_is_recognised(done: Job) -> None:
    assert is_done(done)
    assert done.name == f"sst2-dept-seed42-{done.key[:8]}"


@pytest.mark.parametrize(
    "damage",
    [
        lambda run: run.result_file.unlink(),
        lambda run: run.result_file.write_text("{"),
        lambda run: shutil.rmtree(run.adapter),
        lambda run: change(run.result_file, status="stopped"),
        lambda run: change(run.result_file, key="0123456789abcdef"),
        lambda run: change(run.config_file, fingerprints={"data": "other"}),
    ],
    ids=["no result", "cut off", "no adapter", "stopped", "another key", "other data"],
)
def test_what_is_not_whole_is_not_done(done: Job, tmp_path: Path, damage: Any) -> None:
    folder = tmp_path / done.name
    shutil.copytree(done.folder, folder)
    copy = dataclasses.replace(done, config=dataclasses.replace(done.config, output_dir=str(folder)))
    assert is_done(copy), "where a run is does not matter"
    damage(RunFolder(folder))
    assert not is_done(copy)


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_run_without_its_test_score_or_its_notebook_is_not_done(done: Job, tmp_path: Path) -> None:
    folder = tmp_path / done.name
    shutil.copytree(done.folder, folder)
    result = json.loads((folder / "result.json").read_text())
    change(folder / "result.json", metrics={**result["metrics"], "test": None})
    copy = dataclasses.replace(done, config=dataclasses.replace(done.config, output_dir=str(folder)))
    assert not is_done(copy)
    assert is_done(dataclasses.replace(copy, test=False))
    book = Notebook(tmp_path / "task.ipynb", tmp_path / "out.ipynb", {})
    assert not is_done(dataclasses.replace(copy, test=False, notebook=book))


def test_other_settings_are_another_job(done: Job) -> None:
    other = dataclasses.replace(done, config=dataclasses.replace(done.config, max_steps=7))
    assert not is_done(other)
    changes: list[dict[str, Any]] = [
        {"max_steps": 7},
        {"seed": 1},
        {"method": "prompt_tuning"},
        {"task": "cola"},
        {"max_train_rows": 17},
    ]
    keys = {job_key(dataclasses.replace(done.config, **change)) for change in changes}
    assert len({done.key, *keys}) == 6
    assert job_key(dataclasses.replace(done.config, output_dir="elsewhere")) == done.key


def test_rows_and_weights_count_by_their_content(tiny_t5: Path, tmp_path: Path) -> None:
    backbone, data = tmp_path / "backbone", tmp_path / "data"
    shutil.copytree(tiny_t5, backbone)
    (data / "sst2").mkdir(parents=True)
    rows = data / "sst2" / "train.jsonl"
    rows.write_text('{"sentence": "a fine film", "label": 1}\n')
    config = tiny_config(backbone, data=str(data))
    first = job_key(config)
    rows.write_text('{"sentence": "a poor film", "label": 0}\n')
    second = job_key(config)
    weights = bytearray((backbone / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (backbone / "model.safetensors").write_bytes(weights)
    assert len({first, second, job_key(config)}) == 3
    with pytest.raises(DataError, match="no cola/train.jsonl"):
        new_job(dataclasses.replace(config, task="cola"), tmp_path)


def test_a_job_travels_as_json(done: Job, tmp_path: Path) -> None:
    book = Notebook(tmp_path / "a.ipynb", tmp_path / "b.ipynb", {"m": 4})
    job = dataclasses.replace(
        done, notebook=book, pruning=Pruning("median", (tmp_path / "c",)), resources=Resources(2, 0.5), timeout_s=9.0
    )
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job
    assert Job.from_dict(json.loads(json.dumps(done.to_dict()))) == done


def test_done_jobs_are_recognised_without_torch(done: Job) -> None:
    code = (
        "import json, sys; from lab.jobs.job import Job, is_done, job_key; "
        "job = Job.from_dict(json.loads(sys.argv[1])); "
        "assert is_done(job) and job_key(job.config) == job.key; "
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, json.dumps(done.to_dict())]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip() == "[]"


# A notebook's parameters


def test_parameters_become_plain_json() -> None:
    value = {"path": Path("a/b"), "pair": (1, np.int64(2)), "rate": np.float32(0.5), "open": None, "on": True}
    assert plain(value, "settings") == {"path": "a/b", "pair": [1, 2], "rate": 0.5, "open": None, "on": True}
    for bad in (float("nan"), {1: 2}, {3}, object()):
        with pytest.raises(ConfigError, match="'rate'"):
            plain(bad, "rate")


def test_unknown_parameters_are_refused(tmp_path: Path) -> None:
    job = notebook_job(tmp_path, "good", "answer + 1")
    assert job.notebook is not None
    assert checked(job.notebook.source, {"answer": np.int64(3)}) == {"answer": 3}
    with pytest.raises(ConfigError, match=r"good.ipynb has no parameter 'anwser'; it has answer"):
        checked(job.notebook.source, {"anwser": 3})
    (tmp_path / "bad.ipynb").write_text("{}")
    with pytest.raises(ConfigError, match="bad.ipynb"):
        checked(tmp_path / "bad.ipynb", {})


def test_only_a_notebook_that_came_to_its_end_is_executed(tmp_path: Path) -> None:
    file = tmp_path / "out.ipynb"
    assert not is_executed(file)
    for papermill, expected in (
        ({"start_time": "2024", "end_time": None}, False),
        ({"end_time": "2024", "exception": True}, False),
        ({"end_time": "2024", "exception": None}, True),
    ):
        file.write_text(json.dumps({"metadata": {"papermill": papermill}}))
        assert is_executed(file) is expected
    file.write_text(file.read_text()[:-3])
    assert not is_executed(file)
