"""What the tabs write as HTML and figures: whatever a visitor named stands there as text."""

import dataclasses
import html
from typing import Any

import pytest

from dept.tasks import load_task
from lab.runs.curves import Curves, Series
from lab.service.summary import RunSummary
from lab.service.uploads import Table
from lab.ui.components.html import facts, notice, table
from lab.ui.components.inputs import Amount, Choice, Choices, Figure, LogSlider
from lab.ui.runs import shared_curves
from lab.ui.runs.predictions import predictions_view
from lab.ui.runs.shared_curves import SharedCurves
from lab.ui.runs.view import FIGURES, curve_figures, log_text, run_head, run_list, status_words, together
from lab.ui.train.own_rows import guessed

SCRIPT = "<script>alert(1)</script>"


def summary(run_id: str = "sst2-dept-1", **changes: Any) -> RunSummary:
    values: dict[str, Any] = {
        "run_id": run_id,
        "status": "running",
        "request": {"task": "sst2", "method": "dept", "backbone": "t5-small", "data": "sample"},
        "position": None,
        "step": 30,
        "max_steps": 60,
        "elapsed_s": 10.0,
        "left_s": 10.0,
        "submitted": 1.0,
        "error": None,
        "may_change": True,
        "can_resume": False,
        "has_adapter": True,
        "steps_at_risk": 10,
        "result": None,
    }
    return RunSummary(**{**values, **changes})


def curves(steps: int, metric: str = "accuracy") -> Curves:
    line = Series(list(range(1, steps + 1)), [1.0] * steps)
    validation = {metric: Series([0, steps], [50.0, 60.0])}
    return Curves("v", line, 1, {"prompt": line, "low_rank": line}, validation, steps, 1.0)


def test_words_of_visitors_are_text() -> None:
    run = summary(
        request={"task": SCRIPT, "method": SCRIPT, "backbone": SCRIPT, "data": SCRIPT}, status="failed", error=SCRIPT
    )
    drawn = together([run])
    for page in (
        run_list([run], drawn),
        run_head(run),
        log_text([SCRIPT]),
        notice(SCRIPT),
        facts([(SCRIPT, SCRIPT, SCRIPT)]),
        table([SCRIPT], [[SCRIPT]], caption=SCRIPT),
    ):
        assert "<script" not in page
        assert "&lt;script" in page


def test_predictions_stand_beside_their_pictures() -> None:
    line = {"source": SCRIPT, "answers": ["red"] * 8 + [SCRIPT] * 2, "prediction": "red", "image": "QUJD"}
    shown = predictions_view([line, {**line, "prediction": SCRIPT + "x"}], load_task("vqa"))
    assert "<script" not in shown and shown.count("&lt;script") == 5
    assert shown.count('src="data:image/jpeg;base64,QUJD"') == 2 and "red (8); &lt;script" in shown
    assert shown.count('class="right"') == 1, "what nobody answered is not marked"
    gone = predictions_view([line, {**line, "image": None}], load_task("vqa"))
    assert gone.count("<img") == 1 and gone.count("<figcaption>") == 2


def test_of_captions_one_is_told() -> None:
    captions = [f"A green diamond on a light background, number {number}." for number in range(5)]
    line = {"source": "caption:", "answers": captions, "prediction": "a green diamond .", "image": "QUJD"}
    shown = predictions_view([line], load_task("coco_captions"))
    assert "number 0.; and 4 more" in shown and "number 1" not in shown


def test_predictions_of_text_tasks_are_named_as_labels() -> None:
    line = {"source": "sentence: good", "answers": ["1"], "prediction": "0", "image": None}
    shown = predictions_view([line] * 20, load_task("sst2"))
    assert "<img" not in shown and shown.count("<tr>") == 1 + 8
    assert "positive" in shown and "negative" in shown
    assert "positive" not in predictions_view([line], None)
    assert "Nothing yet" in predictions_view([], None)


def test_a_runs_line_says_where_it_stands() -> None:
    assert status_words(summary()) == "step 30 of 60, about 10 s left"
    assert status_words(summary(status="queued", position=1)) == "next in the queue"
    assert status_words(summary(status="queued", position=3)) == "waiting, number 3 in the queue"
    assert status_words(summary(status="stopped")) == "stopped at step 30 of 60"
    result = {"main_metric": "token_f1", "metrics": {"test": {"token_f1": 61.25}, "validation": {"token_f1": 60.0}}}
    assert status_words(summary(status="completed", result=result)) == "completed: test token f1 61.2"


