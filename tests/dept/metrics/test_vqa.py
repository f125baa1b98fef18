"""VQA accuracy on worked examples of its definition; the values were checked against the official evaluation code."""

from __future__ import annotations

import pytest

from dept.metrics.scores import compute_metrics
from dept.metrics.vqa import normalised, vqa_accuracy, without_punctuation


def told(**counts: int) -> list[str]:
    return [answer.replace("_", " ") for answer, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("same", "accuracy"),
    # The mean over the ten subsets of nine: of those who said it, each leaves one match fewer.
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0), (10, 1.0)],
)
def test_each_of_ten_people_is_left_out_once(same: int, accuracy: float) -> None:
    assert vqa_accuracy("red", told(red=same, blue=10 - same)) == pytest.approx(accuracy)


def test_more_than_three_matches_count_no_more() -> None:
    answers = told(net=7, netting=1, mesh=1, pitcher=1)
    assert [vqa_accuracy(text, answers) for text in ("net", "netting", "nets")] == pytest.approx([1.0, 0.3, 0.0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Red Ball.", "red ball"),
        ("two", "2"),
        ("None", "0"),
        ("an old man's hat", "old man s hat"),
        ("1,000", "1000"),
        ("red-ball", "red-ball"),
        ("left/right", "left right"),
        ("blue, red", "blue red"),
        ("3.5", "3.5"),
        ("U.S.", "us"),
        ("dont", "don't"),
        ("yall'll", "y'all ll"),
        ("\n yes\t", "yes"),
        ("", ""),
    ],
)
def test_predictions_are_normalised_as_officially(text: str, expected: str) -> None:
    assert normalised(text) == expected


def test_people_lose_their_punctuation_only_where_they_differ() -> None:
    assert without_punctuation("6:30") == "6 30"
    assert vqa_accuracy("6:30", ["6:30"] * 10) == 0, "all alike: left as they are, while the prediction is normalised"
    assert vqa_accuracy("6:30", ["6:30"] * 9 + ["7"]) == 1
    assert vqa_accuracy("Two", ["2"] * 10) == 1
    assert vqa_accuracy("two", ["two"] * 9 + ["2"]) == pytest.approx(0.3), "their words stay words"


def test_a_single_answer_is_right_or_wrong() -> None:
    assert vqa_accuracy("Rectangle.", ["rectangle"]) == 1
    assert vqa_accuracy("circle", ["rectangle"]) == 0


def test_the_metric_is_the_mean_in_per_cent() -> None:
    answers = [tuple(told(red=10)), tuple(told(red=2, blue=8))]
    assert compute_metrics(["vqa_accuracy"], ["red", "red"], answers)["vqa_accuracy"] == pytest.approx(80)
