"""Runs on images, from the command line to the adapter: trained, resumed, evaluated, asked about a picture."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dept.cli import main
from dept.data.images import decode
from dept.errors import AdapterError, ConfigError, DataError
from dept.evaluation.load_run import evaluate_run, load_run, predict_texts
from dept.runs.folder import RunFolder, read_metrics
from dept.runs.settings import TrainConfig
from dept.tasks import load_task
from dept.tasks.sample import sample_rows
from dept.training.loop import train
from dept.training.prepare import prepare
from tests.dept.training.test_loop import StopAt
from tests.dept.vision_helpers import WIDTH, save_tower

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tower(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def config(tiny_t5: Path, tower: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        task="vqa", backbone=str(tiny_t5), vision_backbone=str(tower), data="sample", output_dir=str(tmp_path / "run"),
        num_virtual_tokens=4, rank=2, budget_tokens=20, max_seq_length=64, max_steps=6, eval_every=3, batch_size=4,
        max_train_rows=24, max_validation_rows=8, max_test_rows=8, prompt_lr=0.1, low_rank_lr=0.01,
    )  # fmt: skip


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "one.png"
    path.write_bytes(sample_rows("coco_captions", "test", 1)[0]["image"]["bytes"])
    return path


@pytest.fixture(scope="module")
def run(tiny_t5: Path, tower: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A trained run that answers questions."""
    folder = tmp_path_factory.mktemp("runs") / "vqa"
    arguments = {
        **{"task": "vqa", "backbone": tiny_t5, "vision-backbone": tower, "data": "sample", "output-dir": folder},
        **{"num-virtual-tokens": 4, "rank": 2, "budget-tokens": 20, "max-seq-length": 64, "max-steps": 2},
        **{"max-train-rows": 12, "max-validation-rows": 6, "max-test-rows": 6, "decoding": "answer_list"},
    }
    assert (
        main(["train", "--quiet", *(part for name, value in arguments.items() for part in (f"--{name}", str(value)))])
        == 0
    )
    yield folder


def test_a_run_on_images_learns_and_says_what_it_was_made_of(config: TrainConfig, tower: Path) -> None:
    result = train(config)
    assert result["status"] == "completed"
    assert result["trainable_parts"] == {"prompt": 4 * 32, "low_rank": 2 * (64 + 32), "projection": 32 * WIDTH + 32}
    assert result["trainable_parameters"] == sum(result["trainable_parts"].values())
    assert result["left_over"] == 20 * 32 - 4 * 32 - 2 * (64 + 32), "the projection is outside the budget"
    seen = result["vision_backbone"]
    assert (seen["name"], seen["source"], seen["width"], seen["positions"]) == (str(tower), "folder", WIDTH, 16)
    assert (result["config"]["projection_lr"], result["main_metric"]) == (0.01, "vqa_accuracy")
    assert result["notes"] == []
    lines = [line for line in read_metrics(RunFolder(config.output_dir).metrics_file) if line["split"] == "train"]
    assert [line["projection_lr"] > 0 for line in lines] == [line["prompt_lr"] > 0 for line in lines]
    tensors = load_file(RunFolder(config.output_dir).adapter / "adapter_model.safetensors")
    assert set(tensors) == {"prompt_embeddings", "low_rank_a", "low_rank_b", "projection_weight", "projection_bias"}


def test_a_run_keeps_what_it_says_of_its_first_test_rows(config: TrainConfig) -> None:
    train(config)
    run = load_run(config.output_dir)
    expected = evaluate_run(run)
    lines = json.loads(RunFolder(config.output_dir).predictions_file.read_text())
    assert [line["prediction"] for line in lines] == [prediction.text for prediction in expected.predictions]
    rows = sample_rows("vqa", "test", 8, seed=config.seed)
    for line, row in zip(lines, rows, strict=True):
        assert line["source"] == f"question: {row['question']}" and len(line["answers"]) == 10
        small = decode(base64.b64decode(line["image"]))
        whole = decode(row["image"]["bytes"])
        assert small.size == whole.size
        assert np.abs(np.asarray(small, float) - np.asarray(whole, float)).mean() < 8


