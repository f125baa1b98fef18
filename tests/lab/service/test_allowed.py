from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dept.errors import ConfigError, DeptError
from dept.methods.registry import method_names
from lab.service.allowed import SETTINGS, Allowed
from lab.service.limits import Limits

ASKED = {"task": "rte", "method": "dept", "backbone": "t5-small", "data": "sample"}


def _no_own_data(name: str) -> Path:
    raise AssertionError("nothing of the visitor's was named")


def _check(allowed: Allowed, **changes: Any) -> Any:
    return allowed.check({**ASKED, **changes}, Limits(), _no_own_data)[0]


def test_names_become_the_operators_paths(tmp_path: Path) -> None:
    models, rows = tmp_path / "my model", tmp_path / "rows"
    models.mkdir()
    rows.mkdir()
    allowed = Allowed.named((models,), (rows,), backbones=("t5-small", "some/model"))
    assert allowed.backbone_names() == ["t5-small", "some/model", "folder:my model"]
    config = _check(allowed, backbone="folder:my model", data="folder:rows", num_virtual_tokens=20.0, max_steps=50)
    assert (config.backbone, config.data) == (str(models), str(rows))
    assert config.num_virtual_tokens == 20 and type(config.num_virtual_tokens) is int
    assert _check(allowed, backbone="some/model").max_steps == 1000


def test_image_encoders_go_with_tasks_that_have_images(tmp_path: Path) -> None:
    allowed = Allowed.named(tower_folders=(tmp_path,))
    asked = {"task": "vqa", "projection_lr": 0.01}
    for name, place in (
        (f"folder:{tmp_path.name}", str(tmp_path)),
        ("random:clip-vit-base-patch32", "random:clip-vit-base-patch32"),
        (None, None),
    ):
        config = _check(allowed, **asked, vision_backbone=name)
        assert (config.vision_backbone, config.projection_lr) == (place, 0.01)
    assert _check(allowed, vision_backbone=None, projection_lr=None).vision_backbone is None
    assert allowed.without_places(f"{tmp_path}: damaged") == f"path/to/{tmp_path.name}: damaged"


def test_images_of_the_hub_are_the_operators_to_allow_and_their_rows_are_bounded() -> None:
    asked = {"task": "coco_captions", "data": "hub", "max_test_rows": 20}
    with pytest.raises(ConfigError, match="data: this machine fetches no images"):
        _check(Allowed(), **asked)
    config = _check(Allowed(hub_images=True), **asked)
    most = Limits().rows
    assert (config.max_train_rows, config.max_validation_rows, config.max_test_rows) == (most, most, 20)
    with pytest.raises(ConfigError, match="max_test_rows"):
        _check(Allowed(hub_images=True), **{**asked, "max_test_rows": most + 1})
    with pytest.raises(ConfigError, match="choose one of sample"):
        _check(Allowed(hub=False, hub_images=True), **asked)
    for unbounded in ({"data": "hub"}, {"task": "coco_captions"}):
        assert _check(Allowed(), **unbounded).max_train_rows is None


def test_easy_vqa_is_offered_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dept.data.easy_vqa.is_installed", lambda: True)
    config = _check(Allowed(), task="vqa", data="easy-vqa", max_test_rows=20)
    assert (config.data, config.max_train_rows, config.max_test_rows) == ("easy-vqa", Limits().rows, 20)
    for task in ("rte", "coco_captions"):
        with pytest.raises(ConfigError, match="data: easy-vqa asks about images; it goes with task vqa"):
            _check(Allowed(), task=task, data="easy-vqa")
    monkeypatch.setattr("dept.data.easy_vqa.is_installed", lambda: False)
    with pytest.raises(ConfigError, match="data: choose one of sample, hub, or"):
        _check(Allowed(), task="vqa", data="easy-vqa")


