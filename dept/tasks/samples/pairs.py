"""Paraphrase samples (mrpc, qqp, paws) and graded overlap of meaning (stsb)."""

from __future__ import annotations

from typing import Any

from dept.tasks.samples.lexicon import SHARED, Draw, load, sentence, spaced, templates, verb_forms

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August",
          "September", "October", "November", "December")  # fmt: skip
TOPICS = ("animal", "food", "object", "plant")  # kinds of nouns, and of the verbs that go with them


def _other(draw: Draw, kind: str, group: tuple[str, ...]) -> tuple[str, ...]:
    """Another group of synonyms of a kind, sharing no word with the given one."""
    return draw.choice([other for other in draw.synonyms(kind) if not set(other) & set(group)])


def _tell(frame: str, words: dict[str, str]) -> str:
    verb = verb_forms()[words["verb"]]
    slots = {slot: word for slot, word in words.items() if slot != "verb"}
    return sentence(frame, past=verb["past"], participle=verb["participle"], **slots)


def _two_frames(draw: Draw, name: str) -> tuple[str, str]:
    if draw.own_only:
        shared, own = templates(name, draw.split)
        first, second = draw.pair({SHARED: shared, draw.split: own})
        return first, second
    first = second = draw.template(name)
    while second == first:
        second = draw.template(name)
    return first, second


def mrpc(draw: Draw, label: int) -> dict[str, Any]:
    """One event told twice, with synonyms (1), or two events that differ in one or two particulars (0)."""
    topic = draw.choice(TOPICS)
    adjective = "opposite" if topic == "object" else "opposite/any"
    groups: dict[str, tuple[str, ...]] = {
        "verb": draw.choice(draw.synonyms(f"verb/{topic}")),
        "noun": draw.choice(draw.synonyms(topic)),
        "adj": draw.choice(draw.synonyms(adjective)),
        "agent": (draw.person(),), "city": (draw.word("city"),), "day": (draw.choice(DAYS),),
    }  # fmt: skip
    first = {slot: draw.choice(group) for slot, group in groups.items()}
    second = {slot: draw.choice([word for word in group if word != first[slot]] or group)
              if draw.chance(0.5) else first[slot] for slot, group in groups.items()}  # fmt: skip
    if label == 0:
        for slot in draw.random.sample(("verb", "noun", "adj", "agent", "city", "day"), draw.choice((1, 1, 2))):
            if slot == "day":
                second[slot] = draw.choice([day for day in DAYS if day != first[slot]])
            elif slot in ("agent", "city"):
                second[slot] = draw.word(
                    "city" if slot == "city" else draw.choice(("female", "male")), but=(first[slot],)
                )
            else:
                kind = {"verb": f"verb/{topic}", "noun": topic, "adj": adjective}[slot]
                second[slot] = draw.choice(_other(draw, kind, groups[slot]))
    frames = _two_frames(draw, "mrpc")
    one, two = (spaced(_tell(frame, words)) for frame, words in zip(frames, (first, second), strict=True))
    return {"sentence1": one, "sentence2": two, "label": label}


STSB_WEIGHTS = {"verb": 1.6, "noun": 1.6, "agent": 1.0, "city": 0.8}


def stsb(draw: Draw, label: int) -> dict[str, Any]:
    """Two events, scored by the particulars they share: verb and noun 1.6 each, agent 1, place 0.8.

    `label` is the whole number (0 to 5) that the score rounds to, so that the scores are spread evenly.
    """
    subsets = [[slot for bit, slot in enumerate(STSB_WEIGHTS) if mask >> bit & 1] for mask in range(16)]
    fitting = [subset for subset in subsets if round(sum(STSB_WEIGHTS[slot] for slot in subset)) == label]
    shared = draw.choice(fitting)
    topic = draw.choice(TOPICS)
    kinds = {"verb": f"verb/{topic}", "noun": topic, "agent": "profession", "city": "city"}
    groups = {slot: draw.choice(draw.synonyms(kind)) for slot, kind in kinds.items()}
    others = {
        slot: groups[slot] if slot in shared else _other(draw, kind, groups[slot]) for slot, kind in kinds.items()
    }
    one, two = (
        _tell(frame, {slot: draw.choice(group) for slot, group in side.items()})
        for frame, side in zip(_two_frames(draw, "stsb"), (groups, others), strict=True)
    )
    score = round(sum((STSB_WEIGHTS[slot] for slot in shared), 0.0), 1)
    return {"sentence1": one, "sentence2": two, "label": score}


def qqp(draw: Draw, label: int) -> dict[str, Any]:
    """Two questions with one aim (1), or with different aims or about different things (0)."""
    asking = draw.node("qqp")
    signature = draw.choice(tuple(asking))
    kinds = signature.split()
    intents = tuple(asking[signature])
    intent, other = draw.random.sample(intents, 2)
    groups = {kind: draw.choice(draw.synonyms(kind)) for kind in kinds}
    first = {kind: draw.choice(group) for kind, group in groups.items()}
    second = {kind: draw.choice(group) for kind, group in groups.items()}
    frames_of_intent = f"qqp/{signature}/{intent}"
    if label == 1:
        frames = _two_frames(draw, frames_of_intent)
    elif draw.chance(0.5):
        frames = (draw.template(frames_of_intent), draw.template(f"qqp/{signature}/{other}"))
    else:
        frames = _two_frames(draw, frames_of_intent)
        changed = draw.choice(kinds)
        second[changed] = draw.choice(_other(draw, changed, groups[changed]))
    return {
        "question1": sentence(frames[0], **first),
        "question2": sentence(frames[1], **second),
        "label": label,
    }


def paws(draw: Draw, label: int) -> dict[str, Any]:
    """The same words in another order: with the same meaning (1), or another one since two are exchanged (0)."""
    relation = draw.choice(load("templates.yaml")["paws"])
    slots: dict[str, str] = {}
    for slot, kind in relation["slots"].items():
        while slot not in slots or list(slots.values()).count(slots[slot]) > 1:
            slots[slot] = (
                draw.person() if kind == "person" else draw.choice(MONTHS) if kind == "month" else draw.word(kind)
            )
    exchanges = relation["free"] if label else relation["swap"]
    same_frame = bool(relation["free"]) and draw.chance(0.3)
    again = dict(slots)
    if label == 0 or same_frame or (exchanges and draw.chance(0.3)):
        one, other = draw.choice(exchanges)
        again[one], again[other] = slots[other], slots[one]
    first, second = [draw.choice(draw.options(relation))] * 2 if same_frame else draw.pair(relation)
    return {
        "sentence1": spaced(sentence(first, **slots)),
        "sentence2": spaced(sentence(second, **again)),
        "label": label,
    }
