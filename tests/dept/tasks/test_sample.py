"""The embedded samples as a data set: schema, splits, order, sizes. test_sample_content.py reads the rows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from dept.errors import DataError, TaskError
from dept.tasks import load_task
from dept.tasks import sample as sample_module
from dept.tasks.sample import MAX_ROWS, SAMPLE_SIZES, SAMPLE_TASKS, sample_rows
from dept.tasks.samples.lexicon import (
    SPLITS,
    load,
    opposites,
    own_spellings,
    part_of,
    sense_vocabulary,
    synonyms,
    tokens,
    vocabulary,
)

Row = dict[str, Any]
SIZES = {"train": 600, "validation": 200, "test": 200}
LABELS = {"scitail": "gold_label", "winogrande": "answer"}
LABEL_TASKS = [task for task in SAMPLE_TASKS if load_task(task).labels is not None]


@cache
def rows_of(task: str, split: str) -> list[Row]:
    return sample_rows(task, split, SIZES[split])


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from (text for below in value.values() for text in strings(below))
    elif isinstance(value, list):
        yield from (text for below in value for text in strings(below))


def words_of(rows: list[Row]) -> set[str]:
    return {token for row in rows for text in strings(row) for token in tokens(text)}


def shape(value: object) -> object:
    """The type of a value, down to the fields of mappings and the items of lists."""
    if isinstance(value, Mapping):
        return {name: shape(below) for name, below in value.items()}
    if isinstance(value, list):
        return ["list", *({json.dumps(shape(below), sort_keys=True) for below in value})]
    return type(value).__name__


def test_the_text_tasks_have_samples_of_the_announced_sizes() -> None:
    assert len(SAMPLE_TASKS) == len(set(SAMPLE_TASKS)) == 23
    assert SAMPLE_SIZES == {"train": 512, "validation": 128, "test": 256}


@pytest.mark.parametrize("task", SAMPLE_TASKS)
def test_the_schema_is_that_of_the_real_rows(task: str, shared: Path) -> None:
    real = json.loads((shared / "data" / task / "train.jsonl").read_text(encoding="utf-8").splitlines()[0])
    for split in SPLITS:
        for row in rows_of(task, split):
            assert list(row) == list(real)
            for column, value in row.items():
                assert shape(value) == shape(real[column]), column


@pytest.mark.parametrize("task", SAMPLE_TASKS)
def test_label_values_are_those_of_the_real_rows(task: str, shared: Path) -> None:
    column = LABELS.get(task, "label")
    lines = (shared / "data" / task / "train.jsonl").read_text(encoding="utf-8").splitlines()
    real = [json.loads(line) for line in lines]
    if column in real[0] and task != "stsb":
        assert {row[column] for row in rows_of(task, "train")} == {row[column] for row in real}


@pytest.mark.parametrize("task", SAMPLE_TASKS)
def test_every_row_is_an_example_of_its_task(task: str) -> None:
    known = load_task(task)
    for split in SPLITS:
        for row in rows_of(task, split):
            known.check_row(row)
            examples = known.examples(row)
            assert examples
            for example in examples:
                assert example.source
                assert example.target in example.answers


@pytest.mark.parametrize("task", SAMPLE_TASKS)
def test_rows_are_as_many_as_asked_for_and_all_different(task: str) -> None:
    for split, size in SIZES.items():
        read = [
            json.dumps({k: v for k, v in row.items() if k not in ("idx", "id", "key")}) for row in rows_of(task, split)
        ]
        assert len(read) == len(set(read)) == size


@pytest.mark.parametrize("task", SAMPLE_TASKS)
def test_equal_inputs_never_have_different_labels(task: str) -> None:
    numbering = ("idx", "id", "key", "label", "gold_label") + (("answer",) if task == "winogrande" else ())
    inputs = [json.dumps({k: v for k, v in row.items() if k not in numbering}) for row in rows_of(task, "train")]
    assert len(inputs) == len(set(inputs))


@pytest.mark.parametrize("task", SAMPLE_TASKS)
def test_words_of_one_split_appear_in_no_row_of_another(task: str) -> None:
    """By this no row can be in two splits, whatever the sizes and seeds: every row has such a word."""
    for split in SPLITS:
        own = own_spellings(split)
        for other in SPLITS:
            rows = rows_of(task, other) + sample_rows(task, other, 40, seed=7)
            if other == split:
                grouped: dict[str, list[Row]] = {}
                for number, row in enumerate(rows):  # the rows of a MultiRC question share their paragraph
                    grouped.setdefault(row.get("paragraph", str(number)), []).append(row)
                assert all(words_of(group) & own for group in grouped.values())
            else:
                assert not words_of(rows) & own, (split, other)


def test_most_words_of_a_split_are_used_in_it() -> None:
    for split in SPLITS:
        used = words_of([row for task in SAMPLE_TASKS for row in rows_of(task, split)])
        own = own_spellings(split)
        assert len(own) > 150
        assert len(used & own) > 0.7 * len(own)


def own_templates(node: Any, split: str) -> Iterator[str]:
    if isinstance(node, Mapping):
        for name, below in node.items():
            if name != split:
                yield from own_templates(below, split)
            else:
                yield from strings([item["frame"] if isinstance(item, Mapping) else item for item in below])
    elif isinstance(node, list):
        yield from (template for below in node for template in own_templates(below, split))


def template_pattern(template: str) -> re.Pattern[str]:
    """A template as it looks among a row's lower-case tokens: each slot is one to three of them, or a clause."""
    long = r"\S+(?: \S+){1,14}"
    template = template.replace("a(n) ", "{article} ")
    parts = []
    for part in re.split(r"(\{\w+\})", template):
        if part.startswith("{"):
            parts.append({"{article}": "an?", "{clause}": long, "{claim}": long}.get(part, r"\S+(?: \S+){0,2}"))
        else:
            parts += tokens(part)
    return re.compile(rf"(?<!\S){' '.join(parts)}(?!\S)")


