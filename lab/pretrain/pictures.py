"""Pictures in words, which `mini-t5` reads in place of images, so that a linear map can later feed it images.

A frozen T5 gets an image as one vector for each place of a grid (CLIP-T5; Sung et al., 2022). Here such a vector is
the sum of embeddings of the words that describe the place: "red", "circle", "left". A projection can then map an
encoder's features to vectors that the model knows, as a prompt can replace a task's name.
Scenes are those of the samples' training part (`dept/tasks/samples/scenes.py`); half of them have their colours and
shapes exchanged for others, so a pair of words may be one whose pictures the samples' validation or test part owns.
Neither the encoder nor a projection is trained on pictures of such pairs; the model does read the two words.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace

from dept.tasks import load_task
from dept.tasks.samples.scenes import COLOURS, GRID, SHAPES, SIZE, Scene, Thing, captions, questions, scene

PICTURES = ("vqa", "coco_captions")
MORE_COLOURS = (*COLOURS, "teal", "brown", "pink", "white")
MORE_SHAPES = (*SHAPES, "rectangle", "ring", "heart", "arrow")
NOTHING = "background"  # the word of a place without a shape
_SIDES = (3, 4, 4, 5)  # places in a row and in a column of the grid
_LEAST = 0.12  # least share of a place or of a thing for the thing to appear there
_COLUMNS, _ROWS = ("left", "middle", "right"), ("top", "middle", "bottom")
_MISSED = 0.03  # share of the words that are left out

# The words of each place, row by row, with their weights.
Places = list[list[tuple[str, float]]]


def picture(name: str, draw: random.Random, split: str = "train") -> tuple[Places, str, str]:
    """(places, source, target) of `vqa` or `coco_captions`: a scene, the task's text, an answer or a caption."""
    things = scene(draw, split)
    others: dict[str, str] = {}
    if split == "train" and draw.random() < 0.5:
        others = dict(zip(COLOURS, draw.sample(MORE_COLOURS, len(COLOURS)), strict=True))
        others |= zip(SHAPES, draw.sample(MORE_SHAPES, len(SHAPES)), strict=True)
    shown_things = tuple(replace(thing, colour=others.get(thing.colour, thing.colour),
                         shape=others.get(thing.shape, thing.shape)) for thing in things)  # fmt: skip
    template = load_task(name).template
    if name == "vqa":
        *_, question, answer = draw.choice(questions(draw, things, split))
        shown_question, shown_answer = (re.sub("[a-z]+", lambda match: others.get(match[0], match[0]), text)
                       for text in (question, answer))  # fmt: skip
        return places(shown_things, draw), template.format(question=shown_question), shown_answer
    return places(shown_things, draw), template, draw.choice(captions(draw, shown_things))


def places(things: Scene, draw: random.Random) -> Places:
    """A grid of three to five places a side, each with the thing that covers most of it."""
    side = draw.choice(_SIDES)
    grid: Places = []
    for row in range(side):
        for column in range(side):
            shares = [(_share(thing, row, column, side), thing) for thing in things]
            share, thing = max(shares, key=lambda both: both[0])
            words: Sequence[str] = (NOTHING,)
            if share > _LEAST:
                words = (thing.colour, thing.shape, _COLUMNS[thing.column], _ROWS[thing.row])
            weight = min(1.0, 0.5 + share) if share > _LEAST else 1.0
            kept_words = [word for word in words if draw.random() > _MISSED] or words
            grid.append([(word, weight * draw.uniform(0.8, 1.2)) for word in kept_words])
    return grid


def _share(thing: Thing, row: int, column: int, side: int) -> float:
    """The share of a place that a thing covers, or the share of the thing in that place, whichever is larger."""
    patch, width = SIZE / side, 2.0 * thing.radius
    area = 1.0
    for place, middle in ((row, thing.row), (column, thing.column)):
        start = SIZE * (middle + 0.5) / GRID - thing.radius
        area *= max(0.0, min(start + width, (place + 1) * patch) - max(start, place * patch))
    return area / min(patch, width) ** 2
