"""Estimates of batches: rows and lengths, the paper's runs by hand, what runs share, and how it is all said."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dept import TrainConfig
from dept.backbones.shape import shape_of
from dept.backbones.tower_sizes import tower_info
from dept.costs.flops import inference_cost, step_cost
from dept.errors import BackboneError, ConfigError
from dept.methods.known_facts import known_facts
from lab.basics.processes import START_SECONDS
from lab.estimate.batch import Estimate, estimate
from lab.estimate.cost import RunCost
from lab.estimate.expect import expect
from lab.estimate.pace import Pace
from lab.estimate.workload import workload
from lab.sweep.grid import read_sweep, trials
from lab.sweep.run import to_do

RTE = TrainConfig(task="rte", backbone="t5-base", preset="paper", num_virtual_tokens=40)


def run_cost(config: TrainConfig) -> RunCost:
    return expect(config).known_cost()


def test_the_hubs_rows_and_lengths_are_table_7s() -> None:
    assert workload(RTE).rows == (2490, 138, 139)
    assert workload(RTE).source_tokens == round((54.4 + 2) * 1.35), "54.4 words, and sentence1: and sentence2:"
    assert workload(RTE).target_tokens == 2
    assert workload(dataclasses.replace(RTE, max_validation_rows=100, max_train_rows=9999)).rows == (2490, 100, 139)
    assert workload(dataclasses.replace(RTE, task="nq")).target_tokens == 1 + round(4.5 * 1.35)


def test_local_rows_are_read() -> None:
    sample = workload(dataclasses.replace(RTE, data="sample", max_train_rows=50))
    assert sample.rows == (50, 128, 256)
    assert 5 < sample.source_tokens < 100


def test_a_run_is_its_steps_and_its_evaluations() -> None:
    shape, source = shape_of("t5-base"), workload(RTE).source_tokens
    cost = run_cost(RTE)
    assert cost.training == 30_000 * step_cost(shape, 40, 45, source, 16, 2).flops
    batch = inference_cost(shape, 40, 45, source, 64, 2).flops
    assert cost.validation == 31 * 138 * batch // 64, "every 1,000 steps and before the first"
    assert cost.test == 139 * batch // 64
    assert run_cost(
        dataclasses.replace(RTE, task="mnli", method="prompt_tuning", num_virtual_tokens=None)
    ).training == (200_000 * step_cost(shape, 100, 0, round((31.8 + 2) * 1.35), 16, 2).flops)
    assert run_cost(dataclasses.replace(RTE, task="searchqa")).training == (
        300_000 * step_cost(shape, 40, 36, 512, 16, 4).flops
    ), "942.8 words are cut to s = 512"


def test_images_are_positions_of_every_batch_and_one_look_of_the_encoder() -> None:
    vqa = dataclasses.replace(RTE, task="vqa", vision_backbone="clip-vit-base-patch32")
    work, shape, tower = workload(vqa), shape_of("t5-base"), tower_info("clip-vit-base-patch32")
    assert (work.rows, work.images) == ((605_102, 26_729, 26_280), 123_200), "Table 7: several questions an image"
    cost = run_cost(vqa)
    step = step_cost(shape, 40, 45, work.source_tokens, 16, work.target_tokens, tower=tower)
    assert cost.training == 300_000 * step.flops
    batch = inference_cost(shape, 40, 45, work.source_tokens, 64, work.target_tokens, decoding="generate", tower=tower)
    assert cost.test == 26_280 * batch.flops // 64
    assert run_cost(dataclasses.replace(vqa, decoding="answer_list")).test == cost.test
    assert cost.features == work.images * tower.flops
    twice = estimate([vqa, vqa], [], workers=1, pace=None).flops
    assert twice == 2 * (cost.training + cost.validation) + cost.features, "the features are kept"
    other = dataclasses.replace(vqa, backbone="mini-t5", vision_backbone=None, seed=RTE.seed + 1)
    tiny = run_cost(other)
    both = estimate([vqa, other], [], workers=1, pace=None).flops
    assert both == sum(each.training + each.validation + each.features for each in (cost, tiny)), "each its encoder's"
    drawn = [dataclasses.replace(other, data="sample", seed=seed, max_train_rows=8) for seed in (1, 2)]
    looks = [run_cost(each) for each in drawn]
    both = estimate(drawn, [], workers=1, pace=None).flops
    assert both == sum(each.training + each.validation + each.features for each in looks), "a seed draws its pictures"
    assert workload(dataclasses.replace(vqa, data="sample", max_train_rows=8)).images == 8 + 128 + 256
    assert workload(dataclasses.replace(RTE, task="coco_captions")).source_tokens == 1, "caption: and no text"
    assert workload(RTE).images == run_cost(RTE).features == 0


def test_other_methods_cost_what_they_add_and_no_prompt() -> None:
    shape, source = shape_of("t5-base"), workload(RTE).source_tokens
    plain = inference_cost(shape, 0, 0, source, 64, 2).flops
    costs = {}
    for method in ("bitfit", "lora", "adept", "lopt"):
        config = TrainConfig(task="rte", backbone="t5-base", preset="paper", method=method)
        facts = known_facts("t5-base")
        added = config.method_config().resolved(facts).footprint(facts)
        costs[method] = run_cost(config)
        step = step_cost(shape, added.positions, added.rank, source, 16, 2, added=added)
        assert costs[method].training == 30_000 * step.flops
    assert costs["bitfit"].test == 139 * plain // 64
    assert costs["bitfit"].training < costs["lora"].training < costs["adept"].training < costs["lopt"].training
    both = TrainConfig(task="rte", backbone="t5-base", preset="paper", method="dept+lora", num_virtual_tokens=40)
    assert run_cost(both).training > run_cost(RTE).training


def test_a_config_of_peft_has_no_cost_and_says_why() -> None:
    values = json.dumps({"peft_type": "IA3", "target_modules": ["k", "v"], "feedforward_modules": []})
    config = TrainConfig(task="rte", backbone="t5-base", method="peft", peft_config=values)
    with pytest.raises(ConfigError, match="measured on the backbone itself"):
        run_cost(config)


def test_a_backbone_of_unknown_shape_has_no_cost() -> None:
    with pytest.raises(BackboneError, match="some/model"):
        run_cost(dataclasses.replace(RTE, backbone="some/model"))


def test_a_batch_in_time_and_money() -> None:
    cost = run_cost(RTE)
    found = estimate([RTE, RTE], [RTE], workers=2, pace=Pace(1e12, "as given"))
    assert found.flops == 2 * (cost.training + cost.validation) + cost.test
    assert found.seconds == pytest.approx(found.flops / 1e12 + 3 * START_SECONDS / 2)
    lines = Estimate(36, 3, 10**18, Pace(1e13, "as given"), 108_000.0).lines(price_per_hour=0.5)
    assert lines == [
        "about 1e+18 FLOPs: 36 runs, 3 of them then scored on test",
        "about 30 h at 1e+13 FLOP/s (as given)",
        "about 15.00 at 0.5 an hour",
    ]
    assert Estimate(1, 1, 10, None, None).lines(0.5)[-1].startswith("no pace is known")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["table8", "figure3", "figure5"])
def test_the_documented_cost_of_the_paper_is_what_is_calculated(name: str, tmp_path: Path) -> None:
    training, testing = to_do(trials(read_sweep(name), tmp_path))
    found = estimate(training, testing, workers=1, pace=Pace(4e13, "assumed"))
    assert found.seconds is not None
    hours = found.seconds / 3600
    row = f"| {found.runs:,} | {found.flops:.2g} | {hours:,.0f} | {hours * 1.5:,.0f} |"
    lines = (Path(__file__).resolve().parents[3] / "docs" / "scaling.md").read_text().splitlines()
    assert any(line.startswith(f"| `{name}`") and line.endswith(row) for line in lines), row
