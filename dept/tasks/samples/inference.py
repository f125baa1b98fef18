"""Inference samples (mnli, rte, cb, scitail): hypotheses that a premise entails, contradicts or leaves open.

Every rule draws the hypothesis without looking at the label, and then a premise that gives the label: the hypothesis
alone tells nothing. The only world knowledge needed is that of the lexicon's words.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dept.tasks.samples.lexicon import Draw, fill, load, plural, sentence, spaced, verb_forms
from dept.tasks.samples.pairs import TOPICS

ENTAILMENT, NEUTRAL, CONTRADICTION = LABELS = ("entailment", "neutral", "contradiction")
Clauses = tuple[str, str]
NUMBERS = (
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip


def _member(draw: Draw) -> tuple[str, str, str]:
    """(topic, a category such as "bird", a member of it such as "robin")."""
    topic = draw.choice(TOPICS)
    category = draw.choice(tuple(load("words.yaml")[topic]))
    return topic, category, draw.word(f"{topic}/{category}")


# rule -> hypothesis -> label -> premises that give it
_HYPERNYM = {
    "+member": {ENTAILMENT: ["+member"], NEUTRAL: ["+category"], CONTRADICTION: ["-category", "-member"]},
    "+category": {ENTAILMENT: ["+member"], NEUTRAL: ["-member"], CONTRADICTION: ["-category"]},
    "-member": {ENTAILMENT: ["-category"], NEUTRAL: ["+category"], CONTRADICTION: ["+member"]},
    "-category": {ENTAILMENT: ["-category"], NEUTRAL: ["-member"], CONTRADICTION: ["+member", "+category"]},
}
_QUANTIFIER = {
    "all of the": {ENTAILMENT: ["each of the"], NEUTRAL: ["some of the"],
                   CONTRADICTION: ["none of the", "not all of the"]},
    "some of the": {ENTAILMENT: ["all of the", "each of the"], NEUTRAL: ["not all of the"],
                    CONTRADICTION: ["none of the"]},
    "none of the": {ENTAILMENT: ["not one of the"], NEUTRAL: ["not all of the"],
                    CONTRADICTION: ["all of the", "some of the", "each of the"]},
    "not all of the": {ENTAILMENT: ["none of the", "not one of the"], NEUTRAL: ["some of the"],
                       CONTRADICTION: ["all of the", "each of the"]},
}  # fmt: skip
_EITHER = {
    "+": {ENTAILMENT: ["both {a} and {b} {past}"], NEUTRAL: ["either {a} or {b} {past}"],
          CONTRADICTION: ["neither {a} nor {b} {past}"]},
    "-": {ENTAILMENT: ["neither {a} nor {b} {past}"], NEUTRAL: ["either {a} or {b} {past}"],
          CONTRADICTION: ["both {a} and {b} {past}"]},
}  # fmt: skip
_DONE, _NOT_DONE, _OPEN = (
    ["managed to", "remembered to", "was able to and did"],
    ["failed to", "forgot to", "refused to"],
    ["wanted to", "hoped to", "was told to"],
)
_IMPLICATIVE = {
    "+": {ENTAILMENT: _DONE, NEUTRAL: _OPEN, CONTRADICTION: _NOT_DONE},
    "-": {ENTAILMENT: _NOT_DONE, NEUTRAL: _OPEN, CONTRADICTION: _DONE},
}


def hypernym(draw: Draw, label: str) -> Clauses:
    """Who bought a robin bought a bird; who bought no bird bought no robin; and not the other way round."""
    topic, category, member = _member(draw)
    agent, verb = draw.person(), verb_forms()[draw.word(f"verb/{topic}")]

    def say(form: str) -> str:
        doing = verb["past"] if form[0] == "+" else f"did not {verb['base']}"
        thing = member if form[1:] == "member" else category
        return fill("{agent} {doing} a(n) {thing}", agent=agent, doing=doing, thing=thing)

    hypothesis = draw.choice(tuple(_HYPERNYM))
    return say(draw.choice(_HYPERNYM[hypothesis][label])), say(hypothesis)


def quantity(draw: Draw, label: str) -> Clauses:
    """Exact numbers and bounds: "more than three" follows from five and not from "more than two"."""
    owner, things = draw.person(), plural(draw.word(draw.choice(("object", "animal"))))
    middle = draw.choice(range(5, len(NUMBERS) - 5))
    more = draw.chance(0.5)
    above, below = draw.choice(range(middle + 1, middle + 5)), draw.choice(range(middle - 4, middle))
    beyond, within = (above, below) if more else (below, above)  # numbers that make the hypothesis true, and false
    side, other = ("more than", "fewer than") if more else ("fewer than", "more than")
    options = {
        ENTAILMENT: [f"exactly {NUMBERS[beyond]}", f"{side} {NUMBERS[beyond]}"],
        CONTRADICTION: [f"exactly {NUMBERS[within]}", f"{other} {NUMBERS[within]}"],
        NEUTRAL: [f"{side} {NUMBERS[within]}", f"{other} {NUMBERS[beyond]}"],
    }
    if label == NEUTRAL and abs(beyond - middle) < 2:  # "fewer than six" would settle "more than five"
        options[NEUTRAL].pop()
    frame = "{owner} has {amount} {things}"
    premise = fill(frame, owner=owner, amount=draw.choice(options[label]), things=things)
    return premise, fill(frame, owner=owner, amount=f"{side} {NUMBERS[middle]}", things=things)


def quantifier(draw: Draw, label: str) -> Clauses:
    """All, some, none, not all."""
    nouns, verb = (
        plural(draw.word(draw.choice(("animal", "profession")))),
        verb_forms()[draw.word("verb/alone")],
    )
    hypothesis = draw.choice(tuple(_QUANTIFIER))
    premise = draw.choice(_QUANTIFIER[hypothesis][label])
    return f"{premise} {nouns} {verb['past']}", f"{hypothesis} {nouns} {verb['past']}"


def either(draw: Draw, label: str) -> Clauses:
    """Both, either and neither of two people."""
    topic, _, noun = _member(draw)
    verb, (one, other) = verb_forms()[draw.word(f"verb/{topic}")], draw.people(2)
    subject = draw.choice((one, other))
    hypothesis = draw.choice("+-")
    premise = fill(draw.choice(_EITHER[hypothesis][label]), a=one, b=other, past=verb["past"]) + f" the {noun}"
    doing = verb["past"] if hypothesis == "+" else f"did not {verb['base']}"
    return premise, f"{subject} {doing} the {noun}"


def implicative(draw: Draw, label: str) -> Clauses:
    """Who managed to do it did it, who failed to did not, who wanted to may or may not have."""
    topic, _, noun = _member(draw)
    agent, verb = draw.person(), verb_forms()[draw.word(f"verb/{topic}")]
    hypothesis = draw.choice("+-")
    doing = verb["past"] if hypothesis == "+" else f"did not {verb['base']}"
    return (
        f"{agent} {draw.choice(_IMPLICATIVE[hypothesis][label])} {verb['base']} the {noun}",
        f"{agent} {doing} the {noun}",
    )


def opposite(draw: Draw, label: str) -> Clauses:
    """Synonyms entail, opposites contradict, other properties leave it open."""
    pair, unrelated = draw.random.sample(draw.opposites("opposite"), 2)
    side = draw.choice((0, 1))
    stated = {ENTAILMENT: pair[side], CONTRADICTION: pair[1 - side], NEUTRAL: draw.choice(unrelated)}[label]
    hypothesis_word = draw.choice(pair[side])
    premise_word = draw.choice([word for word in stated if word != hypothesis_word])
    frame = draw.choice(("the {noun} of {owner} is {adj}", "{owner} has a(n) {adj} {noun}"))
    noun, owner = draw.word("object"), draw.person()
    premise, hypothesis = (fill(frame, noun=noun, owner=owner, adj=word) for word in (premise_word, hypothesis_word))
    return premise, hypothesis


def order(draw: Draw, label: str) -> Clauses:
    """Before and after: a chain of three orders its ends, a fork does not."""
    a, b, c = draw.people(3)
    verb = verb_forms()[draw.word("verb/alone")]["past"]
    chain = {
        ENTAILMENT: [f"{a} {verb} before {b} and {b} before {c}", f"{c} {verb} after {b} and {b} after {a}"],
        CONTRADICTION: [
            f"{c} {verb} before {b} and {b} before {a}",
            f"{a} {verb} after {b} and {b} after {c}",
        ],
        NEUTRAL: [f"{a} {verb} before {b} and {c} before {b}", f"{a} {verb} after {b} and {c} after {b}"],
    }
    return draw.choice(chain[label]), draw.choice((f"{a} {verb} before {c}", f"{c} {verb} after {a}"))


RULES: tuple[Callable[[Draw, str], Clauses], ...] = (
    hypernym, quantity, quantifier, either, implicative, opposite, order
)  # fmt: skip


def _framed(draw: Draw, label: str) -> Clauses:
    """A premise and a hypothesis as sentences, the premise among unrelated statements."""
    premise, hypothesis = draw.choice(RULES)(draw, label)
    used = set((premise + " " + hypothesis).split())
    other = next(name for name in iter(draw.person, "") if name not in used)
    about = fill(draw.template("inference/about"), other=other, city=draw.word("city"))
    frame = draw.template("inference/premise")
    clause = premise[0].upper() + premise[1:] if "about" in frame else premise
    return (
        sentence(frame, clause=clause, about=about, other=other),
        sentence(draw.template("inference/hypothesis"), clause=hypothesis),
    )


def mnli(draw: Draw, label: int) -> dict[str, Any]:
    """Three ways: 0 entailment, 1 neutral, 2 contradiction."""
    premise, hypothesis = _framed(draw, LABELS[label])
    return {"premise": premise, "hypothesis": hypothesis, "label": label}


def rte(draw: Draw, label: int) -> dict[str, Any]:
    """Two ways: 0 entailment, 1 not (neutral and contradiction alike)."""
    premise, hypothesis = _framed(draw, draw.choice((NEUTRAL, CONTRADICTION)) if label else ENTAILMENT)
    return {"sentence1": premise, "sentence2": hypothesis, "label": label}


def cb(draw: Draw, label: int) -> dict[str, Any]:
    """A clause under a verb that commits the speaker to its truth, to its falsity, or to neither.

    The hypothesis is the clause or its negation, so that the verb alone does not give the label
    (0 entailment, 1 contradiction, 2 neutral).
    """
    topic, _, noun = _member(draw)
    verb = verb_forms()[draw.word(f"verb/{topic}")]
    who, agent, other = draw.people(3)
    embedded, asserted = draw.chance(0.5), draw.chance(0.5)
    force = "open" if label == 2 else "holds" if (embedded == asserted) == (label == 0) else "fails"

    def say(positive: bool) -> str:
        return f"{agent} {verb['past'] if positive else 'did not ' + verb['base']} the {noun}"

    talk = sentence(draw.template("inference/cb_talk"), other=other, city=draw.word("city"))
    commitment = sentence(draw.template(f"inference/cb/{force}"), who=who, clause=say(embedded))
    return {"premise": f"{talk} {commitment}", "hypothesis": say(asserted), "label": label}


def scitail(draw: Draw, label: str) -> dict[str, Any]:
    """A member of a category has what all of it have; not what some have, nor what another category has."""
    kind = draw.choice(("animal", "plant", "food"))
    category, other = draw.random.sample(tuple(load("words.yaml")[kind]), 2)
    animal = draw.word(f"{kind}/{category}")
    article = fill("a(n) {noun}", noun=animal).split()[0]
    prop, another = (
        draw.template("inference/scitail_property").format(gene=f"{draw.choice('BCDFGHKLMNPRSTVWZ')}{number}")
        for number in draw.random.sample(range(2, 100), 2)
    )
    claims = {
        "entailment": [f"every {category} {prop}", f"every {category} but only one {other} in ten {prop}"],
        "neutral": [draw.choice((f"every {other} {prop}", f"every {category} {another}")),
                    f"every {other} but only one {category} in ten {prop}"],
    }  # fmt: skip
    premise = sentence(
        draw.template("inference/scitail"), claim=draw.choice(claims[label]), article=article,
        Article=article.capitalize(), animal=animal, category=category, city=draw.word("city"),
    )  # fmt: skip
    return {
        "sentence1_binary_parse": "",
        "sentence1_parse": "",
        "sentence1": spaced(premise),
        "sentence2_parse": "",
        "sentence2": f"{article.capitalize()} {animal} {prop}",
        "annotator_labels": [],
        "gold_label": label,
        "sentence2_binary_parse": "",
    }
