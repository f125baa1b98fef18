"""The pictures for `mini-clip`: coloured shapes, each picture with a caption of one phrase for every shape.

They have everything that the samples (`dept/tasks/samples/scenes.py`) have, and more: any place and size, and
backgrounds, colours and shapes that no sample has, some without a name. With many pairs, a tower can't infer a colour
from its shapes. Of the samples' pairs of a colour and a shape, only the shared ones and the training part's are drawn:
those of the validation and test parts stay unseen.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from dept.tasks.samples import scenes
from dept.tasks.samples.lexicon import SHARED

Phrase = tuple[str, str, str, str]  # colour, shape, row, column: "red circle top left"
Colour = tuple[int, int, int]

RECTANGLE = "rectangle"
BLOB = "blob"  # the name of any other shape
SHAPES = (*scenes.SHAPES, RECTANGLE, BLOB)
COLORED = "colored"  # the name of any other colour
# Two shades of each colour: the samples', and HTML's colour of this name.
COLOURS: dict[str, tuple[Colour, ...]] = {
    **{name: (shade,) for name, shade in scenes.COLOURS.items()},
    "red": (scenes.COLOURS["red"], (255, 0, 0)), "green": (scenes.COLOURS["green"], (0, 255, 0)),
    "blue": (scenes.COLOURS["blue"], (0, 0, 255)), "yellow": (scenes.COLOURS["yellow"], (255, 255, 0)),
    "black": (scenes.COLOURS["black"], (0, 0, 0)), "gray": (scenes.COLOURS["gray"], (128, 128, 128)),
    "teal": ((0, 128, 128),), "brown": ((165, 42, 42),), COLORED: (),
}  # fmt: skip
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
# A colour or shape that no sample has is paired as the similar one is: a tower that has seen brown crosses, but no red
# ones, would take a red cross for a brown one.
_LOOKS_LIKE = {"brown": "red", "teal": "green", RECTANGLE: "square"}
WORDS = (*COLOURS, *SHAPES, *ROWS, *COLUMNS)

_LIKE_SAMPLES, _NEAR_CELLS = 0.25, 0.5  # cumulative shares of how shapes are placed; the rest: one shape, anywhere
_FINE = 0.4  # share of the pictures drawn at twice the size, for soft edges
_JITTER = 20  # random change of a colour's channels
_UNLIKE = 64  # least distance of a colour without a name from all named ones
_LIGHT = 226  # the darkest channel of a background


@dataclass(frozen=True)
class Picture:
    """pixels: RGB, [64, 64, 3]. caption: a phrase for each shape."""

    pixels: npt.NDArray[np.uint8]
    caption: tuple[Phrase, ...]


@cache
def pairs() -> tuple[tuple[str, str], ...]:
    """The pairs of a colour and a shape that may be drawn."""
    allowed = {*scenes.pairs(SHARED), *scenes.pairs("train")}
    return tuple(
        (colour, shape)
        for colour in COLOURS
        for shape in SHAPES
        if (_LOOKS_LIKE.get(colour, colour), _LOOKS_LIKE.get(shape, shape)) in allowed
        or (shape == BLOB) != (colour == COLORED)
    )


def picture(draw: random.Random) -> Picture:
    """Draw one to four shapes, each of another pair and in another ninth of the picture."""
    way = draw.random()
    count = 1 if way >= _NEAR_CELLS else draw.randint(1, 4)
    chosen = draw.sample(pairs(), count)
    cells = draw.sample(range(scenes.GRID**2), count)
    scale = 2 if draw.random() < _FINE else 1
    image = Image.new("RGB", (scenes.SIZE * scale,) * 2, _background(draw))
    canvas = ImageDraw.Draw(image)
    caption = []
    for (colour, shape), cell in zip(chosen, cells, strict=True):
        x, y, radius = _place(draw, way, cell)
        _draw(draw, canvas, shape, round(x * scale), round(y * scale), round(radius * scale), _shade(draw, colour))
        caption.append((colour, shape, ROWS[_third(y)], COLUMNS[_third(x)]))
    if scale > 1:
        image = image.resize((scenes.SIZE, scenes.SIZE), Image.Resampling.BOX)
    return Picture(np.asarray(image), tuple(caption))


def altered(draw: random.Random, caption: tuple[Phrase, ...]) -> tuple[Phrase, ...]:
    """A wrong caption that differs little: words exchanged between two phrases, a word replaced, a phrase added or
    left out.

    It has only pairs that may be drawn, or the caption's own: a pair that is always wrong would be learnt as wrong.
    """
    known = {*pairs(), *(phrase[:2] for phrase in caption)}
    while True:
        candidate = _altered(draw, caption)
        if sorted(candidate) != sorted(caption) and all(phrase[:2] in known for phrase in candidate):
            return candidate


def _altered(draw: random.Random, caption: tuple[Phrase, ...]) -> tuple[Phrase, ...]:
    kind = draw.random()
    phrases = [list(phrase) for phrase in caption]
    if kind < 0.4 and len(phrases) > 1:
        one, other = draw.sample(phrases, 2)
        field = draw.choice((slice(0, 1), slice(1, 2), slice(2, 4)))  # colour, shape, place
        one[field], other[field] = other[field], one[field]
    elif kind < 0.5 and len(phrases) > 1:
        phrases.remove(draw.choice(phrases))
    elif kind < 0.6:
        phrases.append([*draw.choice(pairs()), draw.choice(ROWS), draw.choice(COLUMNS)])
    else:
        place = draw.randrange(4)
        draw.choice(phrases)[place] = draw.choice((tuple(COLOURS), SHAPES, ROWS, COLUMNS)[place])
    return tuple((phrase[0], phrase[1], phrase[2], phrase[3]) for phrase in phrases)


def caption_of(things: scenes.Scene) -> tuple[Phrase, ...]:
    """A sample's scene as phrases of `mini-clip`."""
    return tuple((thing.colour, thing.shape, ROWS[thing.row], COLUMNS[thing.column]) for thing in things)


