"""How much of a score comes from the picture: each row is scored with its own picture, another row's, a blank one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from lab.teaching.figures import pictures
from lab.teaching.tables import Table

if TYPE_CHECKING:
    from dept.backbones.towers import VisionTower
    from dept.data.tokenised import TokenisedSplit
    from dept.evaluation.load_run import LoadedRun
    from dept.evaluation.predictor import Evaluation
    from dept.tasks.task import ImageValue
    from dept.training.prepare import Prepared

OWN, OTHER, BLANK = "its own picture", "another row's", "a blank one"
GUESSED = "nothing: the most frequent answer to such a question"
_ANSWERS = 2  # right answers of a row that are shown beside the prediction


def blank_pictures(split: TokenisedSplit, tower: VisionTower) -> TokenisedSplit:
    """The same rows with a white picture in place of each row's own."""
    from PIL import Image

    (blank,) = tower.features([Image.new("RGB", (64, 64), "white")])  # [P, V]
    return split.with_features(dict.fromkeys(split.images, blank))


def exchanged_pictures(split: TokenisedSplit) -> TokenisedSplit:
    """The same rows, each with the picture of the next row whose picture is a different one."""
    assert split.features is not None, "a split with features"
    different = list(dict.fromkeys(split.images))
    others = [*different[1:], different[0]]
    return split.with_features({own: split.features[other] for own, other in zip(different, others, strict=True)})


def by_picture(run: LoadedRun, prepared: Prepared) -> dict[str, Evaluation]:
    """Scores and predictions of the test rows, by the picture that each row is shown with."""
    from dept.evaluation.predictor import Predictor, evaluate

    assert run.tower is not None, "a run on images"
    test = prepared.splits["test"]
    shown = {OWN: test, OTHER: exchanged_pictures(test), BLANK: blank_pictures(test, run.tower)}
    predictor = Predictor(
        run.model, run.tokenizer, run.task, verbalizer=run.verbalizer, decoding=str(prepared.config.decoding)
    )
    return {name: evaluate(predictor, split, run.task, quick=True) for name, split in shown.items()}


def guessed(prepared: Prepared) -> dict[str, float]:
    """Test scores, in per cent, of always giving the most frequent training answer to the same kind of question."""
    from dept.metrics.scores import compute_metrics

    kinds = {name: _kinds(prepared, name) for name in ("train", "test")}
    train, test = prepared.splits["train"], prepared.splits["test"]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for kind, target in zip(kinds["train"], train.targets, strict=True):
        counts[kind][target] += 1
    guesses = [counts[kind].most_common(1)[0][0] if counts[kind] else "" for kind in kinds["test"]]
    return compute_metrics([prepared.task.main_metric], guesses, test.answers)


def _kinds(prepared: Prepared, name: str) -> list[str]:
    """The kind of each example's question: the rows' `question_type`, else the question's first two words."""
    split, rows = prepared.splits[name], prepared.rows.splits[name]
    if "question_type" in rows.column_names:
        types = rows["question_type"]
        return [str(types[row]) for row in split.rows]
    return [" ".join(source.split()[1:3]) for source in split.sources]


def seen_scores(evaluations: Mapping[str, Evaluation], guesses: Mapping[str, float] | None = None) -> Table:
    """The scores of `by_picture` and of `guessed` as a table, in per cent."""
    scores = {name: evaluation.metrics for name, evaluation in evaluations.items()}
    if guesses is not None:
        scores[GUESSED] = dict(guesses)
    return Table(
        [
            {"shown": name, **{metric: f"{value:.1f}" for metric, value in metrics.items()}}
            for name, metrics in scores.items()
        ]
    )


def rows_shown(prepared: Prepared, count: int = 4) -> go.Figure:
    """Pictures of the first training rows, with their questions and targets."""
    split = prepared.splits["train"]
    first = _first_of_each_picture(split, count)
    sources, targets = split.sources, split.targets
    return pictures(_images(prepared, "train", first), [sources[i] for i in first], [targets[i] for i in first])


def predictions_shown(prepared: Prepared, evaluation: Evaluation, count: int = 8) -> go.Figure:
    """Pictures of the first test rows, with their questions, the run's predictions, and people's answers."""
    split = prepared.splits["test"]
    first = _first_of_each_picture(split, count)
    sources, answers = split.sources, split.answers
    return pictures(
        _images(prepared, "test", first),
        [sources[index] for index in first],
        [evaluation.predictions[index].text or "(nothing)" for index in first],
        ["; ".join([*dict.fromkeys(answers[index])][:_ANSWERS]) for index in first],
    )


def _first_of_each_picture(split: TokenisedSplit, count: int) -> list[int]:
    first: dict[str, int] = {}
    for index, image in enumerate(split.images):
        first.setdefault(image, index)
    return list(first.values())[:count]


def _images(prepared: Prepared, name: str, examples: Sequence[int]) -> list[ImageValue]:
    split, rows = prepared.splits[name], prepared.rows
    assert rows.image_column is not None, "a task with images"
    return [rows.splits[name][split.rows[index]][rows.image_column] for index in examples]