def test_methods_keep_their_colours_and_runs_their_names() -> None:
    pt = {"task": "sst2", "method": "prompt_tuning", "backbone": "t5-small"}
    drawn = together([summary("a-1111"), summary("b-2222"), summary("c-3333", request=pt)])
    assert [each.name for each in drawn] == ["DePT, 1111", "DePT, 2222", "PT"]
    assert len({each.color for each in drawn}) == 3
    assert drawn[0].color == "#0072B2" and drawn[2].color == "#D55E00"


def test_curves_keep_their_zoom_while_they_grow() -> None:
    (each,) = together([summary()])
    before, after = (curve_figures([(each, curves(steps))]) for steps in (5, 40))
    assert len(before) == len(after) == len(FIGURES)
    pairs = [(one, other) for one, other in zip(before, after, strict=True) if one is not None and other is not None]
    titles = ["Training loss", "Validation accuracy", "Learning rate of the prompt", "Learning rate of A and B"]
    assert [one.layout.title.text for one, _ in pairs] == titles
    for one, other in pairs:
        assert one.layout.uirevision == other.layout.uirevision
        assert tuple(one.layout.xaxis.range) == tuple(other.layout.xaxis.range) == (0, 60)
    assert before[1] is not None and "accuracy" in before[1].layout.title.text


def test_curves_are_drawn_once_for_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = SharedCurves()
    (each,) = together([summary()])
    version, figures = shared.of([(each, curves(5))])
    grown = dataclasses.replace(curves(40), version="w")
    assert shared.of([(each, grown)]) == (version, figures), "not anew within a moment"
    (done,) = together([summary(status="completed")])
    assert shared.of([(done, grown)])[0] != version, "its end is shown at once"
    monkeypatch.setattr(shared_curves, "REDRAW_SECONDS", 0.0)
    newer, drawn = shared.of([(each, grown)])
    assert newer != version and drawn != figures
    assert shared.of([(each, grown)])[1] is drawn


def test_components_take_what_a_browser_sends() -> None:
    figure = Figure("a figure")
    assert figure.postprocess(None) == ""
    slider = LogSlider("rate", "help", (-4, 0), "own")
    assert [slider.preprocess(value) for value in (0.3, None, "x" * 100)] == [0.3, None, "x" * 40]
    assert Amount(0, 30).preprocess(40) == 40  # as long as l is smaller than m: told beside the field
    assert Choice(["a"]).preprocess("b") == "b"  # checked by whoever reads it
    assert Choice(["a"]).preprocess({"a": 1}) is None
    assert Choices(["a"], multiselect=True).preprocess(["a", 3, None]) == ["a"]


def test_columns_of_a_table_are_guessed() -> None:
    rows = ({"id": "1", "text": "so good", "label": "yes"}, {"id": "2", "text": "so bad", "label": "no"})
    assert guessed(Table("0" * 24, "t.csv", ("id", "text", "label"), 2, rows)) == (["text"], "label")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"method": "dept", "num_virtual_tokens": 40.0, "low_rank_lr": 5e-4}, ["m = 40", "A and B", "0.0005"]),
        ({"method": "prompt_tuning", "budget_tokens": 50}, ["l = 50", "its own"]),
        ({"method": "bitfit", "bias_lr": 3e-4}, ["BitFit on sst2", "the biases", "0.0003"]),
        ({"method": "lora", "lora_rank": 8}, ["LoRA on sst2", "r = 8", "Rate of LoRA's matrices"]),
        ({"method": "dept+lora"}, ["DePT + LoRA on sst2", "r = 32", "Rate of the prompt", "Rate of LoRA's matrices"]),
    ],
)
def test_a_runs_head_says_its_methods_sizes_and_rates(asked: dict[str, Any], said: list[str]) -> None:
    request = {"task": "sst2", "backbone": "t5-small", "data": "sample", **asked}
    shown = html.unescape(run_head(summary(request=request)))
    assert [each for each in said if each not in shown] == []


def test_a_method_has_a_figure_for_each_of_its_rates() -> None:
    (each,) = together([summary(request={"task": "sst2", "method": "lora", "backbone": "t5-small"})])
    line = Series([1], [1e-4])
    drawn = curve_figures([(each, Curves("v", line, 1, {"lora": line}, {}, 1, 1.0))])
    _, _, *rates = [figure.layout.title.text for figure in drawn if figure is not None]
    assert rates == ["Learning rate of LoRA's matrices"]