TEMPLATE_USERS = {
    "yelp": ("yelp_polarity",),
    "inference": ("mnli", "rte", "cb", "scitail"),
    "schemas": ("wsc", "winogrande"),
    "facts": ("qnli", "boolq", "squad", "nq", "newsqa", "searchqa", "record", "hotpotqa"),
    "bridges": ("hotpotqa",),
    "many": ("multirc",),
    "about": ("multirc", "squad", "nq", "newsqa", "boolq", "record"),
}


@pytest.mark.parametrize(
    ("file", "name"),
    [(file, name) for file in ("templates.yaml", "facts.yaml") for name in load(file) if name != "pictures"],
)
def test_templates_of_one_split_appear_in_no_row_of_another(file: str, name: str) -> None:
    corpus = {
        split: [
            (" ".join(tokens(text)), set(tokens(text)))
            for task in TEMPLATE_USERS.get(name, (name,))
            for row in rows_of(task, split)
            for text in strings(row)
        ]
        for split in SPLITS
    }
    for split in SPLITS:
        templates = list(own_templates(load(file)[name], split))
        assert templates
        unused = []
        for template in templates:
            pattern, fixed = template_pattern(template), set(tokens(re.sub(r"\{\w+\}|\(n\)", " ", template))) - {"a"}
            found = {
                name: [text for text, bag in corpus[name] if fixed <= bag and pattern.search(text)] for name in SPLITS
            }
            if not found.pop(split):
                unused.append(template)
            assert not any(found.values()), (template, found)
        assert len(unused) <= 0.1 * len(templates), unused


@pytest.mark.parametrize("task", SAMPLE_TASKS)
def test_the_first_rows_of_many_are_the_rows_of_few(task: str) -> None:
    assert sample_rows(task, "test", 13) == rows_of(task, "test")[:13]
    assert sample_rows(task, "test", 0) == []


@pytest.mark.parametrize("task", SAMPLE_TASKS)
def test_another_seed_gives_other_rows(task: str) -> None:
    assert sample_rows(task, "train", 20, seed=1) == sample_rows(task, "train", 20, seed=1)
    assert sample_rows(task, "train", 20, seed=1) != rows_of(task, "train")[:20]


def test_rows_are_the_same_in_another_process() -> None:
    """Python salts its own hash() anew in every process."""
    code = """import json; from dept.tasks.sample import sample_rows
print(json.dumps([sample_rows("mnli", "test", 5), sample_rows("nq", "train", 5)]))"""
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "5"}
    )
    assert json.loads(out.stdout) == [rows_of("mnli", "test")[:5], rows_of("nq", "train")[:5]]


