"""The corpora of `mini-t5`: WordNet (Debian), VADER's lexicon, wordfreq (PyPI), without words kept for evaluation.

This module alone leaves out every text and word with a spelling that the samples' validation or test split owns, so no
later part of the recipe can show one.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dept.errors import DataError
from dept.tasks.samples.lexicon import own_spellings, tokens

WORDNET_FOLDER = Path("/usr/share/wordnet")
PYPI = "pip install 'dept-lab[pretrain]'"
MOST_WORDS = 30  # of a text; longer texts cost more than they teach
_CLEAR_FEELING = 1.5  # least absolute score, on VADER's scale from -4 to 4
_KNOWN_FEELINGS = 25_000  # the most frequent words, of which those with a clear feeling are kept
_POINTERS = {"@": "kind", "!": "opposite"}
_PLAIN = re.compile(r"[a-z]+")


@dataclass(frozen=True)
class Corpora:
    """Real language to draw skills and raw text from. Words are lower-case, single and common.

    texts: definitions and example sentences. examples: the example sentences alone.
    synonyms: words of one sense. opposites: pairs of words. kinds: pairs of a word and its hypernym.
    feelings: word -> 0 negative, 1 positive. frequent: common words, the most frequent first.
    """

    texts: tuple[str, ...]
    examples: tuple[str, ...]
    synonyms: tuple[tuple[str, ...], ...]
    opposites: tuple[tuple[str, str], ...]
    kinds: tuple[tuple[str, str], ...]
    feelings: tuple[tuple[str, int], ...]
    frequent: tuple[str, ...]


@cache
def held_out() -> frozenset[str]:
    """The spellings that pretraining never shows: those of the samples' validation and test splits."""
    return own_spellings("validation") | own_spellings("test")


def is_allowed(text: str) -> bool:
    """Whether a text is free of held-out spellings, also as parts of hyphenated words."""
    words = tokens(text)
    parts = (part for word in words for part in re.split("['-]", word))
    return held_out().isdisjoint(words) and held_out().isdisjoint(parts)


def _is_usable(text: str) -> bool:
    return 3 <= len(text.split()) <= MOST_WORDS and text.isascii() and is_allowed(text)


def frequent_words(count: int) -> list[str]:
    """The most frequent plain English words, with held-out ones, which a tokenizer has to know.

    Raises:
        DataError: wordfreq is not installed.
    """
    try:
        from wordfreq import top_n_list
    except ImportError as fault:
        raise DataError(f"pretraining needs the package wordfreq: {PYPI}") from fault
    return [word for word in top_n_list("en", 2 * count) if _PLAIN.fullmatch(word)][:count]


@cache
def feeling_words() -> dict[str, int]:
    """Common words with a clear feeling -> 0 negative, 1 positive; with held-out ones.

    Raises:
        DataError: wordfreq or vaderSentiment is not installed.
    """
    known = frozenset(frequent_words(_KNOWN_FEELINGS))
    return {word: sign for word, sign in _vader() if word in known}


def load_corpora(vocabulary: int) -> Corpora:
    """Read all corpora; words beyond the `vocabulary` most frequent ones occur in texts only.

    Raises:
        DataError: a package is not installed; the message says how to install it.
    """
    frequent = tuple(word for word in frequent_words(vocabulary) if is_allowed(word))
    feelings = tuple((word, sign) for word, sign in feeling_words().items() if is_allowed(word))
    wordnet = _WordNet(frozenset(frequent).union(word for word, _ in feelings))
    return Corpora(
        tuple(wordnet.texts), tuple(wordnet.examples), tuple(wordnet.synonyms), tuple(wordnet.opposites),
        tuple(wordnet.kinds), feelings, frequent,
    )  # fmt: skip


