"""Single-sentence samples: sentiment with negation (sst2, yelp_polarity) and acceptability (cola)."""

from __future__ import annotations

from dept.tasks.samples.lexicon import Draw, fill, plural, sentence, verb_forms

NEGATIVE, POSITIVE = 0, 1
_POLARITIES = ("negative", "positive")
_AFTER_NOUNS_TOO = ("visible", "noticeable", "invisible", "unseen")  # "the stars visible": no mistake


def _sentiment(draw: Draw, label: int, domain: str) -> dict[str, str]:
    """Adjectives of the row's polarity (same, same2, same3) and of the other one (opp)."""
    own, other = _POLARITIES[label], _POLARITIES[1 - label]
    slots: dict[str, str] = {}
    for slot in ("same", "same2", "same3"):
        slots[slot] = draw.word(f"{own}/{draw.choice(('any', domain))}", but=tuple(slots.values()))
    slots["opp"] = draw.word(f"{other}/{draw.choice(('any', domain))}")
    return slots


def sst2(draw: Draw, label: int) -> dict[str, object]:
    """A film review of one lower-case sentence; its label is that of the whole, not of one adjective or part."""
    text = fill(draw.template("sst2"), film=draw.word("film"), part=draw.word("filmpart"),
                degree=draw.word("degree"), **_sentiment(draw, label, "film"))  # fmt: skip
    return {"sentence": text + " ", "label": label}


def yelp_polarity(draw: Draw, label: int) -> dict[str, object]:
    """A review of four sentences or five: a visit, opinions, perhaps a concession, a verdict."""
    business, city, name = draw.word("business"), draw.word("city"), draw.person()

    def say(kind: str) -> str:
        part, part2 = draw.words("placepart", 2)
        return sentence(draw.template(f"yelp/{kind}"), business=business, city=city, name=name, part=part,
                        part2=part2, dish=draw.word("food/dish"), degree=draw.word("degree"),
                        **_sentiment(draw, label, "place"))  # fmt: skip

    middle = [say("opinion"), say(draw.choice(("opinion", "concession")))]
    if draw.chance(0.5):
        middle.append(say("concession"))
    return {"text": " ".join([say("visit"), *draw.shuffled(middle), say("verdict")]), "label": label}


def cola(draw: Draw, label: int) -> dict[str, object]:
    """A sentence that obeys a rule of grammar (1) or breaks it (0): agreement, verb forms, word order, objects."""
    x, y = [noun for noun in draw.words("animal", 12) if plural(noun) != noun][:2]
    transitive, intransitive = verb_forms()[draw.word("verb/object")], verb_forms()[draw.word("verb/alone")]
    name, name2 = draw.people(2)
    acceptable, unacceptable = draw.template("cola")
    text = sentence(
        acceptable if label else unacceptable,
        x=x, xs=plural(x), y=y, ys=plural(y), o=draw.word("object"), name=name, name2=name2,
        city=draw.word("city"), adj=draw.word("opposite/any", but=_AFTER_NOUNS_TOO),
        tv=transitive["base"], tvs=transitive["third"], tved=transitive["past"],
        tven=transitive["participle"], tving=transitive["ing"],
        iv=intransitive["base"], ivs=intransitive["third"], ived=intransitive["past"],
    )  # fmt: skip
    return {"sentence": text, "label": label}
