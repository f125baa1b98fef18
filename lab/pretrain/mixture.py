"""What `mini-t5` trains on: skills and tasks behind their names, and raw text with spans left out.

As T5 did, every supervised input has the name of its task before it. It differs in three ways, all for tuning later:

- The name is a token of its own, alone or among random words, since a soft prompt starts as random words.
- At times the name is blurred: mixed with a random word's embedding, share `clarity` its own. The target is then the
  task's with probability `clarity`, else a random digit. So what a vector elicits grows evenly with its share of
  the name, and a prompt can be led there by gradients.
- At times there is no name at all, and the target is a random digit: an input alone does not elicit the task.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from transformers import PreTrainedTokenizerFast

from dept.tasks import Task, load_task
from dept.tasks.sample import SAMPLE_TASKS, sample_rows
from dept.tasks.samples.lexicon import stable_seed
from lab.pretrain.corpora import Corpora, is_allowed
from lab.pretrain.skills import SKILLS
from lab.pretrain.vocabulary import SENTINELS, Vocabulary

TEXT = "text"  # raw text, which has no name
CHUNK = 2048  # examples made together
_TURN = 0.35  # the share of training over which the early mixture becomes the late one
_NAMELESS, _BLURRED = 0.1, 0.25  # shares of the supervised examples
_NO_JUNK, _LITTLE_JUNK = 0.5, 0.9  # cumulative shares; else up to 100 random words
_TOP = 5_000  # where junk is drawn from, as a soft prompt's first vectors are

# Shares of the mixture at the start of training and from _TURN on; what is not named has 1.
_EARLY = {TEXT: 4, "copy": 3, "after": 4, "missing": 4, "shared": 4, "holds": 4, "equal": 4, "ordered": 2,
          "overlap": 2, "relation": 3, "kind": 2, "feeling": 2, "sense": 0.5, "acceptable": 2, "cloze": 3, "fact": 6,
          **dict.fromkeys(SAMPLE_TASKS, 0.7)}  # fmt: skip
_LATE = {TEXT: 4, "copy": 0.5, "after": 0.5, "missing": 0.5, "shared": 0.5, "holds": 0.5, "equal": 1, "ordered": 1,
         "overlap": 1, "relation": 2, "kind": 1.5, "feeling": 1.5, "sense": 1, "acceptable": 2, "cloze": 2, "fact": 3,
         **dict.fromkeys(SAMPLE_TASKS, 1.3), "record": 0.6, "squad": 0.6}  # fmt: skip


@dataclass(frozen=True)
class Example:
    """One example as ids.

    prefix: (token, clarity) of what stands before the source: a name has the clarity it is mixed with, a word 1.
    source, target: ids, each with the end-of-text token last.
    """

    name: str
    prefix: tuple[tuple[int, float], ...]
    source: list[int]
    target: list[int]

    @property
    def length(self) -> int:
        return len(self.prefix) + len(self.source)


class Mixture:
    """Makes the examples of any chunk of training, the same for the same seed and number.

    Args:
        words: what junk is drawn from, ids.
    """

    def __init__(
        self, corpora: Corpora, vocabulary: Vocabulary, tokenizer: PreTrainedTokenizerFast, seed: int
    ) -> None:
        self._corpora, self._tokenizer, self._seed = corpora, tokenizer, seed
        ids = vocabulary.ids
        self._names = {name: ids[token] for name, token in vocabulary.names.items()}
        self._sentinels = [ids[token] for token in SENTINELS]
        self._digits = [tokenizer(digit)["input_ids"] for digit in "012"]
        self.words = [
            number
            for number, token in enumerate(vocabulary.tokens[:_TOP])
            if not token.startswith("<") and is_allowed(token.lstrip("▁"))
        ]

    def chunk(self, number: int, progress: float) -> list[Example]:
        """CHUNK examples; `progress` from 0 to 1 says how far training has come."""
        draw = random.Random(stable_seed("mixture", self._seed, number))
        turned = min(1.0, progress / _TURN)
        weights = {name: (1 - turned) * _EARLY[name] + turned * _LATE[name] for name in _EARLY}
        names = draw.choices(list(weights), list(weights.values()), k=CHUNK)
        examples = []
        for name in weights:
            count = names.count(name)
            if name == TEXT:
                examples += self._text_examples(draw, count)
            elif count:
                pairs = self.pairs(name, count, draw.getrandbits(48))
                examples += self.encoded(name, pairs, draw)
        return examples

    def pairs(self, name: str, count: int, seed: int) -> list[tuple[str, str]]:
        """(source, target) texts of a skill, or of a task's training rows."""
        if name in SKILLS:
            draw = random.Random(seed)
            return [SKILLS[name](draw, self._corpora) for _ in range(count)]
        return task_pairs(name, "train", count, seed)[:count]

    def encoded(
        self, name: str, pairs: Sequence[tuple[str, str]], draw: random.Random | None = None
    ) -> list[Example]:
        """As ids, behind the name; with `draw`, as training has them: blurred, nameless, among random words."""
        sources = self._tokenizer([source for source, _ in pairs])["input_ids"]
        targets = self._tokenizer([target for _, target in pairs])["input_ids"]
        both = zip(sources, targets, strict=True)
        if draw is None:
            return [Example(name, ((self._names[name], 1.0),), source, target) for source, target in both]
        return [self._disguised(name, source, target, draw) for source, target in both]

    def _disguised(self, name: str, source: list[int], target: list[int], draw: random.Random) -> Example:
        junk = [(word, 1.0) for word in self._junk(draw)]
        kind = draw.random()
        if kind < _NAMELESS:
            return Example(name, tuple(junk), source, draw.choice(self._digits))
        clarity = draw.random() if kind < _NAMELESS + _BLURRED else 1.0
        for _ in range(1 if draw.random() < 0.7 else draw.randint(2, 6)):
            junk.insert(draw.randint(0, len(junk)), (self._names[name], clarity))
        return Example(name, tuple(junk), source, target if draw.random() < clarity else draw.choice(self._digits))

    def _junk(self, draw: random.Random) -> list[int]:
        kind = draw.random()
        most = 0 if kind < _NO_JUNK else 20 if kind < _LITTLE_JUNK else 100
        return draw.choices(self.words, k=draw.randint(0, most))

    def _text_examples(self, draw: random.Random, count: int) -> list[Example]:
        texts = [draw.choice(self._corpora.texts) for _ in range(count)]
        encoded = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [self._corrupted(draw, ids) for ids in encoded]

    def _corrupted(self, draw: random.Random, ids: list[int]) -> Example:
        """Span corruption (Raffel et al., 2020): about 15% of the tokens, in spans of one to three."""
        end = self._tokenizer.eos_token_id
        source: list[int] = []
        target: list[int] = []
        place, spans = 0, 0
        forced = draw.randrange(len(ids))  # one span at least
        while place < len(ids):
            if (draw.random() < 0.08 or place == forced) and spans < len(self._sentinels):
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
        return Example(TEXT, (), [*source, end], [*target, end])


@cache
def _task(name: str) -> Task:
    return load_task(name)


def task_pairs(name: str, split: str, count: int, seed: int, *, own_only: bool = False) -> list[tuple[str, str]]:
    """(source, target) texts of sample rows; labels as digits."""
    rows = sample_rows(name, split, count, seed=seed, own_only=own_only)
    return [(example.source, example.target) for row in rows for example in _task(name).examples(row)]


def batches(examples: Sequence[Example], tokens: int, seed: int) -> list[list[Example]]:
    """Examples of like length together, as many as fit into `tokens` of input, in random order.

    Raw text, whose targets are long, is on its own.
    """
    ordered = sorted(examples, key=lambda example: (example.name == TEXT, example.length))
    made: list[list[Example]] = [[]]
    for example in ordered:
        mixed = made[-1] and (made[-1][-1].name == TEXT) != (example.name == TEXT)
        if mixed or (len(made[-1]) + 1) * example.length > tokens:
            made.append([])
        made[-1].append(example)
    random.Random(seed).shuffle(made)
    return made
