"""The Train tab's fields: which runs they ask for, what is wrong with which field, the same as a command."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from dept.basics.settings_file import read_config
from dept.methods.combined import SUM
from dept.methods.registry import DEFAULT_METHOD, method_names
from dept.runs.settings import TrainConfig
from lab.paper import numbers as paper
from lab.service.allowed import Allowed
from lab.service.limits import Limits
from lab.service.owners import new_token, visitor
from lab.service.queue import RunQueue
from lab.ui.train.form import (
    FIELDS,
    as_yaml,
    commands,
    default_of,
    help_of,
    label_of,
    method_choices,
    presets,
    problems,
    requests,
    settings,
    shown_fields,
)

WHO = visitor(new_token())


@pytest.fixture
def queue(tmp_path: Path, tiny_t5: Path) -> RunQueue:
    allowed = Allowed.named((tiny_t5,), backbones=("t5-small",))
    return RunQueue(tmp_path / "runs", Limits(steps=3000), allowed)


def form(**changes: Any) -> dict[str, Any]:
    values = {
        **{name: default_of(name, DEFAULT_METHOD) for name in FIELDS},
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
    return {**values, **changes}


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
    blind = {**seeing, "task": "sst2"}
    assert not {"vision_backbone", "projection_lr"} & set(requests(blind)[0]) and problems(blind, queue, WHO) == {}
    wrong = {**seeing, "vision_backbone": "/etc", "projection_lr": -1.0}
    assert list(problems(wrong, queue, WHO)) == ["vision_backbone"]
    assert list(problems({**seeing, "projection_lr": -1.0}, queue, WHO)) == ["projection_lr"]


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
        ({"method": "magic"}, "method", "must be one of dept"),
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
    assert list(presets()) == ["Quick look", "Sample run", "Paper (Table 8)"]
    for values in presets().values():
        assert set(values) <= set(FIELDS) and None not in values.values()


def test_the_papers_preset_is_table_8() -> None:
    values, table = presets()["Paper (Table 8)"], paper.settings()
    for name in ("max_steps", "eval_every", "batch_size", "max_seq_length", "budget_tokens"):
        assert values[name] == getattr(table, name), name
    for name in ("prompt_lr", "low_rank_lr", "num_virtual_tokens"):
        assert values[name] in getattr(table, name), name


PEFT = '{"peft_type": "LORA", "r": 4, "target_modules": ["q", "v"]}'


@pytest.mark.parametrize("method", [*method_names(), "dept+lora"])
def test_every_method_is_on_the_form_and_passes_the_pages_check(queue: RunQueue, method: str) -> None:
    assert method in dict(map(reversed, method_choices())) or SUM in method  # type: ignore[arg-type]
    filled = form(method=method, peft_config=PEFT, num_virtual_tokens=default_of("num_virtual_tokens", method))
    assert problems(filled, queue, WHO) == {}
    (asked,) = requests(filled)
    config = queue.check(asked, WHO)
    names = set(config.method_class.setting_names())
    assert config.method == method and shown_fields(filled) >= names & set(FIELDS) - {"num_virtual_tokens"}
    others = {name for name in asked if FIELDS[name].of == "method" and name not in names}
    assert others <= {"method", "budget_tokens"}
    for name in names & set(FIELDS):
        assert label_of(name) and help_of(name).endswith((".", "}")), name
    file = as_yaml(settings(config, asked))
    assert TrainConfig.from_dict({**yaml.safe_load(file), "output_dir": config.output_dir}) == config


def test_a_form_speaks_of_other_peoples_methods_as_their_settings_do() -> None:
    assert label_of("num_virtual_tokens") == "m, prompt length" and label_of("lora_rank") == "r, LoRA's rank"
    assert help_of("lora_lr") == "LoRA's maximum rate; empty: 3e-4." and help_of("lora_rank") == "r of LoRA's updates."


def test_a_json_setting_is_told_beside_its_field(queue: RunQueue) -> None:
    for text, said in ((None, "JSON is needed"), ("/etc/passwd", "must be JSON text"), ("{", "not JSON")):
        wrong = problems(form(method="peft", peft_config=text), queue, WHO)
        assert list(wrong) == ["peft_config"] and said in wrong["peft_config"]
