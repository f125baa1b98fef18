"""What a run says of its first test rows, as HTML: beside their pictures for a task with images, else as a table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dept.tasks import Task
from lab.ui.components.html import table, text
from lab.ui.try_it.view import label_name

NOTHING = "Nothing yet: when the run is completed, its best adapter's answers to the first test rows stand here."
_TABLE_ROWS = 8
_MOST_ANSWERS = 3
_LONGEST, _LONGEST_WORDS = 160, 40  # characters of a cell; of an answer that is a few words


def predictions_view(lines: Sequence[Mapping[str, Any]], task: Task | None) -> str:
    """The lines of a run's predictions.json.

    Args:
        task: names the labels; None for one that is not known here.
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
    asked, said = line["source"], line["prediction"] or "(nothing)"
    right = ' class="right"' if said in line["answers"] else ""
    image, shown = line["image"], ""
    if image:  # none where it was removed while the run trained
        shown = f'<img src="data:image/jpeg;base64,{text(image)}" alt="the test row\'s image">'
    return (
        f"<figure>{shown}<figcaption>{text(asked)}<strong{right}>{text(said)}</strong>"
        f"<small>{text(_answers(line['answers']))}</small></figcaption></figure>"
    )


def _answers(answers: Sequence[str]) -> str:
    """What counts as right, the most frequent first, each with how many people said it where several did.

    Of whole sentences (captions) the first one does.
    """
    counts = Counter(answers)
    most = _MOST_ANSWERS if max(map(len, counts), default=0) <= _LONGEST_WORDS else 1
    told = [f"{answer} ({count})" if count > 1 else answer for answer, count in counts.most_common(most)]
    more = len(counts) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")


def _short(value: str) -> str:
    return value if len(value) <= _LONGEST else value[:_LONGEST] + " ..."
