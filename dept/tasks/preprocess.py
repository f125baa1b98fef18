"""Rewrite rows before their columns are put into a template, where a template is not enough, as the release does.

Each function takes a row in the hub's schema, checked for its columns' types, and gives one or more rows with
the same columns. It leaves a missing label missing.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dept.errors import DataError

Columns = dict[str, Any]

_PUNCTUATION = re.compile(r"[^\w\s]")
_SPACES = re.compile(r"\s+")
_HIGHLIGHT_AFTER_STOP = re.compile(r"([.?!\"'])\n@highlight\n")


def stsb(row: Columns) -> list[Columns]:
    """The score rounded to the nearest 0.2, as text with one decimal. A negative score is a hidden one."""
    score = row.get("label")
    if score is None or score < 0:
        return [{**row, "label": None}]
    return [{**row, "label": f"{round(score * 5) / 5:.1f}"}]


def multirc(row: Columns) -> list[Columns]:
    """The paragraph without its HTML."""
    paragraph = row["paragraph"].replace("<br>", " ").replace("<b>", "").replace("</b>", "")
    return [{**row, "paragraph": paragraph}]


def wsc(row: Columns) -> list[Columns]:
    """The text with ` * ` around span 1 and ` # ` around span 2. A span index counts words, from 0.

    A span that is not where its index says stays unmarked, as in the release: the real data has four of them.
    """
    words = [match.start() for match in re.finditer(r"\S+", row["text"])]
    marks: list[tuple[int, int, str]] = []
    for span, mark in (("span1", "*"), ("span2", "#")):
        index, span_text = row[f"{span}_index"], row[f"{span}_text"]
        if 0 <= index < len(words) and row["text"].startswith(span_text, words[index]):
            marks.append((words[index], words[index] + len(span_text), mark))
    text = row["text"]
    for start, end, mark in sorted(
        marks, reverse=True
    ):  # from right to left, so that the remaining positions stay valid
        text = f"{text[:start]}{mark} {text[start:end]} {mark}{text[end:]}"
    return [{**row, "text": text}]


def mrqa(row: Columns) -> list[Columns]:
    """Punctuation padded by spaces (T5's rule) in the question, the context and the answers."""
    answers = row.get("answers")
    padded = None if answers is None else [pad_punctuation(answer) for answer in answers]
    question, context = pad_punctuation(row["question"]), pad_punctuation(row["context"])
    return [{**row, "question": question, "context": context, "answers": padded}]


def squad(row: Columns) -> list[Columns]:
    """As `mrqa`; the answers are the hub's {text: [...], answer_start: [...]}."""
    answers = row.get("answers")
    if answers is not None:
        answers = answers.get("text") if isinstance(answers, Mapping) else answers
        if not isinstance(answers, list | tuple) or not all(isinstance(answer, str) for answer in answers):
            raise DataError("squad: column 'answers': expected {text: [texts], answer_start: [numbers]}")
    return mrqa({**row, "answers": answers})


def record(row: Columns) -> list[Columns]:
    """One row per answer, that answer first and the others after it; highlights become sentences of the passage."""
    passage = _HIGHLIGHT_AFTER_STOP.sub(r"\1 ", row["passage"]).replace("\n@highlight\n", ". ")
    answers = list(row.get("answers") or [])
    if not answers:
        return [{**row, "passage": passage}]
    return [
        {**row, "passage": passage, "answers": [answer, *(other for other in answers if other != answer)]}
        for answer in answers
    ]


def vqa(row: Columns) -> list[Columns]:
    """The ten people's answers as texts, the most frequent one first; VQA has them as {answer: text, ...}."""
    raw_answers = row.get("answers")
    if raw_answers is None:
        return [row]
    answers = [answer.get("answer") if isinstance(answer, Mapping) else answer for answer in raw_answers]
    if not all(isinstance(answer, str) for answer in answers):
        raise DataError("vqa: column 'answers': expected texts, or {answer: text, ...} each")
    if not answers:
        return [row]
    multiple_choice = row.get("multiple_choice_answer")
    majority = multiple_choice if multiple_choice in answers else Counter(answers).most_common(1)[0][0]
    answers.remove(majority)
    return [{**row, "answers": [majority, *answers]}]


def pad_punctuation(text: str) -> str:
    """Spaces around all but letters, digits, accents, underscores and spaces; runs of spaces become one."""
    if text.isascii():
        padded = _PUNCTUATION.sub(r" \g<0> ", text)
    else:
        # Python's \w leaves out combining accents (category M), which belong to their letter.
        padded = _PUNCTUATION.sub(
            lambda match: match[0] if unicodedata.category(match[0])[0] == "M" else f" {match[0]} ", text
        )
    return _SPACES.sub(" ", padded)


@dataclass(frozen=True)
class Preprocess:
    """A function of this file, and the columns (with their types) that it reads."""

    apply: Callable[[Columns], list[Columns]]
    needs: Mapping[str, str]


_SPANS = {"span1_index": "int", "span1_text": "str", "span2_index": "int", "span2_text": "str"}
_QUESTION = {"question": "str", "context": "str"}
PREPROCESS: dict[str, Preprocess] = {
    "stsb": Preprocess(stsb, {"label": "float"}),
    "multirc": Preprocess(multirc, {"paragraph": "str"}),
    "wsc": Preprocess(wsc, {"text": "str"} | _SPANS),
    "mrqa": Preprocess(mrqa, _QUESTION | {"answers": "list[str]"}),
    "squad": Preprocess(squad, _QUESTION | {"answers": "mapping"}),
    "vqa": Preprocess(vqa, {"answers": "list"}),
    "record": Preprocess(record, {"passage": "str", "answers": "list[str]"}),
}
