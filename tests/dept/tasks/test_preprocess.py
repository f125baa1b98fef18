from __future__ import annotations

import json
from pathlib import Path

import pytest

from dept.tasks.preprocess import PREPROCESS, multirc, pad_punctuation, record, stsb, wsc


@pytest.mark.parametrize(
    ("text", "padded"),
    [
        ("What's up?", "What ' s up ? "),
        ("a_b  c\n\nd", "a_b c d"),
        ("Zoë – 5€", "Zoë – 5 € "),
        ("e\u0301tude.", "e\u0301tude . "),  # a combining accent stays with its letter
        ("नमस्ते!", "नमस्ते ! "),
        ("", ""),
    ],
)
def test_punctuation_is_padded_and_letters_stay_whole(text: str, padded: str) -> None:
    assert pad_punctuation(text) == padded


def test_wsc_marks_both_spans_in_either_order() -> None:
    row = {"text": "Mark told Pete that he lied.", "span1_index": 0, "span1_text": "Mark"}
    row |= {"span2_index": 4, "span2_text": "he"}
    assert wsc(row)[0]["text"] == "* Mark * told Pete that # he # lied."
    swapped = row | {"span1_index": 4, "span1_text": "he", "span2_index": 0, "span2_text": "Mark"}
    assert wsc(swapped)[0]["text"] == "# Mark # told Pete that * he * lied."


def test_wsc_marks_a_span_with_punctuation_behind_it() -> None:
    row = {"text": "I saw Ann, and her cat.", "span1_index": 2, "span1_text": "Ann"}
    row |= {"span2_index": 4, "span2_text": "her cat"}
    assert wsc(row)[0]["text"] == "I saw * Ann *, and # her cat #."


@pytest.mark.parametrize("change", [{"span1_index": -1}, {"span1_index": 9}, {"span1_text": "she"}])
def test_wsc_leaves_a_span_that_is_not_there_unmarked(change: dict[str, object]) -> None:
    row = {"text": "Mark said he lied.", "span1_index": 0, "span1_text": "Mark"}
    row |= {"span2_index": 2, "span2_text": "he"}
    assert wsc(row | change)[0]["text"] == "Mark said # he # lied."


def test_multirc_drops_html() -> None:
    paragraph = "<b>Sent 1: </b>A man.<br><b>Sent 2: </b>A dog.<br>"
    assert multirc({"paragraph": paragraph})[0]["paragraph"] == "Sent 1: A man. Sent 2: A dog. "


def test_record_joins_highlights_as_sentences() -> None:
    passage = 'It "ended."\n@highlight\nOne\n@highlight\nTwo'
    assert record({"passage": passage, "answers": None})[0]["passage"] == 'It "ended." One. Two'


def test_stsb_has_21_classes() -> None:
    targets = {stsb({"label": score / 100})[0]["label"] for score in range(501)}
    assert targets == {f"{fifth / 5:.1f}" for fifth in range(26)}


def test_rows_are_not_changed_in_place(shared: Path) -> None:
    for name, file in (
        ("wsc", "wsc"),
        ("record", "record"),
        ("squad", "squad"),
        ("mrqa", "nq"),
        ("multirc", "multirc"),
    ):
        line = (shared / "data" / file / "train.jsonl").read_text().splitlines()[0]
        row = json.loads(line)
        PREPROCESS[name].apply(row)
        assert row == json.loads(line)
