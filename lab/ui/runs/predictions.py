"""A run's predictions for its first test rows, as HTML: beside pictures for a task with images, else as a table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dept.tasks import Task
from lab.ui.components.html import table, text
from lab.ui.try_it.view import label_name

NOTHING = "Nothing yet: when the run is completed, its best adapter's answers to the first test rows stand here."
_TABLE_ROWS = 8
_MOST_ANSWERS = 3
_LONGEST, _LONGEST_WORDS = 160, 40  # characters: of a cell; of an answer that is a few words and no sentence


def predictions_view(lines: Sequence[Mapping[str, Any]], task: Task | None) -> str:
    """The lines of a run's predictions.json as HTML.

    Args:
        task: the task, for its labels' names; None for a task that is not known here.
    """
    if not lines:
        return f'<p class="empty">{NOTHING}</p>'
    if any(line["image"] for line in lines):
        return f'<div class="pictures">{"".join(map(_picture, lines))}</div>'

    def name(said: str) -> str:
        return _short(label_name(task, said) if task is not None else said)

    rows = [
        [_short(line["source"]), _answers([name(answer) for answer in line["answers"]]), name(line["prediction"])]
        for line in lines[:_TABLE_ROWS]
    ]
    return table(["source", "answer", "prediction"], rows, left=3, caption=f"The first {len(rows)} test rows")


def _picture(line: Mapping[str, Any]) -> str:
    prediction = line["prediction"] or "(nothing)"
    right = ' class="right"' if prediction in line["answers"] else ""
    image, shown = line["image"], ""
    if image:  # missing if the file was removed while the run trained
        shown = f'<img src="data:image/jpeg;base64,{text(image)}" alt="the test row\'s image">'
    return (
        f"<figure>{shown}<figcaption>{text(line['source'])}<strong{right}>{text(prediction)}</strong>"
        f"<small>{text(_answers(line['answers']))}</small></figcaption></figure>"
    )


def _answers(answers: Sequence[str]) -> str:
    """The right answers, the most frequent first, each with the number of people who gave it if there are several.

    Of answers that are sentences (captions) only the first is shown.
    """
    counts = Counter(answers)
    most = _MOST_ANSWERS if max(map(len, counts), default=0) <= _LONGEST_WORDS else 1
    shown = [f"{answer} ({count})" if count > 1 else answer for answer, count in counts.most_common(most)]
    more = len(counts) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST else value[:_LONGEST] + " ..."
