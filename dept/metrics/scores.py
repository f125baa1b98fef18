"""The paper's metrics, in per cent, on scikit-learn and scipy (imported only when used).

Predictions and answers are texts, generated or chosen by label scoring. A prediction that is none of the task's
labels counts as wrong, as in the authors' release.
"""

from __future__ import annotations

import math
import re
import string
import warnings
from collections import Counter
from collections.abc import Callable, Sequence

from dept.errors import ConfigError, DataError
from dept.metrics.captions import CAPTION_METRICS, caption_scores
from dept.metrics.vqa import vqa_accuracy

LABEL_METRICS = ("accuracy", "matthews", "f1", "macro_f1")
NUMBER_METRICS = ("pearson", "spearman")
TEXT_METRICS = ("token_f1", "em")
VQA_METRICS = ("vqa_accuracy",)
METRICS = LABEL_METRICS + NUMBER_METRICS + TEXT_METRICS + VQA_METRICS + CAPTION_METRICS

# In a correlation, a text that is no number counts as this one, as in the release: outside STS-B's interval.
_NOT_A_NUMBER = -1.0
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)

Answers = Sequence[tuple[str, ...]]


def compute_metrics(
    names: Sequence[str],
    predictions: Sequence[str],
    answers: Answers,
    *,
    labels: Sequence[str] | None = None,
) -> dict[str, float]:
    """The metrics `names`, each in per cent.

    predictions, answers: one each for every row, n >= 1; `answers` are all that count as right.
    labels: the verbalizer's texts in order, by default the distinct first answers, sorted.

    accuracy, matthews, f1 (of the second of two labels), macro_f1: against the first answer.
    pearson, spearman: against the first answer as a number; 0 where either side is constant.
    em, token_f1: SQuAD's, the best over all answers.
    vqa_accuracy: each person's answer against the others' (`dept.metrics.vqa`).
    cider, bleu4, rouge_l, meteor, spice: the answers are an image's captions (`dept.metrics.captions`); without Java,
    meteor and spice are left out.

    Raises ConfigError for an unknown metric or one that does not fit the labels, DataError when nothing can
    be scored (no rows, rows without an answer, answers that are no label or number).
    """
    for name in names:
        if name not in METRICS:
            raise ConfigError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
    if not predictions or len(predictions) != len(answers):
        raise DataError(f"{len(predictions)} predictions for {len(answers)} rows; there must be one each, and some")
    if not all(answers):
        raise DataError("a row without an answer cannot be scored; use a split with labels")
    captions = caption_scores([name for name in names if name in CAPTION_METRICS], predictions, answers)
    return {
        name: 100.0 * (captions[name] if name in captions else _score(name, predictions, answers, labels))
        for name in names
        if name in captions or name not in CAPTION_METRICS
    }


def _score(name: str, predictions: Sequence[str], answers: Answers, labels: Sequence[str] | None) -> float:
    if name in VQA_METRICS:
        return _mean([vqa_accuracy(text, row_answers) for text, row_answers in zip(predictions, answers, strict=True)])
    if name in TEXT_METRICS:
        compare = _exact_match if name == "em" else _token_f1
        return _mean(
            [_best(compare, text, row_answers) for text, row_answers in zip(predictions, answers, strict=True)]
        )
    first = [row_answers[0].strip() for row_answers in answers]
    stripped = [text.strip() for text in predictions]
    if name in NUMBER_METRICS:
        return _correlation(name, stripped, first)
    return _label_score(name, stripped, first, labels if labels is not None else sorted(set(first)))


def _label_score(name: str, predictions: list[str], answers: list[str], labels: Sequence[str]) -> float:
    from sklearn.metrics import f1_score, matthews_corrcoef

    number = {label: index for index, label in enumerate(labels)}
    for answer in answers:
        if answer not in number:
            raise DataError(f"answer {answer[:40]!r} is none of the labels {', '.join(labels)}")
    true = [number[answer] for answer in answers]
    if name == "accuracy":
        return _mean([number.get(text, -1) == index for text, index in zip(predictions, true, strict=True)])
    if name == "f1" and len(labels) != 2:
        raise ConfigError(f"f1 is for two labels, not {len(labels)}; use macro_f1")
    # With two labels, a wrong text counts as the other label; with more, as a class of its own, -1.
    wrong = [1 - index if len(labels) == 2 else -1 for index in true]
    guessed = [number.get(text, other) for text, other in zip(predictions, wrong, strict=True)]
    if name == "matthews":
        return float(matthews_corrcoef(true, guessed))
    if name == "f1":
        return float(f1_score(true, guessed, labels=[1], average="macro", zero_division=0.0))
    return float(f1_score(true, guessed, labels=range(len(labels)), average="macro", zero_division=0.0))


def _correlation(name: str, predictions: list[str], answers: list[str]) -> float:
    from scipy.stats import pearsonr, spearmanr

    true = [_number(answer, None) for answer in answers]
    guessed = [_number(text, _NOT_A_NUMBER) for text in predictions]
    if len(set(true)) < 2 or len(set(guessed)) < 2:
        return 0.0
    with warnings.catch_warnings():
        # A model may generate 1e300: the correlation is then undefined and becomes 0 below.
        warnings.simplefilter("ignore")
        value = float((pearsonr if name == "pearson" else spearmanr)(guessed, true).statistic)
    return value if math.isfinite(value) else 0.0


def _number(text: str, otherwise: float | None) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    if otherwise is None:
        raise DataError(f"answer {text[:40]!r} is no number, which pearson and spearman need")
    return otherwise


def _best(compare: Callable[[str, str], float], prediction: str, answers: tuple[str, ...]) -> float:
    return max(compare(_normalise(prediction), _normalise(answer)) for answer in answers)


def _normalise(text: str) -> str:
    """SQuAD's: lower case, no punctuation, no articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def _exact_match(prediction: str, answer: str) -> float:
    return float(prediction == answer)


def _token_f1(prediction: str, answer: str) -> float:
    guessed, true = prediction.split(), answer.split()
    common = sum((Counter(guessed) & Counter(true)).values())
    return 2 * common / (len(guessed) + len(true)) if common else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
