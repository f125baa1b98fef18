"""Reading samples: find, check or complete a fact in a passage of invented ones.

boolq and multirc judge, squad and the MRQA tasks extract, qnli asks whether a sentence holds the answer, record
fills a gap. A passage holds a second fact of the kind asked for, so that the answer's kind does not give it away.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dept.tasks.samples.lexicon import Draw, fill, load, plural, sentence, spaced
from dept.tasks.samples.pairs import MONTHS

ENTITIES = {"person": "this person", "city": "this city", "company": "this firm", "year": "this year"}
_FILE = "facts.yaml"
_ENOUGH = 8  # more values of a kind than the longest passage needs


class Values:
    """Draws values for slots; no value comes twice in a passage."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.used: set[str] = set()

    def take(self, kind: str) -> str:
        while True:
            value = self._draw(kind)
            if self.used.isdisjoint(value.split()):
                self.used.update(value.split())
                return value

    def _draw(self, kind: str) -> str:
        if kind == "person":
            return f"{self.draw.person()} {self.draw.word('surname', count=_ENOUGH)}"
        if kind == "year":
            return str(self.draw.choice(range(1900, 2020)))
        if kind == "number":
            return str(self.draw.choice(range(2, 100)))
        if kind == "month":
            return self.draw.choice(MONTHS)
        word = self.draw.word("object" if kind == "objects" else kind, count=_ENOUGH)
        return plural(word) if kind == "objects" else word


@dataclass(frozen=True)
class Fact:
    """A fact of a kind ("travel", "birth", ...) with a value for every slot."""

    kind: str
    values: dict[str, str]

    @property
    def title(self) -> str:
        return self.values[load(_FILE)["facts"][self.kind]["title"]]

    def say(self, draw: Draw, **replaced: str) -> str:
        return sentence(draw.template(f"facts/{self.kind}/say", file=_FILE), **(self.values | replaced))

    def ask(self, draw: Draw, slot: str) -> str:
        return sentence(draw.template(f"facts/{self.kind}/ask/{slot}", file=_FILE), **self.values)


def _fact(draw: Draw, values: Values, kind: str | None = None, **fixed_values: str) -> Fact:
    facts = load(_FILE)["facts"]
    kind = kind or draw.choice(tuple(facts))
    return Fact(
        kind, {slot: fixed_values.get(slot) or values.take(name) for slot, name in facts[kind]["slots"].items()}
    )


def _passage(draw: Draw, *, others: int) -> tuple[Fact, Fact, list[Fact]]:
    """(the fact asked about, its rival of the same kind, all facts of the passage in their order)."""
    values = Values(draw)
    asked_fact = _fact(draw, values)
    rival = _fact(draw, values, asked_fact.kind)
    facts = [asked_fact, rival, *(_fact(draw, values) for _ in range(others))]
    return asked_fact, rival, draw.shuffled(facts)


def _sentences(draw: Draw, facts: Sequence[Fact]) -> list[str]:
    """The facts as sentences, at times with an unrelated sentence among them."""
    sentences = [fact.say(draw) for fact in facts]
    if draw.chance(0.5):
        sentences.insert(draw.choice(range(len(sentences) + 1)), draw.template("about", file=_FILE))
    return sentences


def _slot(draw: Draw, kind: str) -> str:
    return draw.choice(tuple(load(_FILE)["facts"][kind]["ask"]))


def spans(context: str, text: str) -> tuple[list[int], list[int]]:
    """(starts, ends exclusive) in characters of every occurrence of a text, whole words, in either case."""
    matches = list(re.finditer(rf"(?<!\w){re.escape(text)}(?!\w)", context, re.IGNORECASE))
    return [match.start() for match in matches], [match.end() for match in matches]


