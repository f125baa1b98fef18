"""What a run will take: the numbers of the cost model, and a pace that follows the runs that were seen."""

import json
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
    expectation = expect(CONFIG, [])
    chosen, pt = expectation.chosen, expectation.baseline
    assert chosen.split is not None and chosen.split.rank == rank_for(40, 768) == 45
    assert chosen.parameters == chosen.split.trainable_parameters == pt.parameters == 76_800
    assert (chosen.input_length, pt.input_length) == (296, 356)
    assert chosen.flops is not None and pt.flops is not None and chosen.flops < pt.flops
    costs = {point.num_virtual_tokens: point.train.flops for point in expectation.points}
    assert (costs[40], costs[100]) == (chosen.flops, pt.flops), "the chart and the numbers are one"


def test_a_run_that_was_seen_sets_the_pace() -> None:
    expectation = expect(CONFIG, [summary(CONFIG, 500.0)])
    assert expectation.chosen.seconds == pytest.approx(START_SECONDS + 500.0, rel=1e-6)
    assert "last run of this backbone" in expectation.pace.source
    assert "matrix product" in expect(CONFIG, []).pace.source
    lora = TrainConfig(task="sst2", backbone="t5-base", data="sample", method="lora", max_steps=1000)
    seen = expect(lora, [summary(lora, 500.0)])
    assert seen.chosen.seconds == pytest.approx(START_SECONDS + 500.0, rel=1e-6)


PEFT = json.dumps({"peft_type": "IA3", "target_modules": ["k", "v"], "feedforward_modules": []})


@pytest.mark.parametrize(
    ("method", "settings", "parameters", "length"),
    [
        ("bitfit", {}, 280_960, 256),
        ("lora", {"lora_rank": 32}, 3_538_944, 256),
        ("lopt", {}, 8_680, 356),
        ("adept", {}, None, 316),
        ("dept+lora", {"lora_rank": 4}, 76_800 + 442_368, 296),
    ],
)
def test_every_method_has_its_numbers(
    method: str, settings: dict[str, Any], parameters: int | None, length: int
) -> None:
    config = TrainConfig(task="sst2", backbone="t5-base", data="sample", method=method, max_steps=10, **settings)
    expectation = expect(config, [])
    chosen = expectation.chosen
    assert chosen.parameters == parameters if parameters else chosen.split is not None
    assert chosen.input_length == length and list(expectation.points) == []
    assert chosen.flops and chosen.activation_bytes and chosen.seconds and expectation.note is None
    text = numbers(expectation)
    assert f"{chosen.parameters:,}" in text and "Rank r" not in text and chosen.method.summary() in text
    assert trade_off_figure(expectation) is None, "it trades no prompt for a rank"


def test_a_config_of_peft_says_what_is_not_known() -> None:
    config = TrainConfig(task="sst2", backbone="t5-base", data="sample", method="peft", peft_config=PEFT, max_steps=9)
    expectation = expect(config, [summary(config, 5.0)])
    assert (expectation.chosen.parameters, expectation.chosen.flops, expectation.chosen.seconds) == (None, None, None)
    assert expectation.baseline.flops is not None and expectation.note is not None
    assert expectation.note.count("\n") == 0 and "measured on the backbone itself" in numbers(expectation)


def test_the_numbers_and_the_chart_are_of_the_chosen_split() -> None:
    expectation = expect(CONFIG, [])
    text = numbers(expectation)
    for words in ("45", "76,800", "296", "PT: 356", "0.03%", "223 M"):
        assert words in text
    figure = trade_off_figure(expectation)
    assert figure is not None
    marks = [trace for trace in figure.data if trace.mode == "markers" and list(trace.x) == [40]]
    assert len(marks) == 2
    assert figure.layout.uirevision == "trade-off"