def _shade(draw: random.Random, colour: str) -> Colour:
    """One of a colour's shades, or a shade unlike all named colours."""
    if colour == COLORED:
        known = [shade for shades in COLOURS.values() for shade in shades]
        while True:
            red, green, blue = (draw.randint(0, 255) for _ in range(3))
            if min(red, green, blue) < 190 and all(_far(shade, (red, green, blue)) for shade in known):
                return red, green, blue
    red, green, blue = (
        min(255, max(0, channel + draw.randint(-_JITTER, _JITTER))) for channel in draw.choice(COLOURS[colour])
    )
    return red, green, blue


def _far(one: Colour, other: Colour) -> bool:
    return math.dist(one, other) > _UNLIKE


def _background(draw: random.Random) -> Colour:
    """A light background, grey or tinted."""
    if draw.random() < 0.5:
        return (draw.randint(_LIGHT, 255),) * 3
    return draw.randint(_LIGHT, 255), draw.randint(_LIGHT, 255), draw.randint(_LIGHT, 255)


def _place(draw: random.Random, way: float, cell: int) -> tuple[float, float, float]:
    """A shape's middle (x, y) and radius, in pixels."""
    if way >= _NEAR_CELLS:
        radius = draw.uniform(4, 17)
        return draw.uniform(radius, scenes.SIZE - radius), draw.uniform(radius, scenes.SIZE - radius), radius
    x, y = (scenes.SIZE * (place + 0.5) / scenes.GRID for place in (cell % scenes.GRID, cell // scenes.GRID))
    if way < _LIKE_SAMPLES:
        return x, y, draw.randint(7, 9)
    return x + draw.uniform(-4, 4), y + draw.uniform(-4, 4), draw.uniform(5, 10)


def _third(place: float) -> int:
    return min(scenes.GRID - 1, int(scenes.GRID * place / scenes.SIZE))


def _draw(
    draw: random.Random, canvas: ImageDraw.ImageDraw, shape: str, x: int, y: int, radius: int, shade: Colour
) -> None:
    if shape in scenes.DRAWN_SHAPES:
        scenes.DRAWN_SHAPES[shape](canvas, x, y, radius, shade)
        return
    if shape == BLOB:
        corners, turn = draw.randint(5, 8), draw.uniform(0, 1)
        points = [(math.tau * (turn + i) / corners, radius * draw.uniform(0.5, 1.1)) for i in range(corners)]
        canvas.polygon([(x + r * math.cos(angle), y + r * math.sin(angle)) for angle, r in points], fill=shade)
        return
    short = max(2, round(radius * draw.uniform(0.4, 0.75)))
    width, height = (radius, short) if draw.random() < 0.5 else (short, radius)
    canvas.rectangle((x - width, y - height, x + width, y + height), fill=shade)
