"""The drawn samples: schema, splits without a common combination, answers that are right, nothing given away."""

from __future__ import annotations

import io
import itertools
import json
import random
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dept.errors import DataError
from dept.tasks import load_task
from dept.tasks.sample import DRAWN_TASKS, sample_rows
from dept.tasks.samples import scenes
from dept.tasks.samples.lexicon import SHARED, SPLITS, load, own_spellings

Row = dict[str, Any]


@cache
def rows_of(task: str, split: str) -> list[Row]:
    return sample_rows(task, split, 400)


def read(row: Row) -> tuple[bytes, str | None]:
    return row["image"]["bytes"], row.get("question")


@pytest.mark.parametrize("task", DRAWN_TASKS)
def test_rows_have_the_real_ones_columns_and_are_examples(task: str, shared: Path) -> None:
    real = json.loads((shared / "data" / task / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    for split in SPLITS:
        for row in rows_of(task, split):
            assert set(row) == set(real) - {"image_license", "flickr_url"}
            for column in set(row) - {"image"}:
                assert type(row[column]) is type(real[column]), column
            [example] = load_task(task).examples(row)
            assert example.target in example.answers
    answers = "answers" if task == "vqa" else "captions"
    assert {len(row[answers]) for row in rows_of(task, "train")} == {len(real[answers])}


@pytest.mark.parametrize("task", DRAWN_TASKS)
def test_rows_differ_and_depend_on_task_split_and_seed_alone(task: str) -> None:
    rows = rows_of(task, "train")
    assert len({read(row) for row in rows}) == len(rows)
    assert sample_rows(task, "train", 40) == rows[:40]
    assert [read(row) for row in sample_rows(task, "train", 40, seed=1)] != [read(row) for row in rows[:40]]
    with pytest.raises(DataError, match="no split 'dev'"):
        sample_rows(task, "dev", 1)


def test_each_split_owns_combinations_of_every_colour_and_shape() -> None:
    parts = {part: set(scenes.pairs(part)) for part in (SHARED, *SPLITS)}
    assert set.union(*parts.values()) == set(itertools.product(scenes.COLOURS, scenes.SHAPES))
    assert sum(map(len, parts.values())) == 48, "no pair in two parts"
    for owned in parts.values():
        assert {colour for colour, _ in owned} == set(scenes.COLOURS)
        assert {shape for _, shape in owned} == set(scenes.SHAPES)
    for split in SPLITS:
        rng = random.Random(0)
        for _ in range(300):
            things = scenes.scene(rng, split)
            shown = {(thing.colour, thing.shape) for thing in things}
            assert shown & parts[split] and shown <= parts[split] | parts[SHARED]
            assert len({(thing.row, thing.column) for thing in things}) == len(things) == len(shown)
    pictures = [{row["image"]["bytes"] for row in rows_of("coco_captions", split)} for split in SPLITS]
    assert not set.intersection(*pictures) and not pictures[0] & pictures[2]


def test_pictures_show_what_is_said() -> None:
    """Each shape's middle has its colour, and nothing else has; captions name them all."""
    rng = random.Random(3)
    for _ in range(100):
        things = scenes.scene(rng, "test")
        picture = Image.open(io.BytesIO(scenes.draw(things, 250)))
        assert picture.size == (scenes.SIZE, scenes.SIZE)
        assert {colour for _, colour in picture.getcolors(10_000) or []} == {(250,) * 3} | {
            scenes.COLOURS[thing.colour] for thing in things
        }
        for thing in things:
            place = [round(scenes.SIZE * (index + 0.5) / 3) for index in (thing.column, thing.row)]
            assert picture.getpixel((place[0], place[1])) == scenes.COLOURS[thing.colour]
        captions = scenes.captions(rng, things)
        assert len(set(captions)) == 5
        assert sum(all(thing.name in caption.lower() for thing in things) for caption in captions) >= 4


def test_questions_are_answered_by_the_picture_alone() -> None:
    rows = rows_of("vqa", "train")
    for row in rows:
        said = Counter(answer["answer"] for answer in row["answers"])
        assert said.most_common(1)[0] == (row["multiple_choice_answer"], said[row["multiple_choice_answer"]])
        assert said[row["multiple_choice_answer"]] >= 8
    by_kind: dict[str, Counter[str]] = {}
    for row in rows:
        by_kind.setdefault(row["question_type"], Counter())[row["multiple_choice_answer"]] += 1
    assert set(by_kind) == {"what color is the", "what", "how many", "is there a", "where is the"}
    for kind, answers in by_kind.items():
        chance = 1 / len(answers)
        assert max(answers.values()) / answers.total() < chance + 0.15, (kind, answers)
        assert answers.total() > 30, kind


def test_the_words_of_pictures_belong_to_all_splits() -> None:
    assert set(load("templates.yaml")["pictures"].split()) == {*scenes.COLOURS, *scenes.SHAPES}
    for split in SPLITS:
        assert own_spellings(split).isdisjoint({*scenes.COLOURS, *scenes.SHAPES})
