"""What one run will take: the numbers of the cost model; the page's and the command's estimates are the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dept.methods.budget import rank_for
from dept.runs.settings import TrainConfig
from lab.basics.processes import START_SECONDS
from lab.estimate.batch import estimate
from lab.estimate.expect import Expectation, expect
from lab.estimate.pace import Pace
from lab.estimate.plan import plan_of
from lab.ui.train.view import numbers, trade_off_figure

CONFIG = TrainConfig(
    task="sst2", backbone="t5-base", data="sample", num_virtual_tokens=40, max_seq_length=256, max_steps=1000
)
PACE = Pace(1e11, "as given")
PEFT = json.dumps({"peft_type": "IA3", "target_modules": ["k", "v"], "feedforward_modules": []})


def beside_pt(config: TrainConfig) -> tuple[Expectation, Expectation]:
    """The run and its PT run, as the page shows them."""
    plan = plan_of(config)
    return expect(plan, PACE), expect(plan.with_baseline(), PACE)


def test_the_papers_split_of_t5_base() -> None:
    chosen, pt = beside_pt(CONFIG)
    assert chosen.split is not None and chosen.split.rank == rank_for(40, 768) == 45
    assert chosen.parameters == chosen.split.trainable_parameters == pt.parameters == 76_800
    assert (chosen.input_length, pt.input_length) == (296, 356)
    step, pt_step = chosen.known_cost().step, pt.known_cost().step
    assert step.flops < pt_step.flops
    points = {point.num_virtual_tokens: point.train for point in chosen.points}
    assert (points[40], points[100]) == (step, pt_step), "the chart and the numbers are one"


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
    chosen, pt = beside_pt(config)
    assert chosen.parameters == parameters if parameters else chosen.split is not None
    assert chosen.input_length == length and list(chosen.points) == []
    assert chosen.cost and chosen.cost.step.activation_bytes and chosen.seconds and chosen.note is None
    text = numbers(chosen, pt)
    assert f"{chosen.parameters:,}" in text and "Rank r" not in text and chosen.plan.method.summary() in text
    assert trade_off_figure(chosen) is None, "it trades no prompt for a rank"


def test_a_config_of_peft_says_what_is_not_known() -> None:
    config = TrainConfig(task="sst2", backbone="t5-base", data="sample", method="peft", peft_config=PEFT, max_steps=9)
    chosen, pt = beside_pt(config)
    assert (chosen.parameters, chosen.cost, chosen.flops, chosen.seconds) == (None, None, None, None)
    assert pt.cost is not None and chosen.note is not None
    assert chosen.note.count("\n") == 0 and "measured on the backbone itself" in numbers(chosen, pt)


def test_the_numbers_and_the_chart_are_of_the_chosen_split() -> None:
    chosen, pt = beside_pt(CONFIG)
    text = numbers(chosen, pt)
    for words in ("45", "76,800", "296", "PT: 356", "0.03%", "223 M"):
        assert words in text
    figure = trade_off_figure(chosen)
    assert figure is not None
    marks = [trace for trace in figure.data if trace.mode == "markers" and list(trace.x) == [40]]
    assert len(marks) == 2
    assert figure.layout.uirevision == "trade-off"


def own_rows(folder: Path) -> dict[str, Any]:
    """Rows of a task of one's own, as the page keeps an uploaded table."""
    task, rows = folder / "task.yaml", folder / "rows.jsonl"
    task.write_text(
        "columns: {text: str, label: str}\ntemplate: 'review: {text}'\nlabel_column: label\nlabels: [bad, good]\n"
    )
    lines = [{"text": f"words number {i} of this review", "label": ("bad", "good")[i % 2]} for i in range(60)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"task": str(task), "data": str(rows)}


ASKED: dict[str, dict[str, Any]] = {
    "DePT": {"task": "sst2", "data": "sample", "num_virtual_tokens": 40},
    "PT": {"task": "rte", "data": "hub", "method": "prompt_tuning"},
    "LoRA": {"task": "rte", "data": "hub", "preset": "paper", "method": "lora"},
    "BitFit": {"task": "nq", "data": "sample", "method": "bitfit"},
    "images": {"task": "vqa", "data": "sample", "vision_backbone": "clip-vit-base-patch32"},
    "own rows": {"num_virtual_tokens": 20},
}


@pytest.mark.parametrize("asked", ASKED)
def test_the_page_and_the_command_expect_the_same_of_a_run(asked: str, tmp_path: Path) -> None:
    settings = ASKED[asked] | (own_rows(tmp_path) if asked == "own rows" else {})
    config = TrainConfig(backbone="t5-small", **settings)
    run, pt = beside_pt(config)
    batch = estimate([config], [config], workers=1, pace=PACE)
    assert run.cost is not None and batch.flops == run.flops == run.cost.flops(test=True) + run.cost.features
    assert (run.cost.features > 0) == (asked == "images")
    # The page's run is tested where it was trained; the command tests in a second process, which starts too.
    assert run.seconds == PACE.seconds(batch.flops) == START_SECONDS + batch.flops / 1e11
    assert batch.seconds == PACE.seconds(batch.flops, starts=2)
    if asked == "PT":
        assert (run.flops, run.seconds) == (pt.flops, pt.seconds)


def test_own_rows_that_change_are_read_again(tmp_path: Path) -> None:
    settings = own_rows(tmp_path)
    before = plan_of(TrainConfig(backbone="t5-small", **settings)).work
    assert sum(before.rows) == 60 and before.source_tokens == round(7 * 1.35)
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[:40]))
    assert sum(plan_of(TrainConfig(backbone="t5-small", **settings)).work.rows) == 40


def test_estimates_need_no_torch() -> None:
    program = (
        "import sys; from dept.runs.settings import TrainConfig; from lab.estimate.batch import estimate; "
        "from lab.estimate.pace import pace_at_once; config = TrainConfig(task='rte', num_virtual_tokens=40); "
        "estimate([config], [], workers=1, pace=pace_at_once('t5-base', [])); "
        "print({'torch', 'transformers', 'datasets'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
