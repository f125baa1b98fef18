"""What one run takes, before it starts: parameters, FLOPs and memory by the cost model, time by a machine's pace."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from dept.backbones.shape import Shape
from dept.backbones.tower_sizes import TowerInfo
from dept.costs.flops import Decoding
from dept.costs.trade_off import TradeOff, trade_off
from dept.errors import ConfigError, DeptError
from dept.methods.budget import BudgetSplit
from dept.methods.contract import Footprint
from dept.runs.settings import TrainConfig
from lab.estimate.cost import RunCost, cost_of
from lab.estimate.pace import Pace
from lab.estimate.plan import RunPlan, plan_of


@dataclass(frozen=True)
class Expectation:
    """What one run takes.

    Attributes:
        plan: the run, nothing in it left open.
        pace: of the machine; None where it is not known.
        parameters: trained ones, the visual projection aside; None where they are counted on the backbone's layers.
        split: how the budget is spent, by a method that is sized by it.
        input_length: what the backbone reads when a source fills `max_seq_length`, an image aside.
        cost: FLOPs and memory; None where they cannot be told from sizes.
        fault: why there is no cost.
    """

    plan: RunPlan
    pace: Pace | None
    parameters: int | None
    split: BudgetSplit | None
    input_length: int
    cost: RunCost | None
    fault: DeptError | None = None

    def known_cost(self) -> RunCost:
        """The FLOPs and the memory.

        Raises:
            DeptError: why they cannot be told.
        """
        if self.cost is None:
            raise self.fault or ConfigError("its cost is not known")
        return self.cost

    @property
    def flops(self) -> int | None:
        """All FLOPs of the run, with the test at its end and its images' features; None without a cost."""
        return None if self.cost is None else self.cost.flops(test=True) + self.cost.features

    @property
    def seconds(self) -> float | None:
        """The time of all these FLOPs and of the start of a process; None without a cost or a pace."""
        return None if self.flops is None or self.pace is None else self.pace.seconds(self.flops)

    @property
    def projection_parameters(self) -> int:
        """Trained beside the method, by all alike: from the encoder's features to embeddings."""
        tower = self.plan.tower
        return tower.projection_parameters(self.plan.backbone.hidden_size) if tower else 0

    @property
    def points(self) -> Sequence[TradeOff]:
        """The cost of every m, the last one PT, for a method that trades its prompt's length for a rank.

        Empty for others, which spend the budget otherwise, and where the cost model does not know the backbone.
        """
        plan, split = self.plan, self.split
        if split is None or plan.facts.shape is None:
            return ()
        if plan.method.footprint(plan.facts) != Footprint(split.num_virtual_tokens, split.rank):
            return ()
        tokens = plan.source_tokens, plan.config.batch_size, plan.work.target_tokens
        return _points(
            plan.facts.shape, plan.config.budget_tokens, plan.facts.max_seq_length, *tokens, plan.decoding, plan.tower
        )

    @property
    def note(self) -> str | None:
        """Why there are no FLOPs, memory and time, in one line."""
        if self.plan.facts.shape is None:
            return "The cost model knows the families T5, GPT-2 and LLaMA: no FLOPs, memory or time for this backbone."
        return None if self.fault is None else f"No FLOPs, memory or time: {self.fault}."


def expect(run: TrainConfig | RunPlan, pace: Pace | None = None) -> Expectation:
    """What a run takes.

    Raises:
        DeptError: rows that cannot be read; a backbone, an image encoder or a method that cannot be.
    """
    plan = run if isinstance(run, RunPlan) else plan_of(run)
    method, facts = plan.method, plan.facts
    try:
        parameters = sum(method.counts(facts).values())
    except ConfigError:  # another family, or a config of another library
        parameters = None
    split = None if parameters is None else method.budget(facts, plan.config.budget_tokens)
    try:
        positions = method.footprint(facts).positions
    except ConfigError:
        positions = 0
    cost, fault = None, None
    try:
        cost = cost_of(plan)
    except DeptError as caught:
        fault = caught
    return Expectation(plan, pace, parameters, split, positions + facts.max_seq_length, cost, fault)


@functools.lru_cache(maxsize=256)
def _points(
    shape: Shape,
    budget_tokens: int,
    max_seq_length: int,
    source_tokens: int,
    batch_size: int,
    target_tokens: int,
    decoding: Decoding,
    tower: TowerInfo | None,
) -> Sequence[TradeOff]:
    sizes = budget_tokens, max_seq_length, source_tokens, batch_size, target_tokens
    return tuple(trade_off(shape, *sizes, decoding=decoding, tower=tower))
