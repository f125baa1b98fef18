"""The Train tab's listener: it answers whatever the fields hold together, and gives the same run as a notebook."""

from __future__ import annotations

import html
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from dept.backbones.known import known_backbone
from dept.methods.registry import DEFAULT_METHOD, method_config, method_names
from dept.tasks import load_task
from lab.paper import numbers as paper
from lab.reproduce.plan import NOTEBOOK, notebook_file
from lab.service.allowed import Allowed
from lab.service.limits import Limits
from lab.service.owners import new_token
from lab.ui.site import PageConfig, Site
from lab.ui.train.form import FIELDS, MOST_RUNS, RATES, default_of, form_of
from lab.ui.train.tab import _Train

REQUEST: Any = SimpleNamespace(username=None)
FORM = {name: default_of(name, DEFAULT_METHOD) for name in FIELDS} | {
    "backbone": "t5-small",
    "task": "sst2",
    "data": "sample",
    "method": "both",
    "prompt_lr": 0.3,
    "low_rank_lr": 5e-4,
    "max_steps": 60,
    "eval_every": 20,
}


@pytest.fixture
def tab(tmp_path: Path) -> _Train:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    allowed = Allowed.named((broken,), tower_folders=(broken,), backbones=("t5-small",))
    return _Train(Site(PageConfig(tmp_path / "runs", Limits(), allowed)))


def look(tab: _Train, **changes: Any) -> dict[str, Any]:
    """The outputs, by what they are of."""
    found = tab.look(REQUEST, {"token": new_token()}, *{**FORM, **changes}.values())
    boxes = [f"{kind} {place}" for kind in ("yaml", "notebook") for place in range(MOST_RUNS)]
    rest = ("images", "numbers", "chart", "command", *boxes, "line", "launch")
    return dict(zip((*FIELDS, *(f"fault of {name}" for name in RATES), *rest), found, strict=True))


@pytest.mark.parametrize("m", [40, 20, None, "many", -1])
def test_pt_alone_needs_no_m(tab: _Train, m: Any) -> None:
    found = look(tab, method="prompt_tuning", budget_tokens=30, num_virtual_tokens=m)
    assert found["launch"]["interactive"] and "Rank r" in found["numbers"]
    assert found["yaml 0"]["visible"] and not found["yaml 1"]["visible"]
    assert found["notebook 0"]["value"].startswith("PT: ") and not found["notebook 1"]["visible"]
    assert found["num_virtual_tokens"]["visible"] == "hidden" and found["budget_tokens"]["visible"] is True
    assert "num-virtual-tokens" not in found["command"] and "low-rank-lr" not in found["command"]


def test_a_budget_below_m_is_told_beside_m_and_can_be_raised_again(tab: _Train) -> None:
    low = look(tab, budget_tokens=30)
    assert "more than l (30)" in low["num_virtual_tokens"]["info"] and not low["launch"]["interactive"]
    assert look(tab)["launch"]["interactive"]


def test_a_backbone_that_cannot_be_read_is_told_beside_it(tab: _Train, tmp_path: Path) -> None:
    found = look(tab, backbone="folder:broken")
    assert "path/to/broken" in found["backbone"]["info"] and not found["launch"]["interactive"]
    assert str(tmp_path) not in str(found)


@pytest.mark.parametrize(
    ("data", "task", "shown", "then"),
    [("easy-vqa", "sst2", False, "vqa"), ("sample", "own", False, "sst2"), ("own", "sst2", True, "sst2")],
)
def test_the_task_goes_with_the_rows(tab: _Train, data: str, task: str, shown: bool, then: str) -> None:
    group, changed, length = tab.on_data(data, task)
    assert group["visible"] == shown
    assert (changed if isinstance(changed, str) else task) == then
    assert (length == load_task("vqa").max_seq_length) == (then == "vqa")


def test_rows_that_another_task_cannot_have_are_given_up(tab: _Train) -> None:
    assert tab.on_task("sst2", "easy-vqa")[1] == "sample"
    for task, data in (("vqa", "easy-vqa"), ("sst2", "hub")):
        length, rows = tab.on_task(task, data)
        assert length == load_task(task).max_seq_length and not isinstance(rows, str)


def test_a_task_with_images_asks_for_an_encoder_and_counts_the_projection(tab: _Train) -> None:
    assert not look(tab)["images"]["visible"]
    found = look(tab, task="vqa", vision_backbone="random:clip-vit-base-patch32")
    assert found["images"]["visible"] and found["launch"]["interactive"]
    projection = 768 * 512 + 512
    assert f"{projection:,}" in found["numbers"] and f"{100 * 512 + projection:,}" in found["numbers"]
    assert "m + 49 of the image + s" in found["numbers"] and "49 positions of an image" in found["numbers"]
    assert "--vision-backbone random:clip-vit-base-patch32" in found["command"]


