from __future__ import annotations

import json
from pathlib import Path

import pytest

from dept.errors import ConfigError, DataError
from dept.metrics.scores import compute_metrics

RELEASE_NAMES = {"matthews_correlation": "matthews", "f1_multiclass": "macro_f1", "spearmanr": "spearman"}


def test_scores_are_the_releases(shared: Path) -> None:
    cases = json.loads((shared / "golden_metrics.json").read_text())
    seen = set()
    for case in cases:
        answers = [tuple(told) if isinstance(told, list) else (told,) for told in case["targets"]]
        for key, expected in case["expected"].items():
            name = "token_f1" if (case["metric"], key) == ("squad", "f1") else RELEASE_NAMES.get(key, key)
            found = compute_metrics([name], case["predictions"], answers)[name]
            assert found == pytest.approx(expected, abs=1e-9), (case["metric"], key)
            seen.add(name)
    assert seen == {"accuracy", "f1", "matthews", "macro_f1", "pearson", "spearman", "em", "token_f1"}


def score(name: str, predictions: list[str], answers: list[str], labels: tuple[str, ...] | None = None) -> float:
    return compute_metrics([name], predictions, [(answer,) for answer in answers], labels=labels)[name]


@pytest.mark.parametrize("name", ["accuracy", "matthews", "f1", "macro_f1"])
def test_a_text_that_is_no_label_counts_as_wrong(name: str) -> None:
    answers = ["good", "bad", "good", "bad"]
    labels = ("bad", "good")
    broken = score(name, ["great", "bad", "good", "bad"], answers, labels)
    assert broken == score(name, ["bad", "bad", "good", "bad"], answers, labels) < 100
    assert score(name, ["?"] * 4, answers, labels) == {"matthews": -100.0}.get(name, 0.0)


@pytest.mark.parametrize("name", ["accuracy", "matthews", "macro_f1"])
def test_with_three_labels_too(name: str) -> None:
    labels = ("0", "1", "2")
    assert score(name, ["0", "1", "2"], ["0", "1", "2"], labels) == pytest.approx(100)
    assert score(name, ["0", "1", "x"], ["0", "1", "2"], labels) < 100


def test_f1_is_of_the_second_label() -> None:
    predictions, answers = ["no", "no", "yes", "no"], ["no", "no", "yes", "yes"]
    assert score("f1", predictions, answers, ("no", "yes")) == pytest.approx(100 * 2 / 3)
    assert score("f1", predictions, answers, ("yes", "no")) == pytest.approx(80)
    assert score("f1", ["no"], ["no"], ("no", "yes")) == 0


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize(
    ("predictions", "answers"),
    [
        (["1.0", "1.0"], ["0.0", "3.0"]),
        (["0.0", "3.0"], ["1.0", "1.0"]),
        (["none", "none"], ["1.0", "2.0"]),
        (["1.0"], ["2.0"]),
        (["nan", "inf"], ["1.0", "2.0"]),
    ],
)
def test_a_constant_side_correlates_with_nothing(name: str, predictions: list[str], answers: list[str]) -> None:
    assert score(name, predictions, answers) == 0.0


def test_huge_numbers_correlate_without_a_warning() -> None:
    assert -100 <= score("pearson", ["1e308", "-1e308", "1.0"], ["1.0", "2.0", "3.0"]) <= 100


def test_answers_are_scored_by_the_best_of_all() -> None:
    scores = compute_metrics(
        ["em", "token_f1"], ["the Eiffel tower!", "red cat"], [("Paris", "Eiffel Tower"), ("a cat",)]
    )
    assert scores == {"em": 50.0, "token_f1": pytest.approx(100 * (1 + 2 / 3) / 2)}


def test_several_metrics_come_in_their_order() -> None:
    assert list(compute_metrics(["f1", "accuracy"], ["0", "1"], [("0",), ("1",)])) == ["f1", "accuracy"]


def test_what_cannot_be_scored_is_said() -> None:
    with pytest.raises(ConfigError, match="unknown metric 'bleu'; known: accuracy"):
        score("bleu", ["a"], ["a"])
    with pytest.raises(ConfigError, match="f1 is for two labels, not 3"):
        score("f1", ["0"], ["0"], ("0", "1", "2"))
    with pytest.raises(DataError, match="0 predictions for 0 rows"):
        score("accuracy", [], [])
    with pytest.raises(DataError, match="2 predictions for 1 rows"):
        score("accuracy", ["0", "1"], ["0"])
    with pytest.raises(DataError, match="a row without an answer"):
        compute_metrics(["em"], ["a"], [()])
    with pytest.raises(DataError, match="answer 'x' is none of the labels 0, 1"):
        score("accuracy", ["0"], ["x"], ("0", "1"))
    with pytest.raises(DataError, match="answer 'x' is no number"):
        score("pearson", ["1", "2"], ["x", "1"])
