"""Show the predictions of several sides beside each other, as HTML and as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dept.tasks import Task
from lab.ui.components.html import table, text

if TYPE_CHECKING:  # both import torch, which the page does not need before a prediction
    from dept.evaluation.predictor import Prediction
    from lab.service.predictors import Answers

_LONGEST = 120  # characters of a cell


def label_name(task: Task, answer: str) -> str:
    """The label of a verbalizer's text; the text itself for a task without labels."""
    for words in task.verbalizers.values():
        if task.labels is not None and answer in words:
            return task.labels[words.index(answer)]
    return answer


def answers_view(
    task: Task,
    answers: Sequence[Answers],
    rows: Sequence[Sequence[str]] | None = None,
    heads: Sequence[str] = (),
) -> str:
    """A card for each side with its answer, probabilities and time; for several texts, a table below.

    Args:
        rows, heads: the table's content; None for a single text.
    """
    cards = "".join(_card(task, each, single=rows is None) for each in answers)
    below = table(heads, rows, left=len(heads), caption=f"The first {len(rows)} rows") if rows else ""
    return f'<div class="answers">{cards}</div>{below}'


def _card(task: Task, answers: Answers, *, single: bool) -> str:
    where = "" if answers.device == "cpu" else f" on {answers.device}"
    took = f"{1000 * answers.seconds_per_text:.3g} ms a text{where}"
    answer = ""
    if single:
        prediction = answers.predictions[0]
        answer = f"<strong>{text(label_name(task, prediction.text) or '(nothing)')}</strong>{_bars(task, prediction)}"
    title = "untrained prompt" if not answers.side.trained else answers.side.name
    return (
        f'<section class="answer" aria-label="{text(title)}"><h3>{text(title)}</h3>{answer}'
        f'<p class="fine">{took}</p></section>'
    )


def _bars(task: Task, prediction: Prediction) -> str:
    if prediction.probabilities is None:
        return '<p class="fine">generated text has no probabilities</p>'
    bars = "".join(
        f'<div class="share"><dt>{text(label_name(task, answer))}</dt><dd>'
        f'<span style="width: {100 * share:.1f}%"></span><b>{share:.1%}</b></dd></div>'
        for answer, share in prediction.probabilities.items()
    )
    return f'<dl class="shares">{bars}</dl>'


def answers_table(
    task: Task, rows: Sequence[Mapping[str, Any]], answers: Sequence[Answers]
) -> tuple[list[str], list[list[str]]]:
    """Heads and lines of a table: each row's text, then each side's answer and its probability."""
    heads = ["source"]
    for each in answers:
        heads += [each.side.name, f"{each.side.name}: probability"]
    lines = []
    for index, row in enumerate(rows):
        source = task.examples(row, require_target=False)[0].source
        line = [source if len(source) <= _LONGEST else source[:_LONGEST] + " ..."]
        for each in answers:
            prediction = each.predictions[index]
            share = prediction.probabilities[prediction.text] if prediction.probabilities else None
            line += [label_name(task, prediction.text), "-" if share is None else f"{share:.3f}"]
        lines.append(line)
    return heads, lines
