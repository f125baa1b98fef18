"""What a word refers to: pronouns (wsc, winogrande) and word senses (wic)."""

from __future__ import annotations

from typing import Any

from dept.tasks.samples.lexicon import Draw, load, sentence

_PRONOUNS = {"female": "she", "male": "he"}


def _schema(draw: Draw, referent: str, pronoun: str | None) -> tuple[str, dict[str, str]]:
    """A sentence about two people of one sex; its pronoun stands for the one called `referent` ("a" or "b")."""
    schema = draw.template("schemas")
    sex = draw.choice(("female", "male"))
    a, b = draw.words(sex, 2)
    text = sentence(
        schema["frame"], a=a, b=b, p=pronoun or _PRONOUNS[sex], end=draw.choice(schema[referent]),
        object=draw.word("object"), profession=draw.word("profession"), city=draw.word("city"),
    )  # fmt: skip
    return text, {"a": a, "b": b}


def wsc(draw: Draw, label: int) -> dict[str, Any]:
    """Does span2 (a pronoun) stand for span1 (a name)? Spans are given by their word's place in the text."""
    candidate = draw.choice("ab")
    referent = candidate if label else "ab".replace(candidate, "")
    text, people = _schema(draw, referent, None)
    words = text.split()
    pronoun = next(word for word in words if word in _PRONOUNS.values())
    return {
        "text": text,
        "span1_index": [word.strip(".,") for word in words].index(people[candidate]),
        "span2_index": words.index(pronoun),
        "span1_text": people[candidate],
        "span2_text": pronoun,
        "label": label,
    }


def winogrande(draw: Draw, label: str) -> dict[str, Any]:
    """Which of two names belongs into the blank; the answer is "1" or "2"."""
    referent = draw.choice("ab")
    text, people = _schema(draw, referent, "_")
    right, wrong = people[referent], people["ab".replace(referent, "")]
    options = (right, wrong) if label == "1" else (wrong, right)
    return {"sentence": text, "option1": options[0], "option2": options[1], "answer": label}


def wic(draw: Draw, label: int) -> dict[str, Any]:
    """Is the word used in one sense in both sentences? start, end: its place in characters, the end exclusive."""
    word = draw.choice(draw.senses())
    senses = draw.shuffled(load("senses.yaml")[word])
    frames = draw.random.sample(senses[0], 2) if label else [draw.choice(sense) for sense in senses]
    row: dict[str, Any] = {"word": word}
    ends: dict[str, int] = {}
    for number, frame in enumerate(frames, start=1):
        n, m = draw.words("female", 2) if " her " in frame else draw.people(2)
        before, _, after = sentence(frame, n=n, m=m, c=draw.word("city")).split("*")
        row[f"sentence{number}"] = before + word + after
        ends |= {f"start{number}": len(before), f"end{number}": len(before) + len(word)}
    return row | {name: ends[name] for name in ("start1", "start2", "end1", "end2")} | {"label": label}
