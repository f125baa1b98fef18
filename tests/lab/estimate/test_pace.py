"""The pace of this machine: it follows the runs that were seen, and is measured with a run's own shape."""

import json
from pathlib import Path
from typing import Any

import pytest

from dept.methods.registry import method_config
from dept.runs.settings import TrainConfig
from lab.basics.processes import START_SECONDS
from lab.bench.cost import expected_seconds
from lab.bench.plan import MeasureJob
from lab.bench.variant import variant_of
from lab.estimate.cost import cost_of
from lab.estimate.expect import expect
from lab.estimate.pace import matmul_flops, measured_pace, pace_at_once
from lab.estimate.plan import plan_of
from lab.service.summary import RunSummary

CONFIG = TrainConfig(
    task="sst2", backbone="t5-base", data="sample", num_virtual_tokens=40, max_seq_length=256, max_steps=1000
)


def summary(config: TrainConfig, seconds: float, **changes: Any) -> RunSummary:
    result: dict[str, Any] = {
        "backbone": {"name": config.backbone},
        "config": config.to_dict(),
        "steps": config.max_steps,
        "metrics": {"test": {"accuracy": 50.0}},
        "time": {"total_s": seconds},
    }
    return RunSummary(
        run_id="r", status="completed", request=config.to_dict(), position=None, step=1, max_steps=1, elapsed_s=1.0,
        left_s=None, submitted=1.0, error=None, may_change=True, can_resume=False, has_adapter=True,
        steps_at_risk=0, result=result | changes,
    )  # fmt: skip


@pytest.mark.parametrize("settings", [{"num_virtual_tokens": 40}, {"method": "lora"}, {"method": "bitfit"}])
def test_a_run_that_is_asked_for_again_takes_its_own_time(settings: dict[str, Any]) -> None:
    config = TrainConfig(task="sst2", backbone="t5-base", data="sample", max_steps=1000, **settings)
    pace = pace_at_once("t5-base", [summary(config, 500.0)])
    assert expect(config, pace).seconds == pytest.approx(START_SECONDS + 500.0, rel=1e-9)
    assert pace.source == "as the last run of this backbone here"


def test_a_run_counts_as_far_as_it_came() -> None:
    cost = cost_of(plan_of(CONFIG))
    early = summary(CONFIG, 500.0, steps=300, metrics={"test": None})
    done = 300 * cost.step.flops + 4 * cost.one_validation
    assert pace_at_once("t5-base", [early]).flops_per_s == pytest.approx(done / 500.0)


def test_without_a_run_that_tells_it_is_half_of_a_matrix_products() -> None:
    peft = json.dumps({"peft_type": "IA3", "target_modules": ["k", "v"], "feedforward_modules": []})
    unknown = TrainConfig(task="sst2", backbone="t5-base", data="sample", method="peft", peft_config=peft, max_steps=9)
    gone = TrainConfig(task="sst2", backbone="t5-base", data="no/such/rows", max_steps=9)
    for runs in ([], [summary(unknown, 5.0), summary(gone, 5.0), summary(CONFIG, 5.0, steps=0)]):
        pace = pace_at_once("t5-base", runs)
        assert "matrix product" in pace.source and pace.flops_per_s == matmul_flops() / 2
    assert "matrix product" in pace_at_once("t5-small", [summary(CONFIG, 5.0)]).source, "another backbone"


def test_the_benchmarks_processes_start_like_a_run() -> None:
    job = MeasureJob(
        what="train", backbone="mini-t5", variant=variant_of("prompt_tuning", {"num_virtual_tokens": 1}),
        batches=((1,),), pad_to=None, max_seq_length=8, passes=1, dtype="float32", seed=0,
    )  # fmt: skip
    assert START_SECONDS < expected_seconds(job) < START_SECONDS + 0.5


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dept", "prompt_tuning", "lora", "bitfit"])
def test_the_pace_is_measured_with_the_runs_own_shape(tiny_t5: Path, method: str) -> None:
    sizes = {"num_virtual_tokens": 4} if "num_virtual_tokens" in method_config(method).own_settings() else {}
    asked = {"task": "rte", "backbone": str(tiny_t5), "data": "sample", "method": method, "budget_tokens": 20}
    config = TrainConfig.from_dict(asked | sizes)
    pace = measured_pace(config)
    assert pace is not None
    assert 1e6 < pace.flops_per_s < 1e14
    assert pace.source.startswith("measured here: cpu, ")
