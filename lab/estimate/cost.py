"""FLOPs of a run by the cost model.

The cost model (`dept.costs`) is applied to mean lengths: batches are grouped by length, so that little of them is
padding. Early stopping and pruning only make it less.
"""

from __future__ import annotations

from dataclasses import dataclass

from dept.backbones.shape import shape_of
from dept.costs.flops import Cost, inference_cost, step_cost
from lab.estimate.plan import RunPlan


@dataclass(frozen=True)
class RunCost:
    """FLOPs of one run, to its last step.

    Attributes:
        step: one optimiser step, and what it keeps for the backward pass.
        steps, eval_every: how many steps there are, and after how many of them validation is scored.
        one_validation: FLOPs of scoring validation once.
        test: FLOPs of scoring test once.
        features: FLOPs of an image encoder's look at every image. The features are kept: other runs on the same
            images have them for nothing.
    """

    step: Cost
    steps: int
    eval_every: int
    one_validation: int
    test: int
    features: int = 0

    @property
    def training(self) -> int:
        """FLOPs of all optimiser steps."""
        return self.steps * self.step.flops

    @property
    def validation(self) -> int:
        """FLOPs of all evaluations on validation, that of the untrained model too."""
        return (1 + -(-self.steps // self.eval_every)) * self.one_validation

    def flops(self, *, test: bool) -> int:
        """FLOPs from the first evaluation to the end of the run; the features come before, and once for many runs.

        Args:
            test: whether test is scored at the end.
        """
        return self.training + self.validation + (self.test if test else 0)


def cost_of(plan: RunPlan) -> RunCost:
    """The FLOPs of a run.

    Raises:
        DeptError: the cost model does not know the backbone's shape, or the method's cost cannot be told from sizes.
    """
    config, work = plan.config, plan.work
    assert config.max_steps is not None and config.eval_every is not None
    shape = plan.facts.shape or shape_of(config.backbone)  # the latter says why it is unknown
    added = plan.method.footprint(plan.facts)
    sizes = shape, added.positions, added.rank, plan.source_tokens
    step = step_cost(*sizes, config.batch_size, work.target_tokens, added=added, tower=plan.tower)
    rows = config.eval_batch_size
    batch = inference_cost(
        *sizes, rows, work.target_tokens, decoding=plan.decoding, added=added, tower=plan.tower
    ).flops
    _, validation_rows, test_rows = work.rows
    features = work.images * plan.tower.flops if plan.tower else 0
    return RunCost(
        step, config.max_steps, config.eval_every, validation_rows * batch // rows, test_rows * batch // rows, features
    )
