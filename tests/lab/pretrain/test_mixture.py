"""The mixture: the same for the same seed, without a word that evaluation owns, and with what tuning needs."""

from __future__ import annotations

import random
import re

import pytest

from dept.tasks.sample import SAMPLE_TASKS, sample_rows
from dept.tasks.samples.lexicon import load, tokens
from dept.tasks.samples.scenes import Thing
from lab.pretrain.corpora import held_out
from lab.pretrain.course import TEXT, shares, short_share
from lab.pretrain.framed import FRAMED, framed_pairs, frames
from lab.pretrain.loop import Materials
from lab.pretrain.mixture import CHUNK, PARTS, WIDTH, Example, Mixture, batches, task_pairs
from lab.pretrain.pictures import MORE_COLOURS, NOTHING, PICTURES, picture, places
from lab.pretrain.short import SHORT, with_other_words
from lab.pretrain.skills import SKILLS
from lab.pretrain.vocabulary import END, SENTINELS, TASKS

FIELD = re.compile(r"\b\w+:")  # of a task's template: one of the test words, "premise", is such a field's name too


@pytest.fixture(scope="module")
def mixture(materials: Materials) -> Mixture:
    return Mixture(materials.corpora, materials.vocabulary, materials.tokenizer, seed=3)


@pytest.fixture(scope="module")
def chunks(mixture: Mixture) -> list[Example]:
    return [*mixture.chunk(0, 0.6), *mixture.chunk(1, 1.0)]


@pytest.mark.slow
def test_a_chunk_follows_from_seed_and_number(mixture: Mixture, materials: Materials) -> None:
    again = Mixture(materials.corpora, materials.vocabulary, materials.tokenizer, seed=3)
    other = Mixture(materials.corpora, materials.vocabulary, materials.tokenizer, seed=4)
    first = mixture.chunk(5, 0.5)
    assert again.chunk(5, 0.5) == first
    assert other.chunk(5, 0.5) != first
    assert mixture.chunk(6, 0.5) != first


def test_the_course_goes_from_copying_to_everything(mixture: Mixture) -> None:
    first = mixture.chunk(0, 0.0)
    assert {example.name for example in first} == {name for name, share in shares(0.0).items() if share}
    assert "copy" in {example.name for example in first} < {*SKILLS, *TASKS}
    assert all(len(example.prefix) == 1 for example in first)
    assert shares(0.75) == pytest.approx(shares(1.0))
    assert shares(0.05)["shared"] > shares(1.0)["shared"]
    early = [len(source.split()) for source, _ in mixture.pairs("holds", 100, 0, level=0.0)]
    late = [len(source.split()) for source, _ in mixture.pairs("holds", 100, 0, level=1.0)]
    assert max(early) == 5 < max(late)


def test_every_skill_and_task_is_in_it(chunks: list[Example]) -> None:
    assert {example.name for example in chunks} == {TEXT, *SKILLS, *TASKS, *PICTURES}
    assert len(chunks) == 2 * CHUNK


def test_nothing_that_evaluation_owns_is_shown(chunks: list[Example], materials: Materials) -> None:
    decode = materials.tokenizer.decode
    for example in chunks:
        bags = [token for place in example.places for token, _ in place]
        shown = [str(decode(part)) for part in (example.source, example.target, example.prefix, bags)]
        for text in shown:
            assert held_out().isdisjoint(tokens(FIELD.sub(" ", text))), (example.name, text)


@pytest.mark.parametrize("name", SAMPLE_TASKS)
def test_rows_for_evaluation_are_of_other_words(name: str) -> None:
    """Each row of the own words holds one that training never shows, and no text of it is a training text."""
    trained = {source for seed in range(3) for source, _ in task_pairs(name, "train", 300, seed)}
    for split in ("validation", "test"):
        rows = sample_rows(name, split, 100, own_only=True)
        assert len(rows) == 100
        for source, _ in task_pairs(name, split, 100, 0, own_only=True):
            assert source not in trained
            assert not held_out().isdisjoint(tokens(source))


def test_names_are_alone_among_random_words_and_left_out(
    chunks: list[Example], mixture: Mixture, materials: Materials
) -> None:
    ids = materials.vocabulary.ids
    names = {ids[token]: name for name, token in materials.vocabulary.names.items()}
    supervised = [example for example in chunks if example.name != TEXT]
    nothing = materials.tokenizer("0")["input_ids"]
    nameless = alone = crowded = 0
    for example in supervised:
        found = [names[token] for token in example.prefix if token in names]
        assert set(found) <= {example.name}
        assert found or example.target == nothing
        nameless += not found
        alone += len(example.prefix) == len(found) == 1
        crowded += len(example.prefix) > 40
    shares = [count / len(supervised) for count in (nameless, alone, crowded)]
    for share, (least, most) in zip(shares, ((0.07, 0.13), (0.2, 0.5), (0.01, 0.1)), strict=True):
        assert least < share < most, shares
    early = [example for example in mixture.chunk(0, 0.3) if example.target == [ids[SENTINELS[-1]], ids[END]]]
    assert early
    assert all(names.keys().isdisjoint(example.prefix) for example in early)


def test_spans_left_out_can_be_put_back(mixture: Mixture, materials: Materials) -> None:
    """Source and target together are the text again (Raffel et al., 2020)."""
    text = "the thing that we saw last year , they said , was of great value to the people"
    ids = materials.tokenizer(text, add_special_tokens=False)["input_ids"]
    sentinels = {materials.vocabulary.ids[f"<extra_id_{number}>"] for number in range(16)}
    left_out = 0
    for seed in range(50):
        example = mixture._corrupted(random.Random(seed), ids)
        spans: dict[int, list[int]] = {}
        current: list[int] = []
        for token in example.target[:-1]:
            if token in sentinels:
                current = spans[token] = []
            else:
                current.append(token)
        whole = [part for token in example.source[:-1] for part in spans.get(token, [token])]
        assert whole == ids
        assert spans
        left_out += sum(map(len, spans.values()))
    assert 0.1 < left_out / (50 * len(ids)) < 0.3


