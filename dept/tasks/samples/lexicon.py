"""The lexicon and the templates of the embedded samples, and their division between the splits.

A fifth of the lexicon is meant for each split alone, the other two fifths for all of them (`part_of`). Words that
are synonyms or share a spelling stay together, and a word in a template's fixed text belongs to all splits: so a
word that one split owns never appears in a row of another. The templates' file says which split owns a template.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

from dept.errors import DataError

SPLITS = ("train", "validation", "test")
SHARED = "shared"
NOUNS = ("animal", "food", "object", "plant", "profession")  # kinds whose plurals are used too
PARTS = (SHARED, SHARED, *SPLITS)  # drawn from with equal chances

T = TypeVar("T")
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_DOUBLED = frozenset(("scrap", "wrap", "shun", "wed", "grin", "sob", "label"))


def stable_seed(*parts: object) -> int:
    """A 64-bit number from the parts' text: the same in every process, unlike Python's own hash()."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def tokens(text: str) -> list[str]:
    """The lower-case words of a text; hyphens and apostrophes inside a word belong to it."""
    return _WORD.findall(text.lower())


@cache
def load(name: str) -> Any:
    """words.yaml, templates.yaml, facts.yaml or senses.yaml, read once."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(Path(__file__).with_name(name).read_text(encoding="utf-8"), Loader=loader)


# --- words and their forms -------------------------------------------------------------------------------


@cache
def verb_forms() -> dict[str, dict[str, str]]:
    """Base form -> its forms: base, third, past, participle, ing."""
    forms = {}
    for _, entry in _entries("verb"):
        for verb in entry:
            base, *irregular = verb.split()
            past, participle = irregular or [_suffixed(base, "ed")] * 2
            third = base + "es" if base.endswith(("s", "x", "ch", "sh")) else _plural_s(base)
            ing = base[:-2] + "ying" if base.endswith("ie") else _suffixed(base, "ing")
            forms[base] = {"base": base, "third": third, "past": past, "participle": participle, "ing": ing}
    return forms


def plural(noun: str) -> str:
    """The noun's plural: irregular ones are listed in words.yaml."""
    irregular = load("words.yaml")["plurals"]
    if noun in irregular:
        return str(irregular[noun])
    return noun + "es" if noun.endswith(("s", "x", "ch", "sh")) else _plural_s(noun)


def _plural_s(word: str) -> str:
    return word[:-1] + "ies" if word.endswith("y") and word[-2] not in "aeiou" else word + "s"


def _suffixed(base: str, suffix: str) -> str:
    if base.endswith("e") and not (suffix == "ing" and base.endswith("ee")):
        return base[:-1] + suffix
    if base in _DOUBLED:
        return base + base[-1] + suffix
    if suffix == "ed" and base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + suffix


