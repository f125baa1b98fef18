"""The Train tab's listener: it answers whatever the fields hold together, and gives the same run as a notebook."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import pytest

from dept.backbones.known import known_backbone
from dept.tasks import load_task
from lab.paper import numbers as paper
from lab.reproduce.plan import NOTEBOOK, notebook_file
from lab.service.allowed import Allowed
from lab.service.limits import Limits
from lab.service.owners import new_token
from lab.ui.site import PageConfig, Site
from lab.ui.train.form import Form
from lab.ui.train.tab import _Train

REQUEST: Any = SimpleNamespace(username=None)
FIELDS = Form(
    backbone="t5-small", task="sst2", data="sample", method="both", num_virtual_tokens=40, budget_tokens=100,
    prompt_lr=0.3, low_rank_lr=5e-4, max_steps=60, batch_size=16, max_seq_length=256, eval_every=20, seed=42,
)  # fmt: skip


@pytest.fixture
def tab(tmp_path: Path) -> _Train:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{")
    allowed = Allowed.named((broken,), tower_folders=(broken,), backbones=("t5-small",))
    return _Train(Site(PageConfig(tmp_path / "runs", Limits(), allowed)))


def look(tab: _Train, **changes: Any) -> dict[str, Any]:
    """The outputs, by what they are of."""
    found = tab.look(REQUEST, {"token": new_token()}, *FIELDS._replace(**changes))
    rest = (
        "fault",
        "fault",
        "fault",
        "images",
        "numbers",
        "chart",
        "command",
        "yaml dept",
        "yaml pt",
        "dept",
        "pt",
        "line",
        "launch",
    )
    return dict(zip((*Form._fields, *rest), found, strict=True))


@pytest.mark.parametrize("m", [40, 20, None, "many", -1])
def test_pt_alone_needs_no_m(tab: _Train, m: Any) -> None:
    found = look(tab, method="prompt_tuning", budget_tokens=30, num_virtual_tokens=m)
    assert found["launch"]["interactive"] and "Rank r" in found["numbers"]
    assert found["yaml pt"]["visible"] and not found["yaml dept"]["visible"]
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


def test_images_of_the_hub_are_refused_beside_the_rows(tab: _Train) -> None:
    found = look(tab, task="vqa", data="hub")
    assert "no images from the hub" in found["data"]["info"] and not found["launch"]["interactive"]


def test_a_backbone_brings_its_own_rates_and_encoder(tab: _Train) -> None:
    info = known_backbone("mini-t5")
    assert info.projection_lr is not None
    assert tab.on_backbone("mini-t5") == [info.prompt_lr, info.low_rank_lr, info.projection_lr, "mini-clip"]
    assert tab.on_backbone("t5-base")[2:] == [None, "clip-vit-base-patch32"]
    assert tab.on_backbone("folder:broken")[:3] == [None] * 3


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
    path = tab.pt_notebook(REQUEST, {"token": new_token()}, *FIELDS)
    made, own = (nbformat.read(source, as_version=4) for source in (path, notebook_file(NOTEBOOK)))
    (parameters,) = [cell for cell in made.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert [cell.source for cell in made.cells if cell is not parameters] == [cell.source for cell in own.cells]
    values: dict[str, Any] = {}
    exec(parameters.source, values)
    assert (values["method"], values["prompt_lr"], values["max_steps"]) == ("prompt_tuning", 0.3, 60)
    assert values["settings"] == {"max_seq_length": 256, "eval_every": 20}
