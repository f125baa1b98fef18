"""The Train tab's fields: which runs they ask for, what is wrong with which field, the same as a command."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from dept.basics.settings_file import read_config
from dept.runs.settings import TrainConfig
from lab.service.allowed import Allowed
from lab.service.limits import Limits
from lab.service.owners import new_token, visitor
from lab.service.queue import RunQueue
from lab.ui.train.form import PRESETS, Form, as_yaml, commands, problems, requests, settings

WHO = visitor(new_token())


@pytest.fixture
def queue(tmp_path: Path, tiny_t5: Path) -> RunQueue:
    allowed = Allowed.named((tiny_t5,), backbones=("t5-small",))
    return RunQueue(tmp_path / "runs", Limits(steps=3000), allowed)


def form(**changes: Any) -> Form:
    values = {
        "backbone": "t5-small",
        "task": "sst2",
        "data": "sample",
        "method": "both",
        "num_virtual_tokens": 40,
        "budget_tokens": 100,
        "prompt_lr": 0.3,
        "low_rank_lr": 5e-4,
        "max_steps": 60,
        "batch_size": 16,
        "max_seq_length": 256,
        "eval_every": 20,
        "seed": 42,
    }
    return Form(**{**values, **changes})


def test_both_methods_are_two_runs_at_one_budget() -> None:
    pt, dept = requests(form())
    assert (pt["method"], dept["method"]) == ("prompt_tuning", "dept")
    assert {**pt, "method": "dept", "num_virtual_tokens": 40, "low_rank_lr": 5e-4} == dept
    assert not {"num_virtual_tokens", "low_rank_lr"} & set(pt)


def test_settings_of_images_go_with_tasks_that_have_images(queue: RunQueue) -> None:
    seeing = form(task="vqa", vision_backbone="random:clip-vit-base-patch32", projection_lr=0.01)
    for asked in requests(seeing):
        assert (asked["vision_backbone"], asked["projection_lr"]) == ("random:clip-vit-base-patch32", 0.01)
    assert problems(seeing, queue, WHO) == {}
    blind = seeing._replace(task="sst2")
    assert not {"vision_backbone", "projection_lr"} & set(requests(blind)[0]) and problems(blind, queue, WHO) == {}
    wrong = seeing._replace(vision_backbone="/etc", projection_lr=-1.0)
    assert list(problems(wrong, queue, WHO)) == ["vision_backbone"]
    assert list(problems(seeing._replace(projection_lr=-1.0), queue, WHO)) == ["projection_lr"]


def test_a_form_that_is_right_has_no_problems(queue: RunQueue) -> None:
    assert problems(form(), queue, WHO) == {}
    assert problems(form(prompt_lr=None, low_rank_lr=None, eval_every=None), queue, WHO) == {}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"num_virtual_tokens": 120}, "num_virtual_tokens", "m (120) is more than l (100)"),
        ({"prompt_lr": -1.0}, "prompt_lr", "between 0 and 1,000"),
        ({"low_rank_lr": "fast"}, "low_rank_lr", "finite number"),
        ({"max_steps": 1_000_000}, "max_steps", "at most 3,000"),
        ({"batch_size": None}, "batch_size", "a number is needed"),
        ({"task": "<script>"}, "task", "choose one of"),
        ({"backbone": "/etc"}, "backbone", "choose one of"),
        ({"data": "../.."}, "data", "choose one of"),
        ({"method": "lora"}, "method", "choose DePT"),
    ],
)
def test_each_fault_stands_beside_its_field(queue: RunQueue, changes: dict[str, Any], field: str, words: str) -> None:
    found = problems(form(**changes), queue, WHO)
    assert list(found) == [field]
    assert words in found[field]


def test_several_faults_are_told_at_once(queue: RunQueue) -> None:
    found = problems(form(prompt_lr=-1.0, max_steps=1_000_000, seed=-3), queue, WHO)
    assert set(found) == {"prompt_lr", "max_steps", "seed"}


def test_the_command_means_the_same_run(queue: RunQueue, tmp_path: Path) -> None:
    asked = requests(form())[1]
    config = queue.check(asked, WHO)
    values = settings(config, asked)
    file = tmp_path / "run.yaml"
    file.write_text(as_yaml(values))
    assert TrainConfig.from_dict(read_config(file)) == TrainConfig.from_dict(
        {**config.to_dict(), "output_dir": values["output_dir"]}
    )
    words = shlex.split(commands([values]).replace("\\\n", " "))
    assert words[:2] == ["dept", "train"]
    assert dict(zip(words[2::2], words[3::2], strict=True)) == {
        f"--{name.replace('_', '-')}": str(value) for name, value in values.items()
    }


def test_no_place_of_this_machine_is_in_the_command(queue: RunQueue, tiny_t5: Path) -> None:
    asked = {**requests(form())[1], "backbone": f"folder:{tiny_t5.name}"}
    text = as_yaml(settings(queue.check(asked, WHO), asked))
    assert str(tiny_t5.parent) not in text
    assert yaml.safe_load(text)["backbone"] == f"path/to/{tiny_t5.name}"


def test_own_rows_come_with_the_command_that_makes_their_task() -> None:
    values = {"task": "own.yaml", "method": "dept", "data": "own.csv"}
    first, *trainings = commands([values, values]).split("\n\n")
    assert first.startswith("dept tasks --new own.csv > own.yaml") and len(trainings) == 2
    assert commands([{**values, "task": "sst2"}]).startswith("dept train")


def test_presets_name_fields_of_the_form() -> None:
    for preset in PRESETS.values():
        assert set(preset) <= set(Form._fields)
        assert Form(**{**form()._asdict(), **preset})
