"""Each skill's answer is the right one, worked out again from its source."""

from __future__ import annotations

import random
import re

import pytest

from lab.pretrain.corpora import Corpora, held_out
from lab.pretrain.loop import Materials
from lab.pretrain.skills import SKILLS


def drawn(name: str, corpora: Corpora, count: int = 60) -> list[tuple[str, str]]:
    draw = random.Random(1)
    return [SKILLS[name](draw, corpora, draw.random()) for _ in range(count)]


def parts(source: str) -> tuple[list[str], list[str]]:
    """The words of the two texts of a source."""
    match = re.fullmatch(r"\w+: (.*) (?:sentence2|context|text|hypothesis): (.*)", source)
    assert match, source
    return match[1].split(), match[2].split()


def test_copying(materials: Materials) -> None:
    corpora = materials.corpora
    assert all(source == target for source, target in drawn("copy", corpora))
    for source, target in drawn("after", corpora):
        (asked,), words = parts(source)
        assert words[words.index(asked) + 1] == target
    for source, target in drawn("missing", corpora):
        one, other = parts(source)
        assert sorted([*other, target]) == sorted(one)
    for source, target in drawn("shared", corpora):
        one, other = parts(source)
        assert [word for word in one if word in other] == target.split()


def test_comparing(materials: Materials) -> None:
    corpora = materials.corpora
    for source, target in drawn("holds", corpora):
        (asked,), words = parts(source)
        assert (asked in words) == (target == "1")
    for source, target in drawn("equal", corpora):
        one, other = parts(source)
        assert (sorted(one) == sorted(other)) == (target == "1")
    for source, target in drawn("ordered", corpora):
        one, other = parts(source)
        assert (one == other) == (target == "1")
    for source, target in drawn("overlap", corpora):
        one, other = parts(source)
        assert len(set(one) & set(other)) == int(target)
    for source, target in drawn("together", corpora):
        pair, context = parts(source)
        sentences = " ".join(context).split(".")
        assert any(set(pair) <= set(sentence.split()) for sentence in sentences) == (target == "1")
        assert set(pair) <= set(" ".join(sentences).split())


def test_meaning(materials: Materials) -> None:
    corpora = materials.corpora
    together = [set(group) for group in corpora.synonyms]
    for source, target in drawn("relation", corpora):
        (one,), (other,) = parts(source)
        if target == "0":
            assert one != other
            assert any({one, other} <= group for group in together)
        elif target == "1":
            assert tuple(sorted((one, other))) in corpora.opposites
    for source, target in drawn("kind", corpora):
        (one,), (other,) = parts(source)
        assert target == "0" or (one, other) in corpora.kinds
    feelings = {**dict(corpora.feelings), "good": 1, "bad": 0}
    for source, target in drawn("feeling", corpora):
        _, *words = source.split()
        said = {feelings[word] for word in words if word not in ("not", "and")}
        assert len(said) == 1
        assert (said.pop() ^ ("not" in words)) == int(target)


def test_sentences(materials: Materials) -> None:
    corpora = materials.corpora
    written = {" ".join(re.sub(r"([.,;:!?])", r" \1", text).split()) for text in corpora.examples}
    for source, target in drawn("acceptable", corpora):
        assert (source.removeprefix("sentence: ") in written) == (target == "1"), source
    for source, target in drawn("fact", corpora):
        assert target in source.partition(" context: ")[2]


@pytest.mark.parametrize("name", SKILLS)
def test_labels_are_balanced_and_nothing_is_held_out(name: str, materials: Materials) -> None:
    pairs = drawn(name, materials.corpora, 200)
    for source, target in pairs:
        text = re.sub(r"\b\w+:", " ", f"{source} {target}".lower())  # without the names of the fields
        assert held_out().isdisjoint(re.findall(r"[^\W_]+", text))
    labels = [target for _, target in pairs]
    if set(labels) <= {"0", "1"}:
        assert 60 <= labels.count("1") <= 140
