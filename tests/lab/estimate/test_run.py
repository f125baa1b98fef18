"""What a run will take: the numbers of the cost model, and a pace that follows the runs that were seen."""

from typing import Any

import pytest

from dept.methods.budget import rank_for
from dept.runs.settings import TrainConfig
from lab.estimate.run import START_SECONDS, expect
from lab.service.summary import RunSummary
from lab.ui.train.view import numbers, trade_off_figure

CONFIG = TrainConfig(
    task="sst2", backbone="t5-base", data="sample", num_virtual_tokens=40, max_seq_length=256, max_steps=1000
)


def summary(config: TrainConfig, seconds: float) -> RunSummary:
    result: dict[str, Any] = {
        "backbone": {"name": config.backbone},
        "config": config.to_dict(),
        "num_virtual_tokens": config.num_virtual_tokens,
        "steps": config.max_steps,
        "time": {"total_s": seconds},
    }
    return RunSummary(
        run_id="r", status="completed", request=config.to_dict(), position=None, step=1, max_steps=1, elapsed_s=1.0,
        left_s=None, submitted=1.0, error=None, may_change=True, can_resume=False, has_adapter=True,
        steps_at_risk=0, result=result,
    )  # fmt: skip


def test_the_papers_split_of_t5_base() -> None:
    found = expect(CONFIG, [])
    assert found.dept.split.rank == rank_for(40, 768) == 45
    assert found.dept.split.trainable_parameters == found.prompt_tuning.split.trainable_parameters == 76_800
    assert found.dept.split.input_length == 296
    assert found.dept.flops is not None and found.prompt_tuning.flops is not None
    assert found.dept.flops < found.prompt_tuning.flops


def test_a_run_that_was_seen_sets_the_pace() -> None:
    found = expect(CONFIG, [summary(CONFIG, 500.0)])
    assert found.dept.seconds == pytest.approx(START_SECONDS + 500.0, rel=1e-6)
    assert "last run of this backbone" in found.pace.source
    assert "matrix product" in expect(CONFIG, []).pace.source


def test_the_numbers_and_the_chart_are_of_the_chosen_split() -> None:
    found = expect(CONFIG, [])
    text = numbers(found)
    for words in ("45", "76,800", "296", "PT: 356", "0.03%", "223 M"):
        assert words in text
    figure = trade_off_figure(found)
    assert figure is not None
    marks = [trace for trace in figure.data if trace.mode == "markers" and list(trace.x) == [40]]
    assert len(marks) == 2
    assert figure.layout.uirevision == "trade-off"
