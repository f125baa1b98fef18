"""Short forms of tasks, behind the same names: what a small model has to see first of a task whose rows are long.

Rows of the samples' training part, with fewer facts, fewer people, no frame around the clauses.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from dept.tasks import load_task
from dept.tasks.samples import inference, reading
from dept.tasks.samples.lexicon import Draw

Row = dict[str, Any]


def boolq(draw: Draw) -> list[Row]:
    """A yes/no question over one fact or two."""
    return [reading.boolq(draw, draw.choice((0, 1)), others=0)]


def multirc(draw: Draw) -> list[Row]:
    """One answer, two or three people."""
    return reading.multirc(draw, draw.choice(((0,), (1,), (0, 1), (1, 0))))


def mnli(draw: Draw) -> list[Row]:
    """The bare clauses."""
    label = draw.choice((0, 1, 2))
    premise, hypothesis = draw.choice(inference.RULES)(draw, inference.LABELS[label])
    return [{"premise": premise, "hypothesis": hypothesis, "label": label}]


def rte(draw: Draw) -> list[Row]:
    """The bare clauses."""
    label = draw.choice((0, 1))
    relation = draw.choice(inference.LABELS[1:]) if label else inference.ENTAILMENT
    premise, hypothesis = draw.choice(inference.RULES)(draw, relation)
    return [{"sentence1": premise, "sentence2": hypothesis, "label": label}]


SHORT: dict[str, Callable[[Draw], list[Row]]] = {make.__name__: make for make in (boolq, multirc, mnli, rte)}


def short_pairs(name: str, count: int, draw: random.Random) -> list[tuple[str, str]]:
    """(source, target) texts of a task's short form."""
    task = load_task(name)
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        rows = SHORT[name](Draw("train", draw.getrandbits(32)))
        pairs += [(example.source, example.target) for row in rows for example in task.examples(_numbered(row))]
    return pairs[:count]


def _numbered(row: Row) -> Row:
    return {**row, "idx": {"paragraph": 0, "question": 0, "answer": 0} if "paragraph" in row else 0}
