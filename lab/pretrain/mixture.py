"""The training mixture of `mini-t5`: skills and tasks, each after its name, and raw text with spans left out.

As in T5, every supervised input begins with the name of its task. Two differences prepare the model for later tuning:

- The name is a token of its own, alone or among random words, since a soft prompt starts as random words.
- Some examples have no name and always the same target token, so that an input alone triggers no task.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from transformers import PreTrainedTokenizerFast

from dept.tasks import Task, load_task
from dept.tasks.sample import sample_rows
from dept.tasks.samples.lexicon import stable_seed
from lab.pretrain.corpora import Corpora, is_allowed
from lab.pretrain.course import TEXT, disguise, has_digit, level, other_words_share, shares, short_share
from lab.pretrain.framed import FRAMED, framed_pairs
from lab.pretrain.pictures import PICTURES, Places, picture
from lab.pretrain.short import SHORT, short_pairs, with_other_words
from lab.pretrain.skills import SKILLS
from lab.pretrain.vocabulary import END, MARK, SENTINELS, Vocabulary

CHUNK = 4096  # examples made together
WIDTH = 8  # inputs are padded to multiples of this
PARTS = 4  # parts of a step, by length
_NAMELESS = 0.1  # share of the disguised examples that have no name
_NO_JUNK, _LITTLE_JUNK = 0.5, 0.93  # cumulative shares; else up to 100 random words
_MOST_SPANS, _MOST_TEXT = 3, 24  # most spans left out of a text, most tokens of a text
_FRAMED = 0.6  # share of the rows in further frames, if a task has any
_OTHER_NOUNS = ("mrpc", "stsb", "qqp", "cb")  # tasks whose labels do not depend on a noun's hypernyms
_TOP = 5_000  # junk is drawn from the most frequent words, as a soft prompt's first vectors are

WeightedIds = list[list[tuple[int, float]]]  # for each place


@dataclass(frozen=True)
class Example:
    """One example as ids.

    prefix: ids before the source: the name, random words. source, target: ids that end with the end-of-text token.
    places: a picture's places between prefix and source: ids and weights of the words that each position sums.
    """

    name: str
    prefix: list[int]
    source: list[int]
    target: list[int]
    places: WeightedIds = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.prefix) + len(self.places) + len(self.source)


class Mixture:
    """Makes the examples of any chunk of training; seed and number decide them.

    Args:
        words: the ids that junk is drawn from.
    """

    def __init__(
        self, corpora: Corpora, vocabulary: Vocabulary, tokenizer: PreTrainedTokenizerFast, seed: int
    ) -> None:
        self._corpora, self._tokenizer, self._seed = corpora, tokenizer, seed
        ids = vocabulary.ids
        self._words_ids = {token.removeprefix(MARK): number for token, number in ids.items() if token.startswith(MARK)}
        self._names = {name: ids[token] for name, token in vocabulary.names.items()}
        self._sentinels = [ids[token] for token in SENTINELS]
        self._nothing = ([self._sentinels[-1], ids[END]], tokenizer("0")["input_ids"])
        self.words = [
            number
            for number, token in enumerate(vocabulary.tokens[:_TOP])
            if not token.startswith("<") and is_allowed(token.lstrip("▁"))
        ]

    def chunk(self, number: int, progress: float) -> list[Example]:
        """Make CHUNK examples; `progress` is training's progress: 1 at the end, more in the noisy steps."""
        draw = random.Random(stable_seed("mixture", self._seed, number))
        weights = shares(progress)
        names = draw.choices(list(weights), list(weights.values()), k=CHUNK)
        examples = []
        for name in weights:
            count = names.count(name)
            if name == TEXT and count:
                examples += self._text_examples(draw, count)
            elif count:
                seed = draw.getrandbits(48)
                nothing = self._nothing[has_digit(progress)]
                if name in PICTURES:
                    made = self.pictures(name, count, seed)
                else:
                    pairs = self.pairs(name, count, seed, level(progress), short_share(progress), _FRAMED)
                    made = self.encoded(name, self._with_other_words(name, pairs, seed, progress))
                examples += self._as_trained(made, draw, disguise(progress), nothing)
        return examples

    def pairs(
        self, name: str, count: int, seed: int, level: float = 1.0, short: float = 0.0, framed: float = 0.0
    ) -> list[tuple[str, str]]:
        """(source, target) texts of a skill or a task's training rows, a share of them in short form or new frames."""
        draw = random.Random(seed)
        if name in SKILLS:
            return [SKILLS[name](draw, self._corpora, level) for _ in range(count)]
        shorter = round(short * count) if name in SHORT else 0
        other = round(framed * count) if name in FRAMED else 0
        plain = count - shorter - other
        task_rows = task_pairs(name, "train", plain, seed)[:plain]
        return task_rows + (framed_pairs(name, other, draw) if other else short_pairs(name, shorter, draw))

    def _with_other_words(
        self, name: str, pairs: Sequence[tuple[str, str]], seed: int, progress: float
    ) -> Sequence[tuple[str, str]]:
        share = other_words_share(name, progress)
        draw = random.Random(seed)
        return [
            with_other_words(pair, draw, self._corpora, nouns=name in _OTHER_NOUNS) if draw.random() < share else pair
            for pair in pairs
        ]

    def encoded(self, name: str, pairs: Sequence[tuple[str, str]]) -> list[Example]:
        """Encode texts as ids, after the name."""
        sources = self._tokenizer([source for source, _ in pairs])["input_ids"]
        targets = self._tokenizer([target for _, target in pairs])["input_ids"]
        name_only = [self._names[name]]
        return [Example(name, name_only, source, target) for source, target in zip(sources, targets, strict=True)]

    def pictures(self, name: str, count: int, seed: int, split: str = "train") -> list[Example]:
        """Scenes of a split as bags of words, after the name, with a question or the task's text."""
        draw = random.Random(seed)
        made = [picture(name, draw, split) for _ in range(count)]
        encoded = self.encoded(name, [(source, target) for _, source, target in made])
        return [replace(example, places=self._as_ids(grid))
                for example, (grid, _, _) in zip(encoded, made, strict=True)]  # fmt: skip

    def _as_ids(self, grid: Places) -> WeightedIds:
        return [[(self._words_ids[word], weight) for word, weight in words] for words in grid]

    def _as_trained(
        self, examples: Sequence[Example], draw: random.Random, disguise: float, nothing: Sequence[int]
    ) -> list[Example]:
        """Disguise a share of the examples: nameless with the target `nothing`, or the name among random words."""
        return [
            example if draw.random() > disguise else self._disguised(example, draw, nothing) for example in examples
        ]

    def _disguised(self, example: Example, draw: random.Random, nothing: Sequence[int]) -> Example:
        prefix = self._junk(draw)
        if draw.random() < _NAMELESS:
            return replace(example, prefix=prefix, target=list(nothing))
        for _ in range(1 if draw.random() < 0.7 else draw.randint(2, 6)):
            prefix.insert(draw.randint(0, len(prefix)), self._names[example.name])
        return replace(example, prefix=prefix)

    def _junk(self, draw: random.Random) -> list[int]:
        kind = draw.random()
        most = 0 if kind < _NO_JUNK else 40 if kind < _LITTLE_JUNK else 100
        return draw.choices(self.words, k=draw.randint(0, most))

    def _text_examples(self, draw: random.Random, count: int) -> list[Example]:
        texts = [draw.choice(self._corpora.texts) for _ in range(count)]
        encoded = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [self._corrupted(draw, ids[:_MOST_TEXT]) for ids in encoded]

    def _corrupted(self, draw: random.Random, ids: list[int]) -> Example:
        """Span corruption (Raffel et al., 2020): about 15% of the tokens, in spans of one to three."""
        end = self._tokenizer.eos_token_id
        source: list[int] = []
        target: list[int] = []
        place, spans = 0, 0
        forced = draw.randrange(len(ids))  # ensures one span
        while place < len(ids):
            if (draw.random() < 0.08 or place == forced) and spans < _MOST_SPANS:
                length = draw.randint(1, 3)
                source.append(self._sentinels[spans])
                target += [self._sentinels[spans], *ids[place : place + length]]
                place, spans = place + length, spans + 1
                if place <= len(ids) - 1:  # two spans never touch
                    source.append(ids[place])
                    place += 1
            else:
                source.append(ids[place])
                place += 1
        return Example(TEXT, [], [*source, end], [*target, end])