def test_no_gated_backbone_by_default() -> None:
    names = Allowed().backbone_names()
    assert "t5-base" in names and not any("llama" in name for name in names)


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "/etc"},
        {"backbone": "../tiny"},
        {"backbone": "folder:"},
        {"backbone": "folder:../tiny"},
        {"backbone": "someone/else"},
        {"backbone": "random:t5-small"},
        {"backbone": ["t5-small"]},
        {"backbone": None},
        {"data": "/etc/passwd"},
        {"data": "folder:/etc"},
        {"data": "glue"},
        {"data": {"a": 1}},
        {"task": "/tmp/task.yaml"},
        {"task": "own"},
        {"task": None},
        {"task": ["rte"]},
        {"output_dir": "/tmp/x"},
        {"tokenizer": "/etc"},
        {"vision_backbone": "random:clip-vit-base-patch32"},
        {"projection_lr": 0.01},
        {"task": "vqa", "vision_backbone": "/etc"},
        {"task": "vqa", "vision_backbone": "random:/etc"},
        {"task": "vqa", "vision_backbone": "someone/else"},
        {"task": "vqa", "vision_backbone": ["clip-vit-base-patch32"]},
        {"task": "vqa", "vision_backbone": "folder:../x"},
        {"task": "vqa", "projection_lr": "fast"},
        {"compile": True},
        {"device_map": "auto"},
        {"quantize": "int8"},
        {"owner": "me"},
        {"max_steps": 10**9},
        {"preset": "paper", "max_steps": 30_000},
        {"num_virtual_tokens": 99_999},
        {"batch_size": float("nan")},
        {"seed": "0; rm"},
        {"method": "<script>"},
        {"prompt_init": "text", "prompt_init_text": "x" * 501},
        {"prompt_lr": "inf"},
        {"prompt_lr": -1.0},
        {"rank": True},
    ],
)
def test_what_is_not_on_a_list_is_refused_by_the_fields_name(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as fault:
        _check(Allowed(), **changes)
    field = next(reversed(changes))
    assert field in str(fault.value) or (field == "task" and "own rows" in str(fault.value))
    assert len(str(fault.value)) < 500


def test_a_preset_cannot_ask_for_more_than_the_limit() -> None:
    assert _check(Allowed(), preset="paper").max_steps == 1000


def test_own_rows_go_with_the_own_task_alone(tmp_path: Path) -> None:
    def own(name: str) -> Path:
        assert name == "upload:abc"
        return tmp_path

    config, folder = Allowed().check({**ASKED, "task": "own", "data": "upload:abc"}, Limits(), own)
    assert folder == tmp_path
    assert config.task == str(tmp_path / "task.yaml") and config.data == str(tmp_path / "rows.jsonl")
    with pytest.raises(DeptError, match="task"):
        Allowed().check({**ASKED, "data": "upload:abc"}, Limits(), own)
    with pytest.raises(DeptError, match="takes no rows"):
        Allowed(uploads=False).check({**ASKED, "task": "own", "data": "upload:abc"}, Limits(), own)


def test_every_setting_is_one_of_a_run() -> None:
    from dept.runs.settings import TrainConfig

    assert set(SETTINGS) <= set(TrainConfig().to_dict())


def test_folders_are_told_by_their_names_alone(tmp_path: Path) -> None:
    place, below = tmp_path / 'a "b" é', tmp_path / 'a "b" é' / "c"
    below.mkdir(parents=True)
    allowed = Allowed(backbone_folders={"weights": place}, data_folders={"rows": below})
    said = f"{place} and {below}/x, {json.dumps(str(place))}"
    assert allowed.without_places(said) == 'path/to/weights and path/to/rows/x, "path/to/weights"'


def test_folders_of_one_name_and_several_kinds_are_all_without_their_places(tmp_path: Path) -> None:
    places = [tmp_path / kind / "mini" for kind in ("backbones", "data", "towers")]
    for place in places:
        place.mkdir(parents=True)
    allowed = Allowed.named(*[(place,) for place in places])
    for place in places:
        assert allowed.without_places(f"{place}/config.json is damaged") == "path/to/mini/config.json is damaged"


def test_bad_folders_of_the_operator_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        Allowed(backbone_folders={"x": tmp_path / "none"})
    with pytest.raises(ConfigError, match="no name for a folder"):
        Allowed(data_folders={"../x": tmp_path})
    one, other = tmp_path / "one" / "rows", tmp_path / "other" / "rows"
    for folder in (one, other):
        folder.mkdir(parents=True)
    assert Allowed.named(data_folders=(one, one)).data_folders == {"rows": one}
    with pytest.raises(ConfigError, match="one/rows and .*other/rows would go by the same name"):
        Allowed.named(data_folders=(one, other))


PEFT = {"peft_type": "LORA", "r": 4, "target_modules": ["q", "v"], "loftq_config": {}, "rank_pattern": {"q": 2}}


@pytest.mark.parametrize("method", [*method_names(), "dept+lora"])
def test_every_method_passes(method: str) -> None:
    more = {"peft_config": json.dumps(PEFT)} if method == "peft" else {}
    config = _check(Allowed(), method=method, **more)
    assert config.method == method
    for group in config.method_class.groups:
        rated = _check(Allowed(), method=method, **more, **{group.setting_name: 1e-3})
        assert rated.rates()[group.name] == 1e-3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/etc/passwd", "a file cannot be named"),
        ("adapter_config.json", "a file cannot be named"),
        ("  ", "must be JSON text"),
        (7, "must be JSON text"),
        ("{", "is not JSON"),
        (json.dumps({**PEFT, "r": 10**6}), "r may be at most 1,000"),
        (json.dumps({**PEFT, "rank_pattern": {"q": 10**6}}), "rank_pattern may be at most 1,000"),
        (
            json.dumps({**PEFT, "megatron_config": {"a": 1}, "megatron_core": "os"}),
            "megatron_config is not taken",
        ),
        (json.dumps({**PEFT, "corda_config": {"cache_file": "/etc/x"}}), "corda_config is not taken"),
        (json.dumps({**PEFT, "target_modules": [["q"]]}), "target_modules may hold no objects"),
        (json.dumps({**PEFT, "lora_alpha": float("nan")}), "is not JSON: NaN is no number"),
        (json.dumps({**PEFT, "r": float("inf")}), "is not JSON: Infinity is no number"),
        (json.dumps({**PEFT, "peft_type": "LOHA", "r": 4, "depth": 10**7}), "depth may be at most 1,000"),
        (json.dumps({**PEFT, "megatron_config": True, "megatron_core": "this"}), "megatron_config is not taken"),
        (json.dumps({**PEFT, "lora_alpha": 10**9}), "lora_alpha may be at most 1,000,000"),
        (json.dumps({**PEFT, "modules_to_save": ["lm_head"]}), "modules_to_save is not taken"),
        (json.dumps({**PEFT, "target_modules": "(a+)+$"}), "target_modules may hold names of layers"),
        (json.dumps({**PEFT, "exclude_modules": ["/etc/x"]}), "exclude_modules may hold names of layers"),
        (json.dumps({**PEFT, "rank_pattern": {"(a+)+$": 2}}), "rank_pattern may hold names of layers"),
        ("{" + " " * 5000 + "}", "longer than 5,000"),
    ],
)
def test_a_json_setting_of_a_browser_is_a_flat_object(text: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=f"peft_config.*{said}") as fault:
        _check(Allowed(), method="peft", peft_config=text)
    assert "\n" not in str(fault.value)