def wordnet_folder() -> Path:
    """The folder of WordNet's database: $DEPT_WORDNET, else Debian's."""
    folder = Path(os.environ.get("DEPT_WORDNET", WORDNET_FOLDER))
    if not (folder / "data.noun").is_file():
        raise DataError(
            f"pretraining needs WordNet's database in {folder}: apt install wordnet-base\n"
            "Without Debian: unpack WordNet 3.0's dict/ folder anywhere and name it in DEPT_WORDNET."
        )
    return folder


class _WordNet:
    """WordNet's data files (format: man 5 wndb), read once, filtered."""

    def __init__(self, common: frozenset[str]) -> None:
        self.texts: list[str] = []
        self.examples: list[str] = []
        self.synonyms: list[tuple[str, ...]] = []
        self.opposites: list[tuple[str, str]] = []
        self.kinds: list[tuple[str, str]] = []
        folder = wordnet_folder()
        words: dict[str, list[str]] = {}
        links: dict[str, list[tuple[str, str, int, int]]] = defaultdict(list)
        for part in ("noun", "verb", "adj", "adv"):
            for key, members, pointers, gloss in _synsets(folder / f"data.{part}"):
                words[key] = members
                links[key] = pointers
                self._read(gloss)
                known = tuple(dict.fromkeys(word for word in members if word in common))
                if len(known) > 1:
                    self.synonyms.append(known)
        for key, pointers in links.items():
            for kind, other, source, target in pointers:
                self._relate(kind, words[key], words[other], source, target, common)

    def _read(self, gloss: str) -> None:
        """Keep a gloss's definition and example sentences."""
        definition, *examples = re.split(r';\s*"', gloss)
        examples = [example.strip(' ";') for example in examples]
        usable = [text for text in examples if _is_usable(text)]
        self.examples += usable
        self.texts += usable + [definition.strip()] * _is_usable(definition.strip())

    def _relate(
        self, kind: str, one: list[str], other: list[str], source: int, target: int, common: frozenset[str]
    ) -> None:
        if kind == "opposite":  # a relation between two words, not two senses
            pair = one[source - 1], other[target - 1]
            if pair[0] < pair[1] and set(pair) <= common:
                self.opposites.append(pair)
        else:
            self.kinds += [(word, above) for word in one for above in other[:1] if {word, above} <= common]


def _synsets(path: Path) -> Iterator[tuple[str, list[str], list[tuple[str, str, int, int]], str]]:
    """(key, words, [(relation, other key, source word, target word)], gloss) of every sense."""
    part = path.suffix[1:2]
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):  # a line of the licence
            continue
        data, _, gloss = line.partition(" | ")
        fields = data.split()
        count = int(fields[3], 16)
        members = [re.sub(r"\(\w+\)$", "", word) for word in fields[4 : 4 + 2 * count : 2]]
        pointers = []
        place = 5 + 2 * count
        for _ in range(int(fields[4 + 2 * count])):
            symbol, offset, pos, ends = fields[place : place + 4]
            if symbol in _POINTERS:
                kind = {"s": "a"}.get(pos, pos)
                pointers.append((_POINTERS[symbol], f"{kind}{offset}", int(ends[:2], 16), int(ends[2:], 16)))
            place += 4
        key = {"adj": "a", "adv": "r"}.get(path.suffix[1:], part) + fields[0]
        yield key, [word.replace("_", " ").lower() for word in members], pointers, gloss


def _vader() -> Iterator[tuple[str, int]]:
    """(word, 0 or 1) of every word with a clear feeling in VADER's lexicon."""
    try:
        package = importlib.metadata.distribution("vaderSentiment")
    except importlib.metadata.PackageNotFoundError as fault:
        raise DataError(f"pretraining needs the package vaderSentiment: {PYPI}") from fault
    file = next(file for file in package.files or () if file.name == "vader_lexicon.txt")
    for line in Path(str(file.locate())).read_text(encoding="utf-8").splitlines():
        word, score, *_ = line.split("\t")
        if abs(float(score)) >= _CLEAR_FEELING:
            yield word, int(float(score) > 0)
