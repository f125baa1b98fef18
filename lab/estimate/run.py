"""What a run will take: parameters, FLOPs and memory by the cost model, time by this machine's pace."""

import contextlib
import functools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from dept.backbones.known import BackboneInfo
from dept.backbones.load import backbone_info
from dept.backbones.shape import Shape, shape_of
from dept.backbones.tower_sizes import TowerInfo, tower_for
from dept.costs.flops import Cost
from dept.costs.trade_off import TradeOff, trade_off
from dept.errors import BackboneError, DeptError
from dept.methods.budget import Split, rank_for, split_of
from dept.runs.settings import TrainConfig
from dept.tasks import load_task
from dept.tasks.registry import TASK_NAMES
from dept.tasks.sample import sample_rows
from lab.bench.lengths import GLUE_MEAN_TOKENS
from lab.service.summary import RunSummary

START_SECONDS = 12.0  # of a process: importing torch and transformers, loading, tokenising
TOKENS_PER_WORD = 1.3
_ROWS = 64  # of the sample, for a task's lengths
_SHARE_OF_PEAK = 0.5  # of a matrix product's pace, what a training step reaches on a CPU
_SIDE = 1024

# Two threads that import transformers at the same time disturb each other: its modules fill themselves lazily.
LOADING = threading.Lock()


@dataclass(frozen=True)
class Pace:
    """How fast this machine trains.

    Attributes:
        seconds_per_flop: of the whole run, evaluations included where it was seen.
        source: how that is known, in words.
    """

    seconds_per_flop: float
    source: str


@dataclass(frozen=True)
class Expected:
    """What one method takes.

    Attributes:
        flops: of a training step; None where the cost model does not know the backbone's family, as the others.
        activation_bytes: kept for the backward pass, at the most.
        seconds: for all steps, the start of the process included.
    """

    split: Split
    flops: int | None
    activation_bytes: int | None
    seconds: float | None


@dataclass(frozen=True)
class Expectation:
    """The chosen split of the budget beside PT's.

    Attributes:
        source_tokens: that a batch's sources are thought to have.
        points: the cost of every m, the last one PT; empty where the cost model does not know the backbone.
        tower: the image encoder, of a task with images.
    """

    backbone: BackboneInfo
    dept: Expected
    prompt_tuning: Expected
    source_tokens: int
    points: Sequence[TradeOff]
    pace: Pace
    tower: TowerInfo | None = None

    @property
    def projection_parameters(self) -> int:
        """Trained beside the budget, by both methods alike: from the encoder's features to embeddings."""
        return self.tower.projection_parameters(self.backbone.hidden_size) if self.tower else 0


def expect(config: TrainConfig, runs: Sequence[RunSummary]) -> Expectation:
    """What a DePT run and its PT run will take; an image encoder's look at each image, once, is not in it.

    Args:
        config: of the DePT run.
        runs: earlier ones on this machine, the newest first.

    Raises:
        DeptError: a split or a backbone that cannot be.
    """
    info = _backbone(config.backbone)
    m, budget = config.num_virtual_tokens if config.num_virtual_tokens is not None else 40, config.budget_tokens
    rows = config.max_seq_length or 256
    rank = rank_for(m, info.hidden_size, rows, budget)
    splits = [split_of(size, r, info.hidden_size, rows, budget) for size, r in ((m, rank), (budget, 0))]
    tokens, pace = source_tokens(config), pace_of(config.backbone, runs)
    points = _points(config, rows, tokens)
    costs = {point.num_virtual_tokens: point.train for point in points}
    dept, pt = (_expected(split, costs.get(split.num_virtual_tokens), config.max_steps or 0, pace) for split in splits)
    return Expectation(info, dept, pt, tokens, points, pace, tower_of(config))


def tower_of(config: TrainConfig) -> TowerInfo | None:
    """The image encoder of a run on a task with images.

    Raises:
        BackboneError: its sizes cannot be told.
    """
    if config.task not in TASK_NAMES:
        return None
    return tower_for(load_task(config.task), config.backbone, config.vision_backbone)


def _expected(split: Split, cost: Cost | None, steps: int, pace: Pace) -> Expected:
    if cost is None:
        return Expected(split, None, None, None)
    seconds = START_SECONDS + steps * cost.flops * pace.seconds_per_flop
    return Expected(split, cost.flops, cost.activation_bytes, seconds)


@functools.lru_cache(maxsize=64)
def _backbone(name: str) -> BackboneInfo:
    with LOADING:
        return backbone_info(name)  # a folder's config takes torch and transformers to read


def read_ahead(backbones: Sequence[str]) -> None:
    """Look at folders' configs in a thread, so that nobody at the page waits until transformers is imported."""

    def read() -> None:
        for name in backbones:
            with contextlib.suppress(DeptError):  # whoever chooses it is told
                _backbone(name)

    if backbones:
        threading.Thread(target=read, name="backbones", daemon=True).start()


def _points(config: TrainConfig, rows: int, tokens: int) -> list[TradeOff]:
    try:
        shape = shape_of(config.backbone)
    except BackboneError:
        return []
    return list(_trade_off(shape, config.budget_tokens, rows, tokens, config.batch_size, tower_of(config)))


@functools.lru_cache(maxsize=256)
def _trade_off(
    shape: Shape, budget: int, rows: int, tokens: int, batch_size: int, tower: TowerInfo | None
) -> tuple[TradeOff, ...]:
    return tuple(trade_off(shape, budget, rows, tokens, batch_size, tower=tower))


def source_tokens(config: TrainConfig) -> int:
    """The tokens that the sources of a batch have, about: a task's sample, else GLUE's mean."""
    tokens = _sample_tokens(config.task) if config.task in TASK_NAMES else GLUE_MEAN_TOKENS
    return min(tokens, config.max_seq_length or 256)


@functools.cache
def _sample_tokens(task: str) -> int:
    spec = load_task(task)
    rows = sample_rows(task, "train", _ROWS)
    words = [len(spec.examples(row)[0].source.split()) for row in rows]
    return round(TOKENS_PER_WORD * fmean(words))


def pace_of(backbone: str, runs: Sequence[RunSummary]) -> Pace:
    """That of the newest completed run of a backbone here, else of a matrix product."""
    for run in runs:
        result = run.result
        if run.status != "completed" or result is None or result["backbone"]["name"] != backbone:
            continue
        config = TrainConfig.from_dict(result["config"])
        shape_points = _points(config, config.max_seq_length or 256, source_tokens(config))
        cost = next((p.train for p in shape_points if p.num_virtual_tokens == result["num_virtual_tokens"]), None)
        if cost is not None and result["steps"]:
            return Pace(
                result["time"]["total_s"] / result["steps"] / cost.flops, "as the last run of this backbone here"
            )
    return Pace(1 / (_SHARE_OF_PEAK * matmul_flops()), "from the speed of a matrix product here")


@functools.cache
def matmul_flops() -> float:
    """Floating point operations a second of a matrix product, the best of five."""
    left = np.ones((_SIDE, _SIDE), dtype=np.float32)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        left @ left
        best = min(best, time.perf_counter() - started)
    return 2 * _SIDE**3 / best
