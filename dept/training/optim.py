"""A learning rate for each part (paper 2.2): the optimiser's groups, and the schedule that all of them follow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.optim import AdamW, Optimizer

from dept.model.adapted import AdaptedModel


@dataclass(frozen=True)
class AdamWSettings:
    """AdamW as in the paper's Table 8."""

    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6


def build_groups(model: AdaptedModel, rates: Mapping[str, float], settings: AdamWSettings | None = None) -> AdamW:
    """AdamW with a group for each rate group of the model; each group carries its `name`.

    Args:
        rates: learning rates by group name (`model.groups`); those of groups without tensors are ignored.

    Raises:
        ValueError: a group without a rate; a trainable tensor that belongs to no group, or to two.
    """
    settings = settings or AdamWSettings()
    grouped = model.grouped_tensors()
    missing = [name for name in grouped if rates.get(name) is None]
    if missing:
        raise ValueError(f"no learning rate for {', '.join(missing)}: name one for each of {', '.join(grouped)}")
    groups: list[dict[str, Any]] = [
        {"name": name, "params": list(tensors.values()), "lr": rates[name]} for name, tensors in grouped.items()
    ]
    members = [id(tensor) for group in groups for tensor in group["params"]]
    wrong = [
        name for name, tensor in model.named_parameters() if members.count(id(tensor)) != int(tensor.requires_grad)
    ]
    if wrong:
        raise ValueError(f"optimiser groups do not cover the trainable tensors exactly once: {', '.join(wrong)}")
    return AdamW(groups, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay)


def build_optimizer(
    model: AdaptedModel,
    prompt_lr: float | None = None,
    low_rank_lr: float | None = None,
    settings: AdamWSettings | None = None,
    *,
    projection_lr: float | None = None,
    **rates: float,
) -> AdamW:
    """AdamW with a group for each part of the method: `prompt_lr` (alpha_1), `low_rank_lr` (alpha_2), `lora_lr`, ...

    A part that the model does not have (m = 0, or prompt tuning) has no group. In a model that reads images, the
    visual projection's rate is by default that of A and B.

    Raises:
        ValueError: see `build_groups`; a rate whose name is no group's.
    """
    projection = low_rank_lr if projection_lr is None else projection_lr
    named = {"prompt_lr": prompt_lr, "low_rank_lr": low_rank_lr, "projection_lr": projection, **rates}
    own = [f"{name}_lr" for name in model.grouped_tensors()]
    unknown = sorted(rates.keys() - set(own))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: this model has no such rate; it has {', '.join(own)}")
    return build_groups(
        model, {name.removesuffix("_lr"): rate for name, rate in named.items() if rate is not None}, settings
    )


def warmup_steps(max_steps: int, warmup_proportion: float) -> int:
    """The number of steps of linear warm-up (paper, Table 8: 6% of all steps)."""
    return round(max_steps * warmup_proportion)


def rate_factor(step: int, max_steps: int, warmup: int) -> float:
    """The factor of all learning rates at a step, counted from 0: linear warm-up, then linear decay to 0."""
    if step < warmup:
        return step / warmup
    return max(0.0, (max_steps - step) / max(1, max_steps - warmup))


def set_rates(optimizer: Optimizer, base_rates: Mapping[str, float], factor: float) -> None:
    """Set each named group's learning rate to its base rate times the schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = base_rates[group["name"]] * factor
