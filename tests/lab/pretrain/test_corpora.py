"""What is read of WordNet, VADER and wordfreq; that nothing held out comes through."""

from __future__ import annotations

from pathlib import Path

import pytest

from dept.errors import DataError
from dept.tasks.samples.lexicon import own_spellings, tokens
from lab.pretrain.corpora import Corpora, held_out, is_allowed, wordnet_folder


def test_wordnet_is_read(corpora: Corpora) -> None:
    assert corpora.synonyms == (("way", "road"), ("way", "manner"))
    assert corpora.opposites == (("high", "low"),)
    assert corpora.kinds == (
        ("way", "thing"),
        ("road", "thing"),
        ("way", "thing"),
        ("manner", "thing"),
        ("day", "thing"),
    )
    assert corpora.examples[0] == "they went a long way home"
    assert {"how one goes", "a thing of great value", "the thing that we saw last year"} <= set(corpora.texts)


def test_vader_and_wordfreq_are_read(corpora: Corpora) -> None:
    feelings = dict(corpora.feelings)
    assert feelings["happy"] == feelings["best"] == 1
    assert feelings["hate"] == feelings["worst"] == 0
    assert corpora.frequent[:3] == ("the", "to", "and")


def test_no_word_or_text_that_evaluation_owns(corpora: Corpora, held_out_word: str) -> None:
    assert held_out() == own_spellings("validation") | own_spellings("test")
    words = {*corpora.frequent, *dict(corpora.feelings), *(word for group in corpora.synonyms for word in group)}
    assert held_out().isdisjoint(words)
    for text in (*corpora.texts, *corpora.examples):
        assert held_out().isdisjoint(tokens(text)), text
    assert not is_allowed(f"the {held_out_word.upper()}, seen by many")
    assert not is_allowed(f"a {held_out_word}-like thing")
    assert is_allowed("a thing of great value")


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPT_WORDNET", str(tmp_path))
    with pytest.raises(DataError, match="apt install wordnet-base"):
        wordnet_folder()
