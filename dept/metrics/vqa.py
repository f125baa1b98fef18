"""VQA accuracy as the benchmark's own evaluation defines it (Antol et al., 2015; Goyal et al., 2017).

https://visualqa.org/evaluation.html: ten people answered each question; an answer is scored against every nine of
them, min(1, matches / 3), and the ten scores are averaged. The normalisation is that of the official evaluation,
its quirks included, since published numbers contain them: a prediction is always normalised, the people's answers
lose their punctuation only where the ten are not all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

_NUMBERS = {
    **{"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5"},
    **{"six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10"},
}
_ARTICLES = ("a", "an", "the")
_PUNCTUATION = ";:/'[]\"()=+\\_><@`,?"
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_MOST_PERIODS = 32  # the official evaluation passes re.UNICODE as re.sub's count, so only 32 periods are replaced

# Contractions by their right spelling. The official table maps each spelling that lacks one apostrophe or more.
_CONTRACTIONS = [
    "ain't",
    "aren't",
    "can't",
    "could've",
    "couldn't",
    "couldn't've",
    "didn't",
    "doesn't",
    "don't",
    "hadn't",
    "hadn't've",
    "hasn't",
    "haven't",
    "he'd",
    "he'd've",
    "he's",
    "how'd",
    "how'll",
    "how's",
    "I'd've",
    "I'm",
    "I've",
    "isn't",
    "it'd",
    "it'd've",
    "it'll",
    "ma'am",
    "mightn't",
    "mightn't've",
    "might've",
    "mustn't",
    "must've",
    "needn't",
    "not've",
    "o'clock",
    "oughtn't",
    "'ow's'at",
    "shan't",
    "she'd've",
    "should've",
    "shouldn't",
    "shouldn't've",
    "somebody'd've",
    "somebody'll",
    "somebody's",
    "someone'd",
    "someone'd've",
    "someone'll",
    "someone's",
    "something'd",
    "something'd've",
    "something'll",
    "that's",
    "there'd",
    "there'd've",
    "there're",
    "there's",
    "they'd",
    "they'd've",
    "they'll",
    "they're",
    "they've",
    "'twas",
    "wasn't",
    "we'd've",
    "we've",
    "weren't",
    "what'll",
    "what're",
    "what's",
    "what've",
    "when's",
    "where'd",
    "where's",
    "where've",
    "who'd",
    "who'd've",
    "who'll",
    "who's",
    "who've",
    "why'll",
    "why're",
    "why's",
    "won't",
    "would've",
    "wouldn't",
    "wouldn't've",
    "y'all",
    "y'all'll",
    "y'all'd've",
    "you'd",
    "you'd've",
    "you'll",
    "you're",
    "you've",
]


def _misspellings(contraction: str) -> Iterator[str]:
    """The official table's misspellings of a contraction: with one apostrophe left out."""
    places = [i for i, character in enumerate(contraction) if character == "'"]
    yield from (contraction[:i] + contraction[i + 1 :] for i in places)


_RIGHT_SPELLING = {wrong: right for right in _CONTRACTIONS for wrong in _misspellings(right)}
_RIGHT_SPELLING["somebody'd"] = "somebodyd"  # a mistake of the official table


def without_punctuation(text: str) -> str:
    """Drop a mark if one of its kind has a space beside it or the text has a number such as 1,000; else put a space.

    Periods are dropped unless a digit follows.
    """
    has_number = _COMMA_IN_NUMBER.search(text) is not None
    out = text
    for mark in _PUNCTUATION:
        out = out.replace(mark, "" if has_number or f"{mark} " in text or f" {mark}" in text else " ")
    return _PERIOD.sub("", out, count=_MOST_PERIODS)


def normalised(text: str) -> str:
    """A predicted answer in the form that is compared: no punctuation, lower case, numbers as digits, no articles."""
    cleaned = without_punctuation(text.replace("\n", " ").replace("\t", " ").strip())
    words = (_NUMBERS.get(word, word) for word in cleaned.lower().split())
    return " ".join(_RIGHT_SPELLING.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """The accuracy of one prediction, 0 to 1.

    Args:
        answers: one answer from each person, equal ones repeated; ten in VQA. A single answer (data sets with one
            true answer) is compared directly: leaving it out would leave nothing to compare with.
    """
    predicted = normalised(prediction)
    compared: Iterable[str] = answers
    if len(set(answers)) > 1:
        compared = [without_punctuation(answer) for answer in answers]
    matches = [answer == predicted for answer in compared]
    if len(matches) == 1:
        return float(matches[0])
    total = sum(matches)
    return sum(min(1.0, (total - match) / 3) for match in matches) / len(matches)
