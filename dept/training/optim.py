"""Two rates of learning (paper 2.2): the optimiser's groups and the schedule that both follow."""

from dataclasses import dataclass
from typing import Any

from torch.optim import AdamW, Optimizer

from dept.prompted import PromptedModel


@dataclass(frozen=True)
class AdamWSettings:
    """AdamW as in the paper's Table 8."""

    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6


def build_optimizer(
    model: PromptedModel,
    prompt_lr: float,
    low_rank_lr: float,
    settings: AdamWSettings | None = None,
    *,
    projection_lr: float | None = None,
) -> AdamW:
    """AdamW with one group for the soft prompt (alpha_1) and one for A and B (alpha_2).

    A part that the model does not have (m = 0, or prompt tuning) has no group. Each group carries its `name`. A model
    that reads images has a third one for its visual projection, by default at A's and B's rate.

    Raises:
        ValueError: a trainable tensor that belongs to neither part, or that both claim.
    """
    settings = settings or AdamWSettings()
    parts = (
        ("prompt", model.soft_prompt, prompt_lr),
        ("low_rank", model.low_rank_update, low_rank_lr),
        ("projection", model.visual_projection, low_rank_lr if projection_lr is None else projection_lr),
    )
    groups: list[dict[str, Any]] = [
        {"name": name, "params": list(part.parameters()), "lr": rate} for name, part, rate in parts if part is not None
    ]
    grouped = [id(tensor) for group in groups for tensor in group["params"]]
    wrong = [
        name for name, tensor in model.named_parameters() if grouped.count(id(tensor)) != int(tensor.requires_grad)
    ]
    if wrong:
        raise ValueError(f"optimiser groups do not cover the trainable tensors exactly once: {', '.join(wrong)}")
    return AdamW(groups, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay)


def warmup_steps(max_steps: int, warmup_proportion: float) -> int:
    """Steps of linear warm-up (paper, Table 8: 6% of all)."""
    return round(max_steps * warmup_proportion)


def rate_factor(step: int, max_steps: int, warmup: int) -> float:
    """What both rates are multiplied by at a step counted from 0: linear warm-up, then linear decay to 0."""
    if step < warmup:
        return step / warmup
    return max(0.0, (max_steps - step) / max(1, max_steps - warmup))


def set_rates(optimizer: Optimizer, base_rates: dict[str, float], factor: float) -> None:
    """Give each named group its base rate times the schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = base_rates[group["name"]] * factor