def qnli(draw: Draw, label: int) -> dict[str, Any]:
    """Does the sentence hold the answer? If not (1), it is about somebody else, or tells something else."""
    values = Values(draw)
    asked_fact = _fact(draw, values)
    slot = _slot(draw, asked_fact.kind)
    stated = asked_fact
    if label == 1:
        other_values = {name: value for name, value in asked_fact.values.items() if name != slot}
        if draw.chance(0.5):
            kind = draw.choice([kind for kind in load(_FILE)["facts"] if kind != asked_fact.kind])
            stated = _fact(draw, values, kind, **other_values)
        else:
            stated = _fact(draw, values, asked_fact.kind)
    return {"question": asked_fact.ask(draw, slot), "sentence": stated.say(draw), "label": label}


def boolq(draw: Draw, label: int, *, others: int | None = None) -> dict[str, Any]:
    """A yes/no question; if the answer is no (0), one value is that of the passage's other fact of the kind.

    others: facts beside these two; 1 or 2 unless it is given.
    """
    asked_fact, rival, facts = _passage(draw, others=draw.choice((1, 2)) if others is None else others)
    template = draw.template(f"facts/{asked_fact.kind}/yesno", file=_FILE)
    values = dict(asked_fact.values)
    if label == 0:
        slot = draw.choice(re.findall(r"{(\w+)}", template))
        values[slot] = rival.values[slot]
    passage = f"{draw.choice((asked_fact, rival)).title} -- {' '.join(_sentences(draw, facts))}"
    return {"question": fill(template, **values).lower(), "passage": passage, "label": label}


def multirc(draw: Draw, labels: tuple[int, ...]) -> list[dict[str, Any]]:
    """A paragraph, a question, an answer for each label: some are right (1), the others did something else (0)."""
    number = draw.choice(range(len(load(_FILE)["many"])))
    deed = load(_FILE)["many"][number]
    right, *wrong = draw.words(deed["kind"], 3)
    people = draw.people(len(labels) + 1)
    done = [right if label else draw.choice(wrong) for label in (*labels, 0)]

    def say(person: str, value: str) -> str:
        return sentence(draw.choice(draw.options(deed["say"])), person=person, value=value)

    sentences = [say(person, value) for person, value in zip(people, done, strict=True)]
    if draw.chance(0.5):
        sentences.append(draw.template("about", file=_FILE))
    question = sentence(draw.choice(draw.options(deed["ask"])), value=right)
    paragraph = " ".join(draw.shuffled(sentences))
    return [
        {"paragraph": paragraph, "question": question, "answer": person, "label": label}
        for person, label in zip(people, labels, strict=False)
    ]


def squad(draw: Draw, _: None) -> dict[str, Any]:
    """A question about one fact of a passage; the answer's place is given in characters."""
    asked_fact, _rival, facts = _passage(draw, others=draw.choice((1, 2)))
    slot = _slot(draw, asked_fact.kind)
    context = " ".join(_sentences(draw, facts))
    answer = asked_fact.values[slot]
    return {"title": asked_fact.title.replace(" ", "_"), "context": context, "question": asked_fact.ask(draw, slot),
            "answers": {"text": [answer], "answer_start": spans(context, answer)[0][:1]}}  # fmt: skip


def _mrqa(context: str, question: str, answer: str) -> dict[str, Any]:
    """A row of the MRQA tasks: labels give every position of the answer in characters, the end included."""
    starts, ends = spans(context, answer)
    labels = [{"end": [end - 1 for end in ends], "start": starts}]
    return {"context": context, "question": question, "answers": [answer], "labels": labels}


def nq(draw: Draw, _: None) -> dict[str, Any]:
    """A lower-case query without a question mark, over a tokenised paragraph."""
    asked_fact, _rival, facts = _passage(draw, others=draw.choice((1, 2)))
    slot = _slot(draw, asked_fact.kind)
    context = f"<P> {spaced(' '.join(_sentences(draw, facts)))} </P>"
    return _mrqa(context, asked_fact.ask(draw, slot).rstrip("?").lower(), asked_fact.values[slot])