def test_an_image_that_is_gone_leaves_the_result(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(value: object, side: int) -> bytes:
        raise DataError("the image cannot be read")

    monkeypatch.setattr("dept.training.result.thumbnail", gone)
    assert train(dataclasses.replace(config, max_steps=1))["status"] == "completed"
    lines = json.loads(RunFolder(config.output_dir).predictions_file.read_text())
    assert [line["image"] for line in lines] == [None] * 8


@pytest.mark.parametrize("stop_at", [1, 4])
def test_a_stopped_run_resumes_exactly(config: TrainConfig, tmp_path: Path, stop_at: int) -> None:
    whole = dataclasses.replace(config, output_dir=str(tmp_path / "whole"))
    expected = train(whole)
    assert train(config, reporter=StopAt(stop_at))["status"] == "stopped"
    result = train(config, resume=True)
    assert result["metrics"] == expected["metrics"] and result["key"] == expected["key"]
    first, second = (load_file(Path(each.output_dir, "adapter/adapter_model.safetensors")) for each in (config, whole))
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_captions_train_on_each_and_are_scored_together(config: TrainConfig) -> None:
    captions = dataclasses.replace(config, task="coco_captions", method="prompt_tuning", rank="auto", max_steps=2)
    prepared = prepare(captions)
    assert (len(prepared.splits["train"]), len(prepared.splits["test"])) == (5 * 24, 8)
    assert {len(answers) for answers in prepared.splits["test"].answers} == {5}
    assert prepared.splits["train"][0]["source_ids"] == prepared.splits["test"][0]["source_ids"]
    result = train(captions, test=False)
    assert set(result["metrics"]["validation"]) == {"cider", "bleu4", "rouge_l"}, "METEOR waits for the test"


def test_the_answer_list_holds_the_most_frequent_training_answers(config: TrainConfig) -> None:
    prepared = prepare(dataclasses.replace(config, decoding="answer_list"))
    assert set(prepared.task.answer_list) == set(prepared.splits["train"].targets)
    assert "answer_list" not in load_task("vqa").to_dict()
    with pytest.raises(ConfigError, match="no list of answers"):
        prepare(dataclasses.replace(config, task="sst2", vision_backbone=None, decoding="answer_list"))


def test_answers_come_from_the_list_alone(run: Path) -> None:
    loaded = load_run(run)
    assert loaded.task.answer_list
    found = evaluate_run(loaded)
    assert {prediction.text for prediction in found.predictions} <= set(loaded.task.answer_list)
    assert found.decoding == "answer_list"
    free = evaluate_run(loaded, decoding="generate")
    assert free.decoding == "generate"


def test_evaluation_gives_the_runs_own_score(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["metrics"] == json.loads((run / "result.json").read_text())["metrics"]["test"]


def test_a_picture_is_asked_about_from_the_command_line(
    run: Path, picture: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    question = "How many shapes are there?"
    assert main(["predict", str(run), "--text", question, "--image", str(picture), "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["text"] == question and first["prediction"] in load_run(run).task.answer_list
    row = json.dumps({"question": question, "image": str(picture)})
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{row}\n"))
    assert main(["predict", str(run)]) == 0
    assert capsys.readouterr().out.strip() == first["prediction"]
    two = ["--text", question, "--text", f"question: {question}"]
    assert main(["predict", str(run), *two, "--image", str(picture)]) == 0
    assert capsys.readouterr().out.split("\n")[:2] == [first["prediction"]] * 2
    loaded = load_run(run)
    assert predict_texts(loaded, [question], images=[picture.read_bytes()])[0].text == first["prediction"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "What?"], "needs an image: add --image FILE"),
        (["--text", "What?", "--image", "nowhere.png"], "nowhere.png cannot be read"),
        (["--text", "What?", "--image", __file__], "is no image of a known format"),
        (["--text", "a", "--text", "b", "--text", "c", "--image", "1", "--image", "2"], "2 images for 3 texts"),
    ],
)
def test_bad_questions_are_one_line(
    run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run), *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


def test_captions_need_no_text(config: TrainConfig, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(dataclasses.replace(config, task="coco_captions", max_steps=1, max_train_rows=4), test=False)
    assert main(["predict", config.output_dir, "--image", str(picture), "--image", str(picture), "--json"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == second and first["text"] == ""


def test_another_tower_is_refused(run: Path, tmp_path: Path) -> None:
    other = save_tower(tmp_path / "other", seed=1)
    with pytest.raises(AdapterError, match="trained on the image encoder .* name that one by --vision-backbone"):
        load_run(run, vision_backbone=str(other))


def test_text_tasks_take_no_tower_and_no_picture(config: TrainConfig, tower: Path) -> None:
    with pytest.raises(ConfigError, match="task sst2 has no images: leave out vision_backbone"):
        prepare(dataclasses.replace(config, task="sst2"))
    plain = dataclasses.replace(config, task="sst2", vision_backbone=None, max_steps=1)
    result = train(plain)
    assert result["vision_backbone"] is None and set(result["trainable_parts"]) == {"prompt", "low_rank"}
    with pytest.raises(DataError, match="a task without images"):
        predict_texts(load_run(plain.output_dir), ["dull"], images=["a.png"])


def test_a_decoder_only_backbone_reads_images_too(config: TrainConfig, tiny_gpt2: Path) -> None:
    result = train(dataclasses.replace(config, backbone=str(tiny_gpt2), max_steps=2))
    assert result["status"] == "completed" and "projection" in result["trainable_parts"]


def test_features_are_computed_once_for_all_runs(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dept.backbones.towers import ClipTower

    prepare(config)
    monkeypatch.setattr(ClipTower, "features", lambda self, images: pytest.fail("looked at an image again"))
    again = prepare(dataclasses.replace(config, seed=config.seed, max_steps=3))
    assert again.splits["train"][0]["visual_features"].shape == (16, WIDTH)


@pytest.mark.parametrize("name", ["vqa", "coco_captions", "easy_vqa"])
def test_real_rows_train(config: TrainConfig, shared: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Folders of real photographs, of captions, and a set with a single answer a question."""
    changes: dict[str, Any] = {"task": "vqa" if name == "easy_vqa" else name, "max_steps": 1, "max_train_rows": 6}
    with caplog.at_level(logging.WARNING):
        result = train(dataclasses.replace(config, data=str(shared / "data" / name), **changes), test=False)
    assert result["status"] == "completed" and result["data"]["source"] == "folder"
    assert result["metrics"]["untrained_validation"].keys() & {"vqa_accuracy", "cider"}
    assert not caplog.records