def test_every_step_has_short_and_long_examples(chunks: list[Example]) -> None:
    made = batches(chunks, 2048, seed=0)
    used = [id(example) for step in made for part in step for example in part]
    assert len(used) == len(set(used)) > 0.97 * len(chunks)
    for step in made:
        assert len(step) == PARTS
        widths = [-(-max(example.length for example in part) // WIDTH) * WIDTH for part in step]
        assert widths == sorted(widths)
        assert all(len(part) * width <= 2048 // PARTS for part, width in zip(step, widths, strict=True))
        assert len({example.name for part in step for example in part}) > 8
    assert made != batches(chunks, 2048, seed=1)


def test_short_forms_are_training_rows_in_the_tasks_format(mixture: Mixture) -> None:
    for name in SHORT:
        whole = dict(task_pairs(name, "train", 300, 0))
        fields = re.findall(r"\b\w+: ", next(iter(whole)))
        pairs = mixture.pairs(name, 200, 1, short=1.0)
        assert len(pairs) == 200
        for source, target in pairs:
            assert re.findall(r"\b\w+: ", source) == fields
            assert target in whole.values()
            assert held_out().isdisjoint(tokens(FIELD.sub(" ", source)))
        lengths = [sum(len(source.split()) for source in sources) / len(sources)
                   for sources in ([source for source, _ in pairs], list(whole))]  # fmt: skip
        assert lengths[0] < 0.85 * lengths[1]
    assert short_share(0.0) == short_share(1.0) == 0.0 < short_share(0.5)


def leaves(node: object) -> list[str]:
    if isinstance(node, str):
        return [node]
    return [leaf for below in (node.values() if isinstance(node, dict) else node) for leaf in leaves(below)]  # type: ignore[attr-defined]


def of_evaluation(node: object) -> list[str]:
    """The templates of the validation and test parts."""
    if isinstance(node, dict):
        return [text for name, below in node.items()
                for text in (leaves(below) if name in ("validation", "test") else of_evaluation(below))]  # fmt: skip
    return [text for below in node for text in of_evaluation(below)] if isinstance(node, list) else []


def test_frames_are_many_and_none_is_of_evaluation() -> None:
    taken = {frame.lower() for frame in of_evaluation(load("templates.yaml"))}
    shown = leaves(frames())
    assert len(taken) > 100
    assert len(shown) > 400
    assert taken.isdisjoint(frame.lower() for frame in shown)


@pytest.mark.parametrize("name", FRAMED)
def test_framed_rows_are_training_rows_in_the_tasks_format(name: str) -> None:
    own = task_pairs(name, "train", 200, 0)
    found = framed_pairs(name, 200, random.Random(0))
    assert len(found) == 200
    assert {target for _, target in found} == {target for _, target in own} or name == "stsb"
    fields = re.findall(r"\b\w+: ", own[0][0])
    for source, _ in found:
        assert [field for field in re.findall(r"\b\w+: ", source) if field in fields] == fields
        assert "{" not in source
    assert len({source for source, _ in found} - {source for source, _ in own}) > 190


def test_pictures_in_words_hold_what_is_asked() -> None:
    """A colour or a shape that is asked for stands in one place with what the question names."""
    draw = random.Random(0)
    asked = seen = 0
    for name in PICTURES:
        for _ in range(200):
            grid, source, target = picture(name, draw)
            assert len(grid) in (9, 16, 25)
            assert all(grid)
            assert source.startswith("question: " if name == "vqa" else "caption:")
            match = re.match("question: What (?:color is the|shape is) (\\w+)", source)
            if match:
                asked += 1
                seen += any({match[1], target} <= {word for word, _ in place} for place in grid)
            elif name == "coco_captions":
                shown = {word for place in grid for word, _ in place}
                assert shown & set(tokens(target)) & {*MORE_COLOURS}
    assert asked > 50
    assert seen > 0.9 * asked  # now and then a word is missed


def test_a_thing_is_where_it_is() -> None:
    """A shape in the corner of a grid of three is in that corner, and nowhere near the other one."""
    grid = places((Thing("red", "circle", 0, 2, 8),), random.Random(0))
    side = round(len(grid) ** 0.5)
    words = [[word for word, _ in place] for place in grid]
    assert "red" in words[side - 1]
    assert words[-side] == [NOTHING]


def test_other_words_keep_what_a_row_says(materials: Materials) -> None:
    """Equal words stay equal, the answer stays in its context, adjectives keep their feeling."""
    feelings = dict(materials.corpora.feelings)
    for source, target in task_pairs("nq", "train", 60, 0):
        other, answer = with_other_words((source, target), random.Random(0), materials.corpora)
        assert answer in other
        given = dict(zip(source.split(), other.split(), strict=True))
        assert [given[word] for word in source.split()] == other.split()
        assert any(word != given[word] for word in given)
    changed = 0
    for source, target in task_pairs("sst2", "train", 60, 0):
        other, answer = with_other_words((source, target), random.Random(0), materials.corpora)
        assert answer == target
        pairs = [(one, two) for one, two in zip(source.split(), other.split(), strict=True) if one != two]
        assert all(feelings[two] == feelings.get(one, feelings[two]) for one, two in pairs)
        changed += bool(pairs)
    assert changed == 60
