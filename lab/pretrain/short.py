"""Other forms of the tasks' training rows, with the same task names.

Short forms have fewer facts, fewer people and no frame around the clauses: of a task with long rows, a small model has
to see these first. Other words: the training rows have a few hundred words, which a model memorises; with words of the
whole language in their places it has to read.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from dept.tasks import load_task
from dept.tasks.samples import inference, reading
from dept.tasks.samples.lexicon import Draw, synonyms, vocabulary
from lab.pretrain.corpora import Corpora

Row = dict[str, Any]
_NAMES = ("female", "male", "surname", "city", "company")
_NOUNS = ("animal", "food", "object", "plant", "profession")
_FUNCTION_WORDS = 300  # the most frequent words do not serve as names


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


def with_other_words(
    pair: tuple[str, str], draw: random.Random, corpora: Corpora, *, nouns: bool = False
) -> tuple[str, str]:
    """The same row with other words: adjectives become VADER's of the same feeling, names become common words.

    nouns: replace nouns too, synonyms by WordNet's synonyms. A word has one substitute in both source and target.
    """
    source, target = pair
    good, bad = ([word for word, sign in corpora.feelings if sign == feeling] for feeling in (1, 0))
    pools = {"name": corpora.frequent[_FUNCTION_WORDS:], "positive": good, "negative": bad}
    substitutes: dict[str, str] = {}
    for word in re.findall("[a-z-]+", source.lower()):
        if word in substitutes:
            continue
        if word in _kinds():
            substitutes[word] = draw.choice(pools[_kinds()[word]])
        elif nouns and word in _nouns():
            group = _nouns()[word]
            alike = draw.choice(corpora.synonyms)
            substitutes |= zip(group, draw.choices(alike, k=len(group)) if len(group) > len(alike) else
                         draw.sample(alike, len(group)), strict=True)  # fmt: skip

    def other(match: re.Match[str]) -> str:
        return substitutes.get(match[0].lower(), match[0])

    return re.sub("[A-Za-z-]+", other, source), re.sub("[A-Za-z-]+", other, target)


@cache
def _kinds() -> dict[str, str]:
    """Word of the training rows -> the kind of words that can replace it: "name", "positive" or "negative"."""
    kinds = {word.lower(): "name" for kind in _NAMES for word in vocabulary(kind, "train")}
    for feeling in ("positive", "negative"):
        for topic in ("any", "film", "place"):
            kinds |= dict.fromkeys(vocabulary(f"{feeling}/{topic}", "train"), feeling)
    return {word: kind for word, kind in kinds.items() if word.replace("-", "").isalpha()}


@cache
def _nouns() -> dict[str, tuple[str, ...]]:
    """Noun or profession of the training rows -> itself and its synonyms there; single words only."""
    groups = (group for kind in _NOUNS for group in synonyms(kind, "train"))
    return {word: group for group in groups for word in group if all(word.isalpha() for word in group)}
