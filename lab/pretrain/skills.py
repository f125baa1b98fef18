"""Small skills that the tasks are made of: copying, comparing, word meaning, questions over a fact or two.

Each is a function (random, corpora, level) -> (source, target), short and with a clear answer; the level, from 0 to 1,
makes some of them longer. With the heads that `model` starts from, the first group is learnt in a hundred steps if it
comes first and short; within whole tasks it was not learnt in 1,500.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import cache

from dept.tasks.samples.lexicon import Draw, verb_forms, vocabulary
from dept.tasks.samples.reading import ask_one
from lab.pretrain.corpora import Corpora

Skill = Callable[[random.Random, Corpora, float], tuple[str, str]]


def _words(draw: random.Random, corpora: Corpora, count: int) -> list[str]:
    """Different words, some of them names of the samples' training part."""
    pool = draw.choice((corpora.frequent, corpora.frequent, _names()))
    return draw.sample(pool, count)


@cache
def _names() -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            word for kind in ("female", "male", "surname", "city", "company") for word in vocabulary(kind, "train")
        )
    )


def _label(answer: bool) -> str:
    return str(int(answer))


def _shuffled(draw: random.Random, items: Sequence[str]) -> list[str]:
    return draw.sample(items, len(items))


def _pair(one: Sequence[str], other: Sequence[str]) -> str:
    return f"sentence1: {' '.join(one)} sentence2: {' '.join(other)}"


# --- copying and comparing -------------------------------------------------------------------------------


