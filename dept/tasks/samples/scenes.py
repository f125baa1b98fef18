"""Drawn samples (vqa, coco_captions): small pictures of coloured shapes, with questions, ten answers, captions.

A scene is one to four shapes in the cells of a 3 x 3 grid, each of another kind. Of the 48 pairs of a colour and a
shape half are shared by all splits and a sixth belongs to each split alone; every picture holds a pair that is its
split's own, so that none is in two splits and a test picture shows a pair never seen in training.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from dept.tasks.samples.lexicon import SHARED, SPLITS, stable_seed

if TYPE_CHECKING:
    import random

    from PIL.ImageDraw import ImageDraw

COLOURS = {
    "red": (214, 40, 40), "green": (40, 160, 60), "blue": (40, 80, 220), "yellow": (245, 205, 30),
    "purple": (140, 50, 170), "orange": (245, 130, 30), "black": (25, 25, 25), "gray": (140, 140, 140),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")
SIZE = 64  # pixels of a side
GRID = 3  # cells of a side
_MOST_SHAPES = 4
_PARTS = (SHARED, SHARED, SHARED, *SPLITS)  # the part of each pair, in turn
_COUNTS = ("zero", "one", "two", "three", "four")

Pair = tuple[str, str]  # colour, shape


@dataclass(frozen=True)
class Thing:
    """A shape in a cell of the grid: row and column count from the top left."""

    colour: str
    shape: str
    row: int
    column: int
    radius: int

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


Scene = tuple[Thing, ...]


@cache
def pairs(part: str) -> tuple[Pair, ...]:
    """The pairs of a colour and a shape that a split owns, or the shared ones: each colour and shape in every part."""
    part_pairs = []
    for i, colour in enumerate(COLOURS):
        for j, shape in enumerate(SHAPES):
            if _PARTS[(i + j) % len(_PARTS)] == part:
                part_pairs.append((colour, shape))
    return tuple(part_pairs)


def scene(rng: random.Random, split: str) -> Scene:
    """Draw a scene of a split: one pair is the split's own, the others are its own or shared; no pair comes twice."""
    chosen = [rng.choice(pairs(split))]
    others = [pair for pair in (*pairs(split), *pairs(SHARED)) if pair != chosen[0]]
    chosen += rng.sample(others, rng.randrange(_MOST_SHAPES))
    rng.shuffle(chosen)
    cells = rng.sample(range(GRID * GRID), len(chosen))
    return tuple(
        Thing(colour, shape, cell // GRID, cell % GRID, rng.randint(7, 9))
        for (colour, shape), cell in zip(chosen, cells, strict=True)
    )


def draw(things: Scene, background: int) -> bytes:
    """A scene as a PNG file; `background` is a light gray (0 to 255)."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (SIZE, SIZE), (background,) * 3)
    canvas = ImageDraw.Draw(image)
    for thing in things:
        middle = [round(SIZE * (place + 0.5) / GRID) for place in (thing.column, thing.row)]
        DRAWN_SHAPES[thing.shape](canvas, middle[0], middle[1], thing.radius, COLOURS[thing.colour])
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


_Colour = tuple[int, int, int]


def _circle(canvas: ImageDraw, x: int, y: int, r: int, colour: _Colour) -> None:
    canvas.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _square(canvas: ImageDraw, x: int, y: int, r: int, colour: _Colour) -> None:
    canvas.rectangle((x - r + 1, y - r + 1, x + r - 1, y + r - 1), fill=colour)


def _triangle(canvas: ImageDraw, x: int, y: int, r: int, colour: _Colour) -> None:
    canvas.polygon([(x, y - r), (x + r, y + r), (x - r, y + r)], fill=colour)


def _star(canvas: ImageDraw, x: int, y: int, r: int, colour: _Colour) -> None:
    points = []
    for i in range(10):
        reach, angle = (r + 1 if i % 2 == 0 else 0.42 * r), math.pi * i / 5
        points.append((x + reach * math.sin(angle), y - reach * math.cos(angle)))
    canvas.polygon(points, fill=colour)


def _diamond(canvas: ImageDraw, x: int, y: int, r: int, colour: _Colour) -> None:
    canvas.polygon([(x, y - r - 1), (x + r - 2, y), (x, y + r + 1), (x - r + 2, y)], fill=colour)


def _cross(canvas: ImageDraw, x: int, y: int, r: int, colour: _Colour) -> None:
    canvas.rectangle((x - r, y - 2, x + r, y + 2), fill=colour)
    canvas.rectangle((x - 2, y - r, x + 2, y + r), fill=colour)


DRAWN_SHAPES: dict[str, Callable[[ImageDraw, int, int, int, _Colour], None]] = {
    "circle": _circle, "square": _square, "triangle": _triangle, "star": _star, "diamond": _diamond, "cross": _cross,
}  # fmt: skip


_colour_of, _shape_of = attrgetter("colour"), attrgetter("shape")

# Questions: (question_type, answer_type, question, answer), or None where a scene has none of the kind.
Question = tuple[str, str, str, str]


def _alone(things: Scene, feature: Callable[[Thing], str]) -> list[Thing]:
    """The things whose `feature` no other thing has, so that a question can name them by it."""
    names = [feature(thing) for thing in things]
    return [thing for thing in things if names.count(feature(thing)) == 1]


def _ask_colour(rng: random.Random, things: Scene, split: str) -> Question | None:
    single = _alone(things, _shape_of)
    if not single:
        return None
    thing = rng.choice(single)
    return "what color is the", "other", f"What color is the {thing.shape}?", thing.colour


def _ask_shape(rng: random.Random, things: Scene, split: str) -> Question | None:
    single = _alone(things, _colour_of)
    if not single:
        return None
    thing = rng.choice(single)
    return "what", "other", f"What shape is {thing.colour}?", thing.shape


def _ask_count(rng: random.Random, things: Scene, split: str) -> Question:
    return "how many", "number", "How many shapes are there?", str(len(things))


def _ask_whether(rng: random.Random, things: Scene, split: str) -> Question:
    """Ask whether a pair is there. Half of the answers are no; such a pair has a colour or a shape of the scene."""
    there = {(thing.colour, thing.shape) for thing in things}
    near = [
        pair
        for pair in (*pairs(split), *pairs(SHARED))
        if pair not in there and any(pair[0] == colour or pair[1] == shape for colour, shape in there)
    ]
    answer = rng.choice(("yes", "no"))
    colour, shape = rng.choice(sorted(there) if answer == "yes" else near)
    return "is there a", "yes/no", f"Is there a {colour} {shape}?", answer


def _ask_where(rng: random.Random, things: Scene, split: str) -> Question | None:
    placed = [thing for thing in _alone(things, _shape_of) if _side(thing) is not None]
    if not placed:
        return None
    thing = rng.choice(placed)
    return "where is the", "other", f"Where is the {thing.shape}?", str(_side(thing))


def _side(thing: Thing) -> str | None:
    """left or right; None in the middle column."""
    return {0: "left", GRID - 1: "right"}.get(thing.column)


_QUESTIONS = (_ask_colour, _ask_shape, _ask_count, _ask_whether, _ask_where)


def questions(rng: random.Random, things: Scene, split: str) -> list[Question]:
    """One question of each kind that can be answered from the scene."""
    return [question for ask in _QUESTIONS if (question := ask(rng, things, split)) is not None]


# What one or two of ten people may say instead.
_ALSO_SAID = {
    "gray": ("grey", "silver"), "purple": ("violet",), "orange": ("light brown",), "red": ("dark red",),
    "blue": ("dark blue",), "green": ("dark green",), "yellow": ("gold",), "black": ("dark",),
    "square": ("box", "rectangle"), "circle": ("dot", "round"), "diamond": ("rhombus",), "cross": ("plus sign",),
    "left": ("on left", "left side"), "right": ("on right", "right side"), "yes": ("yeah",), "no": ("nope",),
}  # fmt: skip


def _ten_answers(rng: random.Random, answer: str) -> list[dict[str, Any]]:
    """Ten people's answers, as VQA has them: at least eight say the same."""
    others = _ALSO_SAID.get(answer, ())
    answers = [answer] * 10
    if others:
        for place in rng.sample(range(10), rng.choice((0, 0, 1, 2))):
            answers[place] = rng.choice(others)
    return [
        {"answer": text, "answer_confidence": "yes" if text == answer else "maybe", "answer_id": number}
        for number, text in enumerate(answers, start=1)
    ]


def captions(rng: random.Random, things: Scene) -> list[str]:
    """Five people's sentences about a scene: what is there, how much, and where two of them stand."""
    names = [thing.name for thing in things]
    listed = _listed([_with_article(name) for name in names])
    backwards = _listed([_with_article(name) for name in reversed(names)])
    count = _COUNTS[len(things)]
    noun = "shape" if len(things) == 1 else "shapes"
    sentences = [
        f"{listed} on a light background.",
        f"There {'is' if len(things) == 1 else 'are'} {backwards}.",
        f"A picture of {listed}.",
        f"A drawing with {count} {noun}: {_listed(names)}.",
        _place(things) or f"A small picture that shows {backwards}.",
    ]
    rng.shuffle(sentences)
    return [text[0].upper() + text[1:] for text in sentences]


def _place(things: Scene) -> str | None:
    for one in things:
        for other in things:
            if one.column < other.column:
                left, right = _with_article(one.name), _with_article(other.name)
                return f"{left} to the left of {right}."
    return None


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _pictures(rng: random.Random, split: str) -> Iterator[tuple[Scene, dict[str, Any], int]]:
    """An endless stream of scenes, each with its image and its number."""
    while True:
        things = scene(rng, split)
        image = {"bytes": draw(things, rng.randint(235, 255)), "path": None}
        yield things, image, stable_seed("picture", split, things) % 10**9


def vqa_rows(rng: random.Random, split: str) -> Iterator[dict[str, Any]]:
    """An endless stream of rows: two questions of different kinds about each picture."""
    for things, image, number in _pictures(rng, split):
        answerable = questions(rng, things, split)
        for place, (kind, answer_type, text, answer) in enumerate(rng.sample(answerable, 2)):
            yield {
                "question_id": number * 1000 + place,
                "image_id": number,
                "question": text,
                "question_type": kind,
                "answer_type": answer_type,
                "multiple_choice_answer": answer,
                "answers": _ten_answers(rng, answer),
                "image": image,
            }


def caption_rows(rng: random.Random, split: str) -> Iterator[dict[str, Any]]:
    """An endless stream of rows: a picture and five captions."""
    for things, image, number in _pictures(rng, split):
        yield {"image": image, "captions": captions(rng, things), "image_id": number}
