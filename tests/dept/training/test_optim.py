"""Two rates: groups that cover every trainable tensor once, and one schedule for both."""

import pytest
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from dept.training.optim import AdamWSettings, build_optimizer, rate_factor, set_rates, warmup_steps
from tests.dept.tiny_models import prompted


def test_each_part_has_its_rate() -> None:
    model = prompted("t5")
    optimizer = build_optimizer(model, prompt_lr=0.3, low_rank_lr=5e-4)
    assert [(group["name"], group["lr"]) for group in optimizer.param_groups] == [("prompt", 0.3), ("low_rank", 5e-4)]
    prompt, low_rank = (group["params"] for group in optimizer.param_groups)
    tensors = model.adapter_tensors()
    assert [id(t) for t in prompt] == [id(tensors["prompt_embeddings"])]
    assert [id(t) for t in low_rank] == [id(tensors["low_rank_a"]), id(tensors["low_rank_b"])]
    for group in optimizer.param_groups:
        assert (group["weight_decay"], group["betas"], group["eps"]) == (0.01, (0.9, 0.98), 1e-6)  # Table 8


def test_settings_reach_every_group() -> None:
    settings = AdamWSettings(weight_decay=0.5, betas=(0.1, 0.2), eps=1e-3)
    for group in build_optimizer(prompted("gpt2"), 0.1, 0.2, settings).param_groups:
        assert (group["weight_decay"], group["betas"], group["eps"]) == (0.5, (0.1, 0.2), 1e-3)


@pytest.mark.parametrize(("m", "r", "names"), [(0, 2, ["low_rank"]), (3, 0, ["prompt"])])
def test_a_part_that_is_not_there_has_no_group(m: int, r: int, names: list[str]) -> None:
    optimizer = build_optimizer(prompted("t5", m=m, r=r), 0.3, 5e-4)
    assert [group["name"] for group in optimizer.param_groups] == names


def test_a_tensor_outside_the_parts_is_refused() -> None:
    model = prompted("t5")
    model.extra = nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match="extra"):
        build_optimizer(model, 0.3, 5e-4)


def test_a_thawed_backbone_is_refused() -> None:
    model = prompted("t5")
    model.backbone.requires_grad_(True)
    with pytest.raises(ValueError, match="backbone"):
        build_optimizer(model, 0.3, 5e-4)


def test_a_frozen_part_is_refused() -> None:
    model = prompted("t5")
    model.adapter_tensors()["low_rank_a"].requires_grad_(False)
    with pytest.raises(ValueError, match="low_rank_a"):
        build_optimizer(model, 0.3, 5e-4)


@pytest.mark.parametrize(("steps", "proportion"), [(100, 0.06), (7, 0.5), (10, 0.0), (5, 1.0), (1, 0.06)])
def test_schedule_is_linear_warmup_and_decay(steps: int, proportion: float) -> None:
    warmup = warmup_steps(steps, proportion)
    assert warmup == round(steps * proportion)
    optimizer = build_optimizer(prompted("t5"), 0.4, 1e-3)
    theirs = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_linear_schedule_with_warmup(theirs, warmup, steps)
    for step in range(steps + 1):
        factor = rate_factor(step, steps, warmup)
        assert factor == pytest.approx(schedule.get_last_lr()[0])
        set_rates(optimizer, {"prompt": 0.4, "low_rank": 1e-3}, factor)
        assert [group["lr"] for group in optimizer.param_groups] == [0.4 * factor, 1e-3 * factor]
        theirs.step()
        schedule.step()
