"""Adapters side by side on the same texts: as `dept predict` says it, on one backbone, beside the untrained prompt."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from dept.errors import DataError
from dept.evaluation.load_run import load_run, predict_texts
from dept.runs.settings import TrainConfig
from dept.tasks.sample import sample_rows
from dept.training.loop import train
from lab.service import predictors
from lab.service.predictors import MOST_LOADED, Side, compare
from tests.dept.vision_helpers import save_tower

TEXTS = ("a gorgeous film", "sentence: a dull film")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_t5: Path) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("predictors")
    base = TrainConfig(
        task="sst2", backbone=str(tiny_t5), data="sample", budget_tokens=10, num_virtual_tokens=4, max_seq_length=32,
        max_steps=3, batch_size=4, prompt_lr=0.3, low_rank_lr=0.1, max_train_rows=16,
        max_validation_rows=8, max_test_rows=8,
    )  # fmt: skip
    dept = dataclasses.replace(base, output_dir=str(folder / "dept"))
    pt = dataclasses.replace(base, method="prompt_tuning", output_dir=str(folder / "pt"))
    for config in (dept, pt):
        train(config)
    return {"DePT": dept.output_dir, "PT": pt.output_dir}


def test_each_side_says_what_its_run_says(runs: dict[str, str]) -> None:
    threads = torch.get_num_threads()
    try:
        found = compare(
            [*(Side(name, run) for name, run in runs.items()), Side("untrained", runs["DePT"], False)], TEXTS
        )
    finally:
        torch.set_num_threads(threads)
    for answers in found[:2]:
        expected = predict_texts(load_run(answers.side.run), TEXTS)
        for own, other in zip(answers.predictions, expected, strict=True):
            assert own.text == other.text
            assert own.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    trained, _, untrained = (answers.predictions[0].probabilities for answers in found)
    assert trained != untrained
    assert all(answers.seconds_per_text > 0 for answers in found)
    loaded = [run for (path, *_), run in predictors._LOADED._runs.items() if path in runs.values()]
    assert len(loaded) == 3 and len({id(run.model.backbone) for run in loaded}) == 1
    assert len(predictors._LOADED._runs) <= MOST_LOADED


def test_sides_that_read_images_share_the_encoder(tmp_path: Path, tiny_t5: Path) -> None:
    tower = str(save_tower(tmp_path / "clip"))
    base = TrainConfig(
        task="vqa", backbone=str(tiny_t5), vision_backbone=tower, data="sample", budget_tokens=10,
        num_virtual_tokens=4, max_seq_length=64, max_steps=2, batch_size=4, prompt_lr=0.3, low_rank_lr=0.1,
        max_train_rows=8, max_validation_rows=4, max_test_rows=4, output_dir=str(tmp_path / "dept"),
    )  # fmt: skip
    pt = dataclasses.replace(base, method="prompt_tuning", output_dir=str(tmp_path / "pt"))
    for config in (base, pt):
        train(config, test=False)
    picture = sample_rows("vqa", "test", 1)[0]["image"]["bytes"]
    sides = [Side("DePT", base.output_dir), Side("PT", pt.output_dir), Side("untrained", base.output_dir, False)]
    threads = torch.get_num_threads()
    try:
        found = compare(sides, ["what is there ?"], [picture])
    finally:
        torch.set_num_threads(threads)
    for answers in found[:2]:
        run = load_run(answers.side.run)
        assert answers.predictions[0].text == predict_texts(run, ["what is there ?"], images=[picture])[0].text
    loaded = [run for (path, *_), run in predictors._LOADED._runs.items() if str(tmp_path) in path]
    assert len(loaded) == 3 and len({id(run.tower) for run in loaded}) == 1
    assert loaded[-1].model.visual_projection is not None


def test_a_text_that_is_no_source_is_refused(runs: dict[str, str]) -> None:
    with pytest.raises(DataError, match="column"):
        compare([Side("DePT", runs["DePT"])], ['{"nothing": "here"}'])