def newsqa(draw: Draw, _: None) -> dict[str, Any]:
    """A report in paragraphs, with a place line."""
    asked_fact, _rival, facts = _passage(draw, others=draw.choice((2, 3)))
    slot = _slot(draw, asked_fact.kind)
    used = {value for fact in facts for value in fact.values.values()}
    place = next(city for city in iter(lambda: draw.word("city"), "") if city not in used)
    context = f"{place.upper()} (Sample News) -- " + "\n\n\n\n".join(_sentences(draw, facts))
    return _mrqa(context, asked_fact.ask(draw, slot), asked_fact.values[slot])


def searchqa(draw: Draw, _: None) -> dict[str, Any]:
    """A clue with "this city" in the answer's place, over search results."""
    asked_fact, _rival, facts = _passage(draw, others=2)
    slot = draw.choice([slot for slot in asked_fact.values if slot in ENTITIES])
    context = " ".join(f"[DOC] [TLE] {fact.title} - sample page [PAR] {fact.say(draw)}" for fact in facts)
    clue = asked_fact.say(draw, **{slot: ENTITIES[slot]}).rstrip(".")
    return _mrqa(context, clue, asked_fact.values[slot])


def hotpotqa(draw: Draw, _: None) -> dict[str, Any]:
    """A question that names its fact only through another one: two paragraphs are needed, two are distractors."""
    values = Values(draw)
    number = draw.choice(range(len(load(_FILE)["bridges"])))
    bridge = load(_FILE)["bridges"][number]
    link = bridge["link"]
    pairs = []
    for _pair in range(2):
        first = _fact(draw, values, bridge["first"])
        pairs.append((first, _fact(draw, values, bridge["second"], **{link: first.values[link]})))
    (first, second), rivals = pairs[0], pairs[1]
    context = " ".join(
        f"[PAR] [TLE] {fact.title} [SEP] {fact.say(draw)}" for fact in draw.shuffled([first, second, *rivals])
    )
    slot = draw.choice(tuple(bridge["ask"]))
    questions = bridge["ask"][slot]
    question = sentence(draw.choice(draw.options(questions)), **first.values)
    return _mrqa(context, question, second.values[slot])


def record(draw: Draw, _: None) -> dict[str, Any]:
    """A fact of the passage is repeated with one entity left out."""
    asked_fact, _rival, facts = _passage(draw, others=2)
    slot = draw.choice([slot for slot in ("person", "city", "company") if slot in asked_fact.values])
    sentences = _sentences(draw, facts)
    passage = " ".join(sentences[:-2]) + "".join(f"\n@highlight\n{text.rstrip('.')}" for text in sentences[-2:])
    entities = sorted(
        {value for fact in facts for name, value in fact.values.items() if name in ENTITIES and name != "year"}
    )
    places = sorted(
        (start, end, entity) for entity in entities for start, end in zip(*spans(passage, entity), strict=True)
    )
    return {
        "passage": passage, "query": asked_fact.say(draw, **{slot: "@placeholder"}), "entities": entities,
        "entity_spans": {"text": [place[2] for place in places], "start": [place[0] for place in places],
                         "end": [place[1] for place in places]},
        "answers": [asked_fact.values[slot]],
    }  # fmt: skip


def ask_one(draw: Draw, *, others: int) -> tuple[str, str, str]:
    """(question, context, answer) about one fact, among `others` more of which the first is its rival.

    The reading tasks in their shortest form, for training before the tasks themselves.
    """
    values = Values(draw)
    asked_fact = _fact(draw, values)
    rivals = [_fact(draw, values, asked_fact.kind)] if others else []
    facts = [asked_fact, *rivals, *(_fact(draw, values) for _ in range(others - 1))]
    slot = _slot(draw, asked_fact.kind)
    context = " ".join(fact.say(draw) for fact in draw.shuffled(facts))
    return asked_fact.ask(draw, slot), context, asked_fact.values[slot]