def test_rows_that_cannot_be_read_are_told_beside_them(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    allowed = Allowed.named(data_folders=(folder,), backbones=("t5-small",))
    found = look(_Train(Site(PageConfig(tmp_path / "runs", Limits(), allowed))), data="folder:rows")
    assert "no sst2/train.jsonl" in found["data"]["info"] and not found["launch"]["interactive"]
    assert str(tmp_path) not in str(found)


def test_images_of_the_hub_are_refused_beside_the_rows(tab: _Train) -> None:
    found = look(tab, task="vqa", data="hub")
    assert "no images from the hub" in found["data"]["info"] and not found["launch"]["interactive"]


def test_a_backbone_brings_its_own_rates_and_encoder(tab: _Train) -> None:
    info = known_backbone("mini-t5")
    assert info.rates["projection"]
    *rates, tower = tab.on_backbone("mini-t5")
    assert tower == "mini-clip"
    assert {name: rate for name, rate in zip(RATES.values(), rates, strict=True) if name in info.rates} == info.rates
    *rates, tower = tab.on_backbone("folder:broken")
    fixed = dict(zip(RATES.values(), rates, strict=True))
    assert fixed["prompt"] is None and fixed["projection"] is None
    assert fixed["lora"] == 3e-4, "a rate that does not follow from the weights"
    assert tab.on_backbone("t5-base")[-1] == "clip-vit-base-patch32"


def test_all_of_the_papers_tasks_are_offered(tab: _Train) -> None:
    names = [name for _, name in tab.site.tasks()]
    of_the_paper = {task for tasks in paper.benchmarks().values() for task in tasks}
    assert len(of_the_paper) == 23 and of_the_paper < set(names) and len(names) == 25
    assert "23 tasks" in look(tab)["task"]["info"]
    for name in of_the_paper:
        assert look(tab, task=name)["launch"]["interactive"], name


def test_an_encoder_that_cannot_be_read_is_told_beside_it(tab: _Train, tmp_path: Path) -> None:
    found = look(tab, task="coco_captions", vision_backbone="folder:broken")
    assert "path/to/broken" in found["vision_backbone"]["info"] and not found["launch"]["interactive"]
    assert str(tmp_path) not in str(found)


def test_the_notebook_is_the_projects_own_with_these_settings(tab: _Train) -> None:
    path = tab.first_notebook(REQUEST, {"token": new_token()}, *FORM.values())
    made, own = (nbformat.read(source, as_version=4) for source in (path, notebook_file(NOTEBOOK)))
    (parameters,) = [cell for cell in made.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert [cell.source for cell in made.cells if cell is not parameters] == [cell.source for cell in own.cells]
    values: dict[str, Any] = {}
    exec(parameters.source, values)
    assert (values["method"], values["prompt_lr"], values["max_steps"]) == ("prompt_tuning", 0.3, 60)
    assert values["settings"] == {"max_seq_length": 256, "eval_every": 20}


PEFT = '{"peft_type": "LORA", "r": 4, "target_modules": ["q", "v"]}'


@pytest.mark.parametrize("method", [*method_names(), "dept+lora"])
def test_every_method_can_be_launched(tab: _Train, method: str) -> None:
    found = look(tab, method=method, peft_config=PEFT, num_virtual_tokens=default_of("num_virtual_tokens", method))
    assert found["launch"]["interactive"] and f"--method {method}" in found["command"]
    assert found["yaml 0"]["visible"] and not found["yaml 1"]["visible"]
    assert method_config(method).sentence[:20] in html.unescape(found["method"]["info"])
    rates = {name for name in RATES if found[name].get("visible") is True}
    assert rates == {group.setting_name for group in method_config(method).groups}


@pytest.mark.parametrize(
    ("method", "said", "chart"),
    [
        ("both", ("Rank r", "15", "Time"), True),
        ("lora", ("LoRA", "r = 32", "1,179,648", f"{256}<small>s tokens; PT: 356"), False),
        ("bitfit", ("s tokens; PT: 356",), False),
        ("adept", ("width", "m + s tokens"), False),
        ("peft", ("counted when the run starts",), False),
        ("dept+lora", ("m = 40", "r = 32"), False),
    ],
)
def test_the_numbers_are_the_chosen_methods(tab: _Train, method: str, said: tuple[str, ...], chart: bool) -> None:
    found = look(tab, method=method, peft_config=PEFT)
    for each in said:
        assert each in found["numbers"].replace("&#x27;", "'"), each
    assert (found["chart"] is not None) == chart


def test_two_side_by_side_have_two_boxes(tab: _Train) -> None:
    found = look(tab)
    assert [found[f"yaml {place}"]["label"].partition(":")[0] for place in range(MOST_RUNS)] == ["PT", "DePT"]
    assert found["lora_rank"]["visible"] == "hidden"


def test_another_method_brings_its_own_length(tab: _Train) -> None:
    assert tab.on_method("lopt", 40) == 100 and tab.on_method("both", 100) == 40
    assert not isinstance(tab.on_method("lopt", 37), int), "a chosen one stays"


def test_the_forms_values_are_by_name_and_empty_texts_are_none() -> None:
    assert form_of(list(FORM.values())) == FORM
    typed = form_of([{"adept_rank": " 12", "lora_targets": " "}.get(name, value) for name, value in FORM.items()])
    assert (typed["adept_rank"], typed["lora_targets"]) == (12, None)
