"""The samples' training rows in many more frames than their own (frames.yaml), with the same task names.

The samples have a dozen templates for each task. A small model memorises these and fails on an unseen one; with a
hundred it has to read. The frames were written without looking at the validation and test templates, and a frame with
a spelling that the samples' validation or test part owns is left out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dept.tasks import load_task
from dept.tasks.samples import pairs, single
from dept.tasks.samples.lexicon import SPLITS, Draw, load
from lab.pretrain.corpora import is_allowed

_BINARY = (0, 1)
FRAMED: dict[str, tuple[Callable[[Draw, int], dict[str, Any]], tuple[int, ...]]] = {
    "sst2": (single.sst2, _BINARY),
    "yelp_polarity": (single.yelp_polarity, _BINARY),
    "cola": (single.cola, _BINARY),
    "mrpc": (pairs.mrpc, _BINARY),
    "stsb": (pairs.stsb, (0, 1, 2, 3, 4, 5)),
    "qqp": (pairs.qqp, _BINARY),
}


@cache
def frames() -> dict[str, Any]:
    """frames.yaml without frames that hold evaluation's spellings or happen to equal its templates."""
    text = Path(__file__).with_name("frames.yaml").read_text(encoding="utf-8")
    allowed: dict[str, Any] = _kept(yaml.safe_load(text))
    return allowed


def _kept(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {name: _kept(below) for name, below in node.items()}
    return [frame for frame in node if all(_is_free(text) for text in ([frame] if isinstance(frame, str) else frame))]


def _is_free(text: str) -> bool:
    return is_allowed(re.sub(r"\{\w+\}", " ", text)) and _plain(text) not in _of_evaluation()


def _plain(template: str) -> tuple[str, ...]:
    """A template's words and slots in order, without punctuation and the slots' numbers."""
    return tuple(re.findall("[a-z]+", template.lower()))


@cache
def _of_evaluation() -> frozenset[tuple[str, ...]]:
    return frozenset(map(_plain, _owned(load("templates.yaml"), False)))


def _owned(node: Any, owned: bool) -> Iterator[str]:
    """The templates of the validation and test parts."""
    if isinstance(node, str):
        if owned:
            yield node
    elif isinstance(node, Mapping):
        for name, below in node.items():
            yield from _owned(below, owned or name in SPLITS[1:])
    else:
        for below in node:
            yield from _owned(below, owned)


class _Framed(Draw):
    """Draws from the training part's words, and from the frames where a task has any."""

    def node(self, name: str) -> Any:
        return frames()[name]

    def template(self, name: str, *, file: str = "templates.yaml") -> Any:
        node: Any = frames()
        for step in name.split("/"):
            node = node[step]
        return self.choice(node)


def framed_pairs(name: str, count: int, draw: random.Random) -> list[tuple[str, str]]:
    """(source, target) texts of a task's training rows in the frames; all labels are equally frequent."""
    task = load_task(name)
    make, labels = FRAMED[name]
    rows = (make(_Framed("train", draw.getrandbits(32)), labels[number % len(labels)]) for number in range(count))
    return [(example.source, example.target) for row in rows for example in task.examples({**row, "idx": 0})]