def test_the_import_is_cheap() -> None:
    code = """import sys, dept.tasks.sample
print(*{"torch", "transformers", "datasets", "numpy"}.intersection(sys.modules))"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == ""


@pytest.mark.parametrize("task", LABEL_TASKS)
def test_labels_are_balanced_and_in_no_order(task: str) -> None:
    column = LABELS.get(task, "label")
    for split in SPLITS:
        labels = [row[column] for row in rows_of(task, split)]
        counts = Counter(labels)
        assert min(counts.values()) > 0.9 * len(labels) / len(counts)  # the majority class is no better than chance
        changes = sum(one != other for one, other in zip(labels, labels[1:], strict=False))
        chance = 1 - 1 / len(counts)
        assert abs(changes / len(labels) - chance) < 0.15


def test_similarity_scores_are_spread_evenly() -> None:
    rounded = Counter(round(row["label"]) for row in rows_of("stsb", "train"))
    assert set(rounded) == set(range(6))
    assert min(rounded.values()) > 80


@pytest.mark.parametrize("task", LABEL_TASKS)
def test_no_length_and_no_single_word_gives_the_label_away(task: str) -> None:
    column = LABELS.get(task, "label")
    rows = rows_of(task, "train")
    classes = len({row[column] for row in rows})
    texts = [" ".join(text for name, value in row.items() if name not in (column, "key") for text in strings(value))
             for row in rows]  # fmt: skip
    labels = [row[column] for row in rows]

    def rule_accuracy(feature: list[bool]) -> float:
        """The best guess from one yes/no feature."""
        sides = (
            Counter(label for label, yes in zip(labels, feature, strict=True) if yes is side) for side in (True, False)
        )
        return sum(max(side.values(), default=0) for side in sides) / len(labels)

    chance = 1 / classes
    # verbs of belief are what cb is about: "whether" leaves it open
    allowed = chance + (0.3 if task == "cb" else 0.12)
    lengths = [len(text) for text in texts]
    for cut in sorted(set(lengths))[:: max(1, len(set(lengths)) // 20)]:
        assert rule_accuracy([length > cut for length in lengths]) < chance + 0.12
    bags = [set(tokens(text)) for text in texts]
    for word in [word for word, count in Counter(w for bag in bags for w in bag).items() if count > 30]:
        assert rule_accuracy([word in bag for bag in bags]) < allowed, word


def test_the_lexicon_is_large_and_split_by_groups_of_synonyms() -> None:
    def everything(kind: str) -> set[str]:
        return {word for split in SPLITS for word in vocabulary(kind, split)}

    least = {"positive": 120, "negative": 120, "city": 120, "verb": 100}
    assert all(len(everything(kind)) >= size for kind, size in least.items())
    assert len(everything("female") | everything("male")) >= 150
    assert sum(len(everything(kind)) for kind in ("animal", "food", "object", "plant", "profession")) >= 300
    for kind in ("positive", "animal", "object", "city", "verb/object", "opposite"):
        for split in SPLITS:
            assert {part_of(word) for word in vocabulary(kind, split)} <= {"shared", split}
            assert all(len({part_of(word) for word in group}) == 1 for group in synonyms(kind, split))
    for split in SPLITS:
        assert all(part_of(one[0]) == part_of(other[0]) for one, other in opposites("opposite", split))
        assert len(sense_vocabulary(split)) >= 20
    with pytest.raises(DataError, match="no split 'dev'"):
        vocabulary("animal", "dev")


def test_what_cannot_be_made_is_refused_in_one_line() -> None:
    with pytest.raises(TaskError, match="no sample rows for 'gqa'") as no_task:
        sample_rows("gqa", "train", 3)
    with pytest.raises(DataError, match="no split 'dev'") as no_split:
        sample_rows("sst2", "dev", 3)
    with pytest.raises(DataError, match=f"ask for 0 to {MAX_ROWS}") as too_many:
        sample_rows("sst2", "train", MAX_ROWS + 1)
    with pytest.raises(DataError, match="ask for 0 to"):
        sample_rows("sst2", "train", -1)
    for raised in (no_task, no_split, too_many):
        assert "\n" not in str(raised.value)


def test_a_generator_that_runs_dry_says_how_many_rows_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    town = next(iter(own_spellings("test") & {city.lower() for city in vocabulary("city", "test")}))
    few = sample_module._Sample("text", (None,), lambda draw, _: {"text": f"{town} {draw.choice('abc')}"})
    monkeypatch.setitem(sample_module._SAMPLES, "few", few)
    assert len(sample_rows("few", "test", 3)) == 3
    with pytest.raises(DataError, match="no more than 3 different test rows"):
        sample_rows("few", "test", 4)


@pytest.mark.parametrize("task", ["cola", "wic", "wsc", "winogrande", "multirc"])  # those with the fewest combinations
def test_thousands_of_rows_can_be_had(task: str) -> None:
    assert len(sample_rows(task, "validation", 3000)) == 3000