def copy(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """Copy the words."""
    words = " ".join(_words(draw, corpora, draw.randint(1, 10)))
    return words, words


def after(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """The word that follows a given one."""
    words = _words(draw, corpora, _up_to(draw, 2, 12, level))
    place = draw.randrange(len(words) - 1)
    return f"question: {words[place]} context: {' '.join(words)}", words[place + 1]


def missing(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """The word that the second list lacks."""
    words = _words(draw, corpora, _up_to(draw, 2, 7, level))
    left_out = draw.choice(words)
    rest = [word for word in words if word != left_out]
    return _pair(words, rest if draw.random() < 0.5 else _shuffled(draw, rest)), left_out


def shared(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """The words that both lists hold, in the first one's order."""
    both, alone = draw.choice((1, 1, 2, 3)), _up_to(draw, 1, 4, level)
    words = _words(draw, corpora, both + 2 * alone)
    one = _shuffled(draw, words[: both + alone])
    other = _shuffled(draw, words[:both] + words[both + alone :])
    return _pair(one, other), " ".join(word for word in one if word in words[:both])


def holds(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """Is the word in the text? 1 if it is."""
    words = _words(draw, corpora, 1 + _up_to(draw, 1, 12, level))
    answer = draw.random() < 0.5
    word = draw.choice(words[1:]) if answer else words[0]
    return f"word: {word} text: {' '.join(words[1:])}", _label(answer)


def equal(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """Have two texts the same words (1), whatever their order, or is one of them another (0)?"""
    words = _text_or_words(draw, corpora, 1, level)
    answer = draw.random() < 0.5
    again = list(words) if draw.random() < 0.5 else _shuffled(draw, words)
    if not answer:
        place = draw.randrange(len(again))
        again[place] = draw.choice([word for word in _words(draw, corpora, 3) if word != again[place]])
    return _pair(words, again), _label(answer)


def ordered(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """Are the words in the same order (1), or have two of them changed places (0)?"""
    words = _text_or_words(draw, corpora, 2, level)
    again = list(words)
    answer = draw.random() < 0.5
    if not answer:
        one, other = draw.sample(range(len(again)), 2)
        again[one], again[other] = again[other], again[one]
        answer = again == words
    return _pair(words, again), _label(answer)


def together(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """Do two words stand in one sentence (1), or in two of them (0)?"""
    lengths = [_up_to(draw, 2, 7, level) for _ in range(_up_to(draw, 2, 4, level))]
    words = _words(draw, corpora, sum(lengths))
    sentences = [[words.pop() for _ in range(length)] for length in lengths]
    answer = draw.random() < 0.5
    one, other = draw.sample(sentences, 2)
    pair = draw.sample(one, 2) if answer else [draw.choice(one), draw.choice(other)]
    context = " ".join(f"{' '.join(sentence)}." for sentence in sentences)
    return f"question: {' '.join(pair)} context: {context}", _label(answer)


def overlap(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """How many words do two lists of up to four share?"""
    length = _up_to(draw, 2, 4, level)
    words = _words(draw, corpora, 2 * length)
    count = draw.randint(0, length)
    other = words[length - count : 2 * length - count]
    return _pair(_shuffled(draw, words[:length]), _shuffled(draw, other)), str(count)


def _up_to(draw: random.Random, least: int, most: int, level: float) -> int:
    """A number from `least` to the level's maximum, which is `least` + 1 at level 0 and `most` at level 1."""
    return draw.randint(least, least + 1 + round(level * (most - least - 1)))


def _text_or_words(draw: random.Random, corpora: Corpora, least: int, level: float) -> list[str]:
    if draw.random() > 0.5 * level:
        return _words(draw, corpora, _up_to(draw, least, 8, level))
    return draw.choice(corpora.examples).split()[:12]


# --- word meaning ----------------------------------------------------------------------------------------


def relation(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """Two words that mean the same (0), the opposite (1), or neither (2)."""
    kind = draw.randrange(3)
    pair = draw.sample(draw.choice(corpora.synonyms), 2)
    if kind == 1:
        pair = _shuffled(draw, draw.choice(corpora.opposites))
    elif kind == 2:
        pair[1] = draw.choice(draw.choice(corpora.synonyms))
    return _pair([pair[0]], [pair[1]]), str(kind)


def kind(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """Is the first a kind of the second (1)? If not (0), it is of another kind, or the two are exchanged."""
    word, above = draw.choice(corpora.kinds)
    answer = draw.random() < 0.5
    if not answer:
        word, above = (above, word) if draw.random() < 0.3 else (word, draw.choice(corpora.kinds)[1])
    return f"premise: {word} hypothesis: {above}", _label(answer)


def feeling(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """Words of positive (1) or negative (0) feeling; a "not" reverses it."""
    label = draw.randrange(2)
    negated = draw.random() < 0.3
    words = [word for word, sign in draw.sample(corpora.feelings, 12) if sign == (label != negated)]
    chosen = words[: 1 if negated else draw.randint(1, 3)] or ["good" if label != negated else "bad"]
    return f"sentence: {'not ' * negated}{' and '.join(chosen)}", str(label)


# --- sentences -------------------------------------------------------------------------------------------


def acceptable(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """A sentence as it was written (1), or with its grammar broken (0)."""
    words = re.sub(r"([.,;:!?])", r" \1", draw.choice(corpora.examples)).split()
    answer = draw.random() < 0.5
    if not answer:
        words = draw.choice((_exchange, _bend, _bend, _drop))(draw, words)
    return f"sentence: {' '.join(words)}", _label(answer)


def _exchange(draw: random.Random, words: list[str]) -> list[str]:
    places = [place for place in range(len(words) - 1) if words[place] != words[place + 1]]
    place = draw.choice(places)
    return [*words[:place], words[place + 1], words[place], *words[place + 2 :]]


def _drop(draw: random.Random, words: list[str]) -> list[str]:
    small = {"a", "an", "the", "to", "of", "in", "is", "was", "are", "his", "her", "at", "for", "with"}
    places = [place for place, word in enumerate(words) if word.lower() in small]
    if not places:
        return _exchange(draw, words)
    place = draw.choice(places)
    return words[:place] + words[place + 1 :]


def _bend(draw: random.Random, words: list[str]) -> list[str]:
    """Another form of a word: of the verb, or of what agrees with it."""
    places = [(place, form) for place, word in enumerate(words) for form in _forms().get(word.lower(), ())]
    if not places:
        return _exchange(draw, words)
    place, form = draw.choice(places)
    return [*words[:place], form, *words[place + 1 :]]


@cache
def _forms() -> dict[str, tuple[str, ...]]:
    """Word -> other forms of it that its place does not allow."""
    groups = [("is", "are", "be"), ("was", "were", "been"), ("has", "have", "having"), ("does", "do", "doing"),
              ("this", "these"), ("that", "those"), ("he", "him"), ("she", "hers"), ("they", "them"),
              ("many", "much"), ("goes", "go", "going", "gone"), ("made", "making", "makes"),
              ("a", "many"), ("an", "these"), ("took", "taken", "take"), ("his", "him"), ("i", "me")]  # fmt: skip
    allowed = set(vocabulary("verb", "train"))
    groups += [tuple(forms.values()) for base, forms in verb_forms().items() if base in allowed]
    return {word: tuple(sorted(set(group) - {word})) for group in groups for word in group}


def fact(draw: random.Random, corpora: Corpora, level: float) -> tuple[str, str]:
    """A question about one to three facts, phrased as in the samples."""
    question, context, answer = ask_one(
        Draw("train", draw.getrandbits(32)), others=draw.choice((0, 0, 1, 2)) if draw.random() < level else 0
    )
    return f"question: {question} context: {context}", answer


SKILLS: dict[str, Skill] = {
    skill.__name__: skill
    for skill in (copy, after, missing, shared, holds, equal, ordered, together, overlap, relation, kind, feeling,
                  acceptable, fact)
}  # fmt: skip
