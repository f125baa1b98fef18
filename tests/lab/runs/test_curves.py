from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.runs.curves import MOST_POINTS, CurveReader


def _line(step: int, loss: float | None = 1.0) -> str:
    rates = {"prompt_lr": step / 10, "low_rank_lr": None}
    return json.dumps({"step": step, "split": "train", "loss": loss, **rates, "elapsed_s": step / 2}) + "\n"


def test_a_growing_file_is_read_once_and_half_a_line_later(tmp_path: Path) -> None:
    file, reader = tmp_path / "metrics.jsonl", CurveReader()
    first = reader.read(file)
    assert first is not None and first.loss.steps == [] and first.step == 0
    file.write_text(_line(1, 3.0) + _line(2, 2.0)[:20])
    one = reader.read(file, first.version)
    assert one is not None and one.loss.steps == [1] and one.loss.values == [3.0]
    assert reader.read(file, one.version) is None
    with file.open("a") as more:
        more.write(_line(2, 2.0)[20:])
        more.write(json.dumps({"step": 2, "split": "validation", "metrics": {"accuracy": 75.0}}) + "\n")
    two = reader.read(file, one.version)
    assert two is not None and two.loss.values == [3.0, 2.0] and two.loss_mean_of == 1
    assert two.validation["accuracy"].steps == [2] and two.validation["accuracy"].values == [75.0]
    assert {name: series.values for name, series in two.rates.items()} == {"prompt": [0.1, 0.2]}
    assert (two.step, two.elapsed_s) == (2, 1.0)


def test_a_file_written_anew_is_read_anew(tmp_path: Path) -> None:
    file, reader = tmp_path / "metrics.jsonl", CurveReader()
    file.write_text("".join(_line(step) for step in range(1, 11)))
    assert len(reader.read(file).loss.steps) == 10  # type: ignore[union-attr]
    anew = tmp_path / "anew"
    anew.write_text("".join(_line(step) for step in range(1, 6)))
    anew.replace(file)  # as a resumed run does that forgets the steps after its checkpoint
    assert reader.read(file).loss.steps == [1, 2, 3, 4, 5]  # type: ignore[union-attr]


def test_damaged_lines_and_values_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "split"\n[1]\n{"step": "x"}\n\n' + _line(2, None) + _line(3, 0.5))
    curves = CurveReader().read(file)
    assert curves is not None and curves.loss.steps == [3] and curves.rates["prompt"].steps == [2, 3]


@pytest.mark.parametrize("steps", [MOST_POINTS, MOST_POINTS + 1, 30_000])
def test_a_long_run_has_no_more_points_than_a_chart_shows(tmp_path: Path, steps: int) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text("".join(_line(step, float(step)) for step in range(1, steps + 1)))
    reader = CurveReader()
    curves = reader.read(file)
    while (more := reader.read(file, curves.version if curves else None)) is not None:
        curves = more
    assert curves is not None
    assert MOST_POINTS // 2 <= len(curves.loss.steps) <= MOST_POINTS
    assert curves.loss.steps[-1] == steps
    # Each point is the mean of its group, named by its last step.
    size = curves.loss_mean_of
    assert curves.loss.values[0] == pytest.approx((1 + size) / 2) and curves.loss.steps[0] == size
    assert curves.rates["prompt"].values[0] == pytest.approx(size / 10)
