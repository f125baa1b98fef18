"""Pictures taken away and exchanged: the rows stay, the features are what they should be, the scores tell."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dept.evaluation.load_run import evaluate_run, load_run
from dept.runs.settings import TrainConfig
from dept.training.loop import train
from dept.training.prepare import Prepared, prepare
from lab.teaching.seeing import (
    BLANK,
    OTHER,
    OWN,
    blank_pictures,
    by_picture,
    exchanged_pictures,
    guessed,
    predictions_shown,
    rows_shown,
)
from tests.dept.vision_helpers import save_tower


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_t5: Path) -> TrainConfig:
    folder = tmp_path_factory.mktemp("seeing")
    return TrainConfig(
        task="vqa", backbone=str(tiny_t5), vision_backbone=str(save_tower(folder / "clip")), data="sample",
        num_virtual_tokens=4, budget_tokens=10, max_seq_length=64, max_steps=2, batch_size=4, max_train_rows=8,
        max_validation_rows=4, max_test_rows=8, prompt_lr=0.3, low_rank_lr=0.1, output_dir=str(folder / "run"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def prepared(config: TrainConfig) -> Prepared:
    train(config)
    return prepare(config)


def test_pictures_are_exchanged_between_rows_or_taken_away(prepared: Prepared) -> None:
    test = prepared.splits["test"]
    assert prepared.tower is not None
    exchanged, blank = exchanged_pictures(test), blank_pictures(test, prepared.tower)
    own = {image: test[index]["visual_features"] for index, image in enumerate(test.images)}
    assert len(own) > 1
    for index, image in enumerate(test.images):
        assert exchanged[index]["source_ids"] == blank[index]["source_ids"] == test[index]["source_ids"]
        other = exchanged[index]["visual_features"]
        assert not np.array_equal(other, own[image])
        assert any(np.array_equal(other, features) for features in own.values())
    assert len({blank[index]["visual_features"].tobytes() for index in range(len(blank))}) == 1
    assert not np.array_equal(blank[0]["visual_features"], test[0]["visual_features"])


def test_its_own_picture_scores_as_the_run_does(config: TrainConfig, prepared: Prepared) -> None:
    run = load_run(config.output_dir)
    found = by_picture(run, prepared)
    assert list(found) == [OWN, OTHER, BLANK]
    assert found[OWN].metrics == evaluate_run(run).metrics
    assert found[OWN].predictions == evaluate_run(run).predictions


def test_pictures_are_drawn_with_what_is_asked_and_said(config: TrainConfig, prepared: Prepared) -> None:
    figure = rows_shown(prepared, 3)
    assert [trace.type for trace in figure.data] == ["image"] * 3
    assert all(trace.source.startswith("data:image/jpeg;base64,") for trace in figure.data)
    assert len({trace.source for trace in figure.data}) == 3, "each picture once"
    split = prepared.splits["train"]
    told = [note.text.replace("<br>", " ") for note in figure.layout.annotations]
    assert told[0] == f"{split.sources[0]} <b>{split.targets[0]}</b>"
    found = by_picture(load_run(config.output_dir), prepared)[OWN]
    test = prepared.splits["test"]
    said = [dataclasses.replace(found.predictions[0], text="a <i>long</i> answer " * 20), *found.predictions[1:]]
    shown = predictions_shown(prepared, dataclasses.replace(found, predictions=said), 2).layout.annotations[0].text
    lines = shown.split("<br>")
    assert " ".join(lines).startswith(f"{test.sources[0]} <b>a &lt;i&gt;long&lt;/i&gt;")
    assert lines[-2].endswith("...</b>") and lines[-1].startswith(test.answers[0][0])
    assert max(map(len, lines)) < 34 + len("<b></b>") + 1


def test_guesses_are_the_most_frequent_training_answers_of_a_kind(prepared: Prepared) -> None:
    found = guessed(prepared)
    train, test = (prepared.rows.splits[name] for name in ("train", "test"))
    most = {
        kind: Counter(row["multiple_choice_answer"] for row in train if row["question_type"] == kind)
        for kind in train["question_type"]
    }
    expected = [
        min(1, row["answers_of"].count(said) / 3)
        for row in ({**row, "answers_of": [each["answer"] for each in row["answers"]]} for row in test)
        for said in [most[row["question_type"]].most_common(1)[0][0] if row["question_type"] in most else ""]
    ]
    assert list(found) == ["vqa_accuracy"]
    assert found["vqa_accuracy"] == pytest.approx(100 * sum(expected) / len(expected), abs=100 / len(expected) / 3)