def _entries(kind: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(kind path, synonyms as written) of every entry at or below a kind."""
    node: Any = load("words.yaml")
    for step in kind.split("/"):
        node = node[step]
    if isinstance(node, Mapping):
        for below in node:
            yield from _entries(f"{kind}/{below}")
        return
    for entry in re.split("[,:]", node):
        yield kind, tuple(word.strip() for word in entry.split("/"))


# --- the splits' shares -----------------------------------------------------------------------------------


def _spellings(kind: str, word: str) -> set[str]:
    """Every token as which a word may appear in a row."""
    if kind.startswith("verb/"):
        return set(verb_forms()[word.split()[0]].values())
    return set(tokens(f"{word} {plural(word)}" if kind.split("/")[0] in NOUNS else word))


@cache
def _parts() -> tuple[dict[str, str], dict[str, frozenset[str]]]:
    """(word -> part, split -> the spellings that only this split may use)."""
    kinds = [kind for kind in load("words.yaml") if kind != "plurals"]
    leader: dict[str, str] = {}

    def find(word: str) -> str:
        while leader.setdefault(word, word) != word:
            word = leader[word]
        return word

    groups = []
    for entry_kind, entry in (pair for kind in kinds for pair in _entries(kind)):
        spellings = sorted(set().union(*(_spellings(entry_kind, word) for word in entry)))
        groups.append((entry_kind, entry, spellings))
        for spelling in spellings[1:]:
            first, second = sorted((find(spellings[0]), find(spelling)))
            leader[second] = first
    for one, other in _pairs("opposite"):  # both sides of an opposite are needed together
        first, second = sorted((find(one[0]), find(other[0])))
        leader[second] = first
    fixed = {find(token) for token in fixed_text()}
    owner: dict[str, str] = {}
    own: dict[str, set[str]] = defaultdict(set)
    for entry_kind, entry, spellings in groups:
        root = find(spellings[0])
        part = SHARED if root in fixed else PARTS[stable_seed("part", root) % len(PARTS)]
        own[part].update(spellings)
        for word in entry:
            owner[word.split()[0] if entry_kind.startswith("verb/") else word] = part
    return owner, {split: frozenset(own[split]) for split in SPLITS}


@cache
def fixed_text() -> frozenset[str]:
    """The tokens that belong to all splits: those of templates outside their slots, and the names of categories."""
    texts: list[str] = list(_leaves([load("templates.yaml"), load("facts.yaml"), load("senses.yaml")]))
    texts += [below for kind in load("words.yaml").values() if isinstance(kind, Mapping) for below in kind]
    texts += list(load("words.yaml"))
    return frozenset(token for text in texts for token in tokens(re.sub(r"\{\w+\}", " ", text)))


def _leaves(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping):
        yield from (leaf for below in node.values() for leaf in _leaves(below))
    elif isinstance(node, Sequence):
        yield from (leaf for below in node for leaf in _leaves(below))


def part_of(word: str) -> str:
    """The part of the lexicon that a word belongs to: shared, train, validation or test."""
    return _parts()[0][word]


def own_spellings(split: str) -> frozenset[str]:
    """The tokens that rows of this split alone may contain."""
    return _parts()[1][split]


@cache
def all_spellings() -> frozenset[str]:
    """Every token that rows of any split may contain, numbers aside."""
    kinds = [kind for kind in load("words.yaml") if kind != "plurals"]
    entries = [pair for kind in kinds for pair in _entries(kind)]
    return fixed_text().union(*(_spellings(path, word) for path, entry in entries for word in entry))


@cache
def synonyms(kind: str, split: str) -> tuple[tuple[str, ...], ...]:
    """The groups of synonyms of a kind that a split may use, shared ones and its own; verbs in their base form."""
    check_split(split)
    groups: dict[tuple[str, ...], None] = {}
    for path, entry in _entries(kind):
        words = tuple(word.split()[0] for word in entry) if path.startswith("verb/") else entry
        if part_of(words[0]) in (SHARED, split):
            groups[words] = None
    return tuple(groups)


@cache
def vocabulary(kind: str, split: str) -> tuple[str, ...]:
    """The words of a kind ("animal", "animal/bird", "verb/food", "city", ...) that a split may use."""
    return tuple(dict.fromkeys(word for group in synonyms(kind, split) for word in group))


def sense_part(word: str) -> str:
    """The part that a word of senses.yaml belongs to.

    `part_of` does not serve here: these words are common and appear in other tasks' templates too.
    """
    return PARTS[stable_seed("sense", word) % len(PARTS)]


@cache
def sense_vocabulary(split: str) -> tuple[str, ...]:
    """The words with several senses that a split may ask about."""
    check_split(split)
    return tuple(word for word in load("senses.yaml") if sense_part(word) in (SHARED, split))


@cache
def opposites(kind: str, split: str) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """Pairs of synonym groups that exclude each other, e.g. ((big, large), (small, little))."""
    return tuple(pair for pair in _pairs(kind) if part_of(pair[0][0]) in (SHARED, split))


def _pairs(kind: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    groups = (group for _, group in _entries(kind))
    return zip(groups, groups, strict=True)


def templates(name: str, split: str, *, file: str = "templates.yaml") -> tuple[list[Any], list[Any]]:
    """(shared templates, the split's own) under a slash-separated name."""
    node = load(file)
    for step in name.split("/"):
        node = node[step]
    return node.get(SHARED, []), node.get(split, [])


def check_split(split: str) -> None:
    if split not in SPLITS:
        raise DataError(f"the sample has no split '{split}': use one of {', '.join(SPLITS)}")


# --- drawing ---------------------------------------------------------------------------------------------


class Draw:
    """A source of random words and templates for one split; equal seeds draw equal words.

    own_only: draw nothing that another split may use, as far as there is enough: the split's own words of a kind with
    at least two groups of them, the split's own templates of a name with any (at least one of a pair). So a model is
    tested on words that it was never trained on. Parts of rules (numbers, quantifiers, weekdays) are drawn as ever.
    """

    def __init__(self, split: str, seed: int, *, own_only: bool = False) -> None:
        check_split(split)
        self.split = split
        self.own_only = own_only
        self.random = random.Random(seed)

    def choice(self, options: Sequence[T]) -> T:
        return self.random.choice(options)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self.random.sample(items, len(items))

    def synonyms(self, kind: str, count: int = 2) -> tuple[tuple[str, ...], ...]:
        """The groups of synonyms of a kind to draw from, `count` or more where the kind has them."""
        groups = synonyms(kind, self.split)
        own = tuple(group for group in groups if part_of(group[0]) == self.split) if self.own_only else ()
        return own if len(own) >= count else groups

    def opposites(self, kind: str) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """The pairs of opposites to draw from."""
        pairs = opposites(kind, self.split)
        own = tuple(pair for pair in pairs if part_of(pair[0][0]) == self.split) if self.own_only else ()
        return own if len(own) > 1 else pairs

    def vocabulary(self, kind: str, count: int = 2) -> tuple[str, ...]:
        """The words of a kind to draw from."""
        if not self.own_only:
            return vocabulary(kind, self.split)
        return tuple(dict.fromkeys(word for group in self.synonyms(kind, count) for word in group))

    def senses(self) -> tuple[str, ...]:
        """The words with several senses to draw from."""
        words = sense_vocabulary(self.split)
        return tuple(word for word in words if sense_part(word) == self.split) if self.own_only else words

    def word(self, kind: str, but: Sequence[str] = (), count: int = 2) -> str:
        """Draw a word of a kind, other than those given, from at least `count` groups where the kind has so many."""
        words = self.vocabulary(kind, count)
        return self.choice([word for word in words if word not in but] if but else words)

    def words(self, kind: str, count: int) -> list[str]:
        """Draw `count` words of a kind, no two of them synonyms."""
        return [self.choice(group) for group in self.groups(kind, count)]

    def groups(self, kind: str, count: int) -> list[tuple[str, ...]]:
        """Draw `count` different groups of synonyms of a kind."""
        return self.random.sample(self.synonyms(kind, count), count)

    def template(self, name: str, *, file: str = "templates.yaml") -> Any:
        """A template: the split's own ones come up half of the time."""
        shared, own = templates(name, self.split, file=file)
        if self.own_only and own:
            return self.choice(own)
        return self.choice(own if own and (not shared or self.chance(0.5)) else shared)

    def node(self, name: str) -> Any:
        """The node of templates.yaml under a name."""
        return load("templates.yaml")[name]

    def options(self, node: Mapping[str, Sequence[T]]) -> list[T]:
        """The alternative templates in a node, of which one is chosen."""
        own = list(node[self.split])
        return own if self.own_only and own else [*node[SHARED], *own]

    def pair(self, node: Mapping[str, Sequence[T]]) -> list[T]:
        """Two different templates of a node, in either order."""
        if not self.own_only:
            return self.random.sample([*node[SHARED], *node[self.split]], 2)
        first = self.choice(node[self.split])
        second = self.choice([other for other in node[self.split] if other != first] or node[SHARED])
        return self.shuffled([first, second])

    def person(self) -> str:
        return self.word(self.choice(("female", "male")))

    def people(self, count: int) -> list[str]:
        """First names, all different; of either sex."""
        return self.random.sample(self.vocabulary("female", count) + self.vocabulary("male", count), count)


def fill(template: str, **slots: object) -> str:
    """The template with its slots filled, "a(n)" resolved."""
    return re.sub(r"\b([Aa])\(n\) (?=(\S+))", _article, template.format(**slots))


def _article(match: re.Match[str]) -> str:
    word = match.group(2).lower()
    return match.group(1) + ("n " if word[0] in "aeiou" and not word.startswith("use") else " ")


def sentence(template: str, **slots: object) -> str:
    """`fill`, with a capital letter at the start."""
    text = fill(template, **slots)
    return text[:1].upper() + text[1:]


def spaced(text: str) -> str:
    """Punctuation set off by spaces, as in the tokenised benchmarks."""
    return re.sub(r"\s+", " ", re.sub(r"(?<=\w)([.,?!;:])(?=\s|$)", r" \1", text)).strip()