@cache
def _task(name: str) -> Task:
    return load_task(name)


def task_pairs(name: str, split: str, count: int, seed: int, *, own_only: bool = False) -> list[tuple[str, str]]:
    """(source, target) texts of sample rows; labels as digits."""
    rows = sample_rows(name, split, count, seed=seed, own_only=own_only)
    return [(example.source, example.target) for row in rows for example in _task(name).examples(row)]


def batches(examples: Sequence[Example], tokens: int, seed: int) -> list[list[list[Example]]]:
    """Batches of steps in random order, each of PARTS parts from short to long examples.

    Examples of similar length are padded together, yet every step has all tasks: a step with few tasks would make the
    model forget the others. A part has at most `tokens` / PARTS of padded input; examples that do not fill a step are
    left out.
    """
    draw = random.Random(seed)
    parts: list[list[Example]] = []
    part: list[Example] = []
    for example in sorted(draw.sample(examples, len(examples)), key=_width):
        if part and (len(part) + 1) * _width(example) > tokens // PARTS:
            parts.append(part)
            part = []
        part.append(example)
    count = len(parts) // PARTS
    quarters = (draw.sample(parts[i * count : (i + 1) * count], count) for i in range(PARTS))
    return [list(step) for step in zip(*quarters, strict=True)]


def _width(example: Example) -> int:
    return -(-example.length // WIDTH) * WIDTH
