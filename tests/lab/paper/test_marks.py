"""Marks: none on the paper's own settings, and the right one for each way to differ from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dept.metrics.captions import PLAIN_TOKENISER
from lab.paper import numbers as paper
from lab.paper.marks import marks, paper_score
from lab.runs.read import read_run
from tests.lab.made_runs import made_run

# The towers that we have are none of the paper's: every row of Table 3 has a mark.
PRINTED = [task for name, tasks in paper.benchmarks().items() for task in tasks if name != "vision_language"]


def result_of(folder: Path) -> dict[str, Any]:
    result = read_run(folder).result
    assert result is not None
    return result


@pytest.mark.parametrize("task", PRINTED)
def test_the_papers_settings_have_no_mark(task: str, tmp_path: Path) -> None:
    for method in ("dept", "prompt_tuning"):
        result = result_of(made_run(tmp_path / method, task, method))
        assert marks(result) == ()
        score = paper_score(result)
        assert score is not None
        assert (score.method, score.task) == (method, task)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"data": "sample"}, "sample data"),
        ({"data": "folder"}, "folder data"),
        ({"backbone_source": "random", "backbone": "random:t5-base"}, "random backbone"),
        ({"backbone_source": "embedded", "backbone": "mini"}, "embedded backbone"),
        ({"backbone_source": "folder", "backbone": "somewhere/t5-base"}, "folder backbone"),
        ({"backbone": "gpt2"}, "other backbone"),
        ({"backbone_source": "package", "backbone": "smollm2-135m"}, "other backbone"),
        ({"steps": 29_999}, "fewer steps"),
        ({"steps": 30_001}, "more steps"),
        ({"rows": {"train": 100, "validation": 138, "test": 139}}, "other rows"),
        ({"over_budget": True}, "over budget"),
        ({"rank": 44}, "under budget"),
        ({"eval_every": 100}, "other eval_every"),
        ({"budget_tokens": 50}, "other budget"),
        ({"quantize": "nf4"}, "quantised backbone"),
        ({"batch_size": 32}, "other batch_size"),
        ({"prompt_lr": 0.004}, "other prompt_lr"),
        ({"low_rank_lr": 0.3}, "other low_rank_lr"),
        ({"num_virtual_tokens": 0}, "other num_virtual_tokens"),
        ({"verbalizer": "words"}, "other verbalizer"),
    ],
)
def test_each_way_to_differ_has_its_mark(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert marks(result_of(made_run(tmp_path / "run", **changes))) == (expected,)


def test_what_the_paper_leaves_open_is_not_marked(tmp_path: Path) -> None:
    """A's start and scale, the hub's own name of the backbone, the lengths of the paper and of the release."""
    made_run(tmp_path / "a", low_rank_alpha=None, low_rank_init="gaussian", backbone="google-t5/t5-base")
    assert marks(result_of(tmp_path / "a")) == ()
    for index, length in enumerate((256, 512)):
        assert marks(result_of(made_run(tmp_path / f"nq{index}", "nq", max_seq_length=length))) == ()


def test_llama_2_on_sst2_stands_beside_table_6(tmp_path: Path) -> None:
    result = result_of(made_run(tmp_path / "run", "sst2", backbone="llama-2-7b", num_virtual_tokens=60, rank=37))
    score = paper_score(result)
    assert score is not None
    assert (score.table, score.value) == (6, 94.95)
    assert "other backbone" not in marks(result)


@pytest.mark.parametrize(
    ("tower", "expected"),
    [("hub", "other tower"), ("folder", "other tower"), ("random", "random tower"), ("embedded", "embedded tower")],
)
def test_rows_of_table_3_are_marked_by_their_image_encoder(tower: str, expected: str, tmp_path: Path) -> None:
    result = result_of(made_run(tmp_path / "run", "vqa", "dept"))
    assert marks({**result, "vision_backbone": {"name": "a", "source": tower}}) == (expected,)
    captions = result_of(made_run(tmp_path / "captions", "coco_captions", "dept"))
    noted = {**captions, "vision_backbone": {"name": "a", "source": "hub"}, "notes": [PLAIN_TOKENISER]}
    assert marks(noted) == ("other tower", "plain tokeniser")
