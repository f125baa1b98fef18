"""Sample rows for every task: made up on the spot, in the hub's schema, so that everything works offline.

THESE ARE NOT THE BENCHMARKS. The rows are generated from a small lexicon and from templates (`samples/*.yaml`):
plain sentences about invented people, which need the same skill as the task (sentiment under negation,
acceptability, paraphrase, entailment, word senses, pronouns, reading). A score on them says that the machinery works
and whether a method learns; it can't be compared with any published number.

Splits. About half of the lexicon is shared by train, validation and test, and each has a part of its own; likewise
each split has templates of its own besides the shared ones. Every row holds a word that only its split may use. So
the skill can be carried over from train to test, while no row can be in two splits, whatever their sizes and seeds.

Labels come in random order, in blocks that hold each label equally often. A row's meaning decides its label: neither
a sentence's length nor a single word does, except where the task is about words (sentiment, verbs of belief).

The two tasks with images are drawn: small pictures of coloured shapes (`samples/scenes.py`), whose splits own
combinations of a colour and a shape as the others own words.

Rows depend on (task, split, seed) and nothing else: a request for k rows gives the first k of a larger request.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from dept.errors import DataError, TaskError
from dept.tasks.samples import inference, pairs, reading, reference, scenes, single
from dept.tasks.samples.lexicon import SPLITS, Draw, own_spellings, stable_seed, tokens

SAMPLE_SIZES = {"train": 512, "validation": 128, "test": 256}
MAX_ROWS = 20_000  # of a split: every task has at least so many different rows
_PATIENCE = 2_000  # after so many unusable rows in succession the generator has run dry
_BLOCK = 8  # rows of each label in a block

Row = dict[str, Any]


@dataclass(frozen=True)
class _Sample:
    """A task's recipe: its columns in the hub's order, its labels, and the function that makes a row or several."""

    columns: str
    labels: tuple[Any, ...]
    make: Callable[[Draw, Any], Row | list[Row]]


_BINARY, _THREE, _NO_LABEL = (0, 1), (0, 1, 2), (None,)
_MRQA = "context question answers key labels"
_ANSWERS_OF_A_QUESTION = tuple(labels for labels in product(_BINARY, repeat=4) if 0 < sum(labels) < 4)
_SCITAIL = (
    "sentence1_binary_parse sentence1_parse sentence1 sentence2_parse sentence2 annotator_labels "
    "gold_label sentence2_binary_parse"
)
_SAMPLES = {
    "cola": _Sample("sentence label idx", _BINARY, single.cola),
    "sst2": _Sample("sentence label idx", _BINARY, single.sst2),
    "mrpc": _Sample("sentence1 sentence2 label idx", _BINARY, pairs.mrpc),
    "qqp": _Sample("question1 question2 label idx", _BINARY, pairs.qqp),
    "stsb": _Sample("sentence1 sentence2 label idx", (0, 1, 2, 3, 4, 5), pairs.stsb),
    "mnli": _Sample("premise hypothesis label idx", _THREE, inference.mnli),
    "qnli": _Sample("question sentence label idx", _BINARY, reading.qnli),
    "rte": _Sample("sentence1 sentence2 label idx", _BINARY, inference.rte),
    "multirc": _Sample("paragraph question answer idx label", _ANSWERS_OF_A_QUESTION, reading.multirc),
    "boolq": _Sample("question passage idx label", _BINARY, reading.boolq),
    "wic": _Sample("word sentence1 sentence2 start1 start2 end1 end2 idx label", _BINARY, reference.wic),
    "wsc": _Sample("text span1_index span2_index span1_text span2_text idx label", _BINARY, reference.wsc),
    "cb": _Sample("premise hypothesis idx label", _THREE, inference.cb),
    "nq": _Sample(_MRQA, _NO_LABEL, reading.nq),
    "hotpotqa": _Sample(_MRQA, _NO_LABEL, reading.hotpotqa),
    "searchqa": _Sample(_MRQA, _NO_LABEL, reading.searchqa),
    "newsqa": _Sample(_MRQA, _NO_LABEL, reading.newsqa),
    "winogrande": _Sample("sentence option1 option2 answer", ("1", "2"), reference.winogrande),
    "yelp_polarity": _Sample("text label", _BINARY, single.yelp_polarity),
    "scitail": _Sample(_SCITAIL, ("entailment", "neutral"), inference.scitail),
    "paws": _Sample("id sentence1 sentence2 label", _BINARY, pairs.paws),
    "squad": _Sample("id title context question answers", _NO_LABEL, reading.squad),
    "record": _Sample("passage query entities entity_spans answers idx", _NO_LABEL, reading.record),
}
SAMPLE_TASKS = tuple(_SAMPLES)  # the tasks whose rows are made of words
_DRAWN: dict[str, Callable[[random.Random, str], Iterator[Row]]] = {
    "vqa": scenes.vqa_rows,
    "coco_captions": scenes.caption_rows,
}
DRAWN_TASKS = tuple(_DRAWN)


def sample_rows(task_name: str, split: str, n: int, seed: int = 0, *, own_only: bool = False) -> list[Row]:
    """n different sample rows of a task's split ("train", "validation" or "test"), in the hub's schema.

    own_only: use only the split's own words and templates, as far as there are enough (`lexicon.Draw`); tasks of
    words alone.

    Raises TaskError for a task without samples, DataError for an unknown split or more rows than can be made.
    """
    if task_name not in _SAMPLES and task_name not in _DRAWN:
        known = ", ".join((*SAMPLE_TASKS, *DRAWN_TASKS))
        raise TaskError(f"no sample rows for '{task_name}': tasks with samples are {known}")
    if not 0 <= n <= MAX_ROWS:
        raise DataError(f"{n} sample rows asked for ({task_name}, {split}): ask for 0 to {MAX_ROWS}")
    if task_name in _DRAWN:
        return list(islice(_drawn(task_name, split, seed), n))
    return list(islice(_rows(task_name, split, seed, own_only), n))


def _drawn(task_name: str, split: str, seed: int) -> Iterator[Row]:
    if split not in SPLITS:
        raise DataError(f"the sample has no split '{split}': use one of {', '.join(SPLITS)}")
    drawn = set()
    for row in _DRAWN[task_name](random.Random(stable_seed("sample", task_name, split, seed)), split):
        read = row["image"]["bytes"], row.get("question")
        if read not in drawn:
            drawn.add(read)
            yield row


def _rows(task_name: str, split: str, seed: int, own_only: bool) -> Iterator[Row]:
    sample = _SAMPLES[task_name]
    draw = Draw(split, stable_seed("sample", task_name, split, seed), own_only=own_only)
    own = own_spellings(split)
    texts_so_far: set[str] = set()
    index = 0
    for group, label in enumerate(_labels(draw, sample.labels)):
        for _ in range(_PATIENCE):
            made = sample.make(draw, label)
            rows = made if isinstance(made, list) else [made]
            text = _text(rows)
            if text not in texts_so_far and not own.isdisjoint(tokens(text)):
                break
        else:
            raise DataError(
                f"the sample of '{task_name}' has no more than {index} different {split} rows: ask for fewer"
            )
        texts_so_far.add(text)
        for row in rows:
            numbered = row | _numbers(task_name, split, seed, index, group)
            yield {column: numbered[column] for column in sample.columns.split()}
            index += 1


def _labels(draw: Draw, labels: tuple[Any, ...]) -> Iterator[Any]:
    while True:
        yield from draw.shuffled(labels * _BLOCK)


def _text(rows: list[Row]) -> str:
    """The text that a model reads of the rows. Rows that differ only in their label count as the same."""
    read = (value for row in rows for name, value in row.items() if name not in ("answer", "gold_label"))
    return "\n".join(value for value in read if isinstance(value, str))


def _numbers(task_name: str, split: str, seed: int, index: int, group: int) -> Row:
    """A row's id columns, numbered as the task does."""
    if task_name == "multirc":
        return {"idx": {"paragraph": group, "question": group, "answer": index}}
    if task_name == "record":
        return {"idx": {"passage": index, "query": index}}
    unique = f"{stable_seed('id', task_name, split, seed, index):016x}"
    return {
        "idx": index,
        "id": index + 1 if task_name == "paws" else "sample00" + unique,
        "key": "sample" + unique,
    }
