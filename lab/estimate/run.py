"""What a run will take: parameters, FLOPs and memory by the cost model, time by this machine's pace."""

import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from dept.backbones.known import BackboneInfo
from dept.backbones.load import backbone_info
from dept.backbones.shape import Shape
from dept.backbones.tower_sizes import TowerInfo, tower_for
from dept.costs.flops import Cost, step_cost
from dept.costs.trade_off import TradeOff, trade_off
from dept.errors import ConfigError, DeptError
from dept.methods.budget import BudgetSplit
from dept.methods.contract import Facts, Footprint, MethodConfig
from dept.methods.known_facts import known_facts
from dept.methods.registry import BASELINE, method_config
from dept.runs.settings import TrainConfig
from dept.tasks import load_task
from dept.tasks.registry import TASK_NAMES
from dept.tasks.sample import sample_rows
from lab.bench.lengths import GLUE_MEAN_TOKENS
from lab.estimate.sizes import sized
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
        method: its config, nothing in it "auto".
        parameters: trained ones, the visual projection aside; None where they are counted on the backbone's layers.
        split: how the budget is spent, by a method that is sized by it.
        input_length: what the backbone reads when a source fills `max_seq_length`, an image aside.
        flops: of a training step; None where the cost model does not know the backbone's family, or sizes don't tell
            what the method costs; as the others.
        activation_bytes: kept for the backward pass, at the most.
        seconds: for all steps, the start of the process included.
    """

    method: MethodConfig
    parameters: int | None
    split: BudgetSplit | None
    input_length: int
    flops: int | None = None
    activation_bytes: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Expectation:
    """The chosen method beside the baseline.

    Attributes:
        baseline: PT, whose prompt is as long as the budget.
        source_tokens: that a batch's sources are thought to have.
        points: the cost of every m, the last one PT, for a method that trades its prompt's length for a rank; empty
            for others, and where the cost model does not know the backbone.
        tower: the image encoder, of a task with images.
        note: what cannot be said, in one line.
    """

    backbone: BackboneInfo
    chosen: Expected
    baseline: Expected
    source_tokens: int
    points: Sequence[TradeOff]
    pace: Pace
    tower: TowerInfo | None = None
    note: str | None = None

    @property
    def projection_parameters(self) -> int:
        """Trained beside the method, by all alike: from the encoder's features to embeddings."""
        return self.tower.projection_parameters(self.backbone.hidden_size) if self.tower else 0


def expect(config: TrainConfig, runs: Sequence[RunSummary]) -> Expectation:
    """What a run and its PT run will take; an image encoder's look at each image, once, is not in it.

    Args:
        config: of the run.
        runs: earlier ones on this machine, the newest first.

    Raises:
        DeptError: a method or a backbone that cannot be.
    """
    info, facts = _backbone(config.backbone), _facts(config)
    tokens, pace, tower = source_tokens(config), pace_of(config.backbone, runs), tower_of(config)
    method = sized(config, facts)
    baseline = method_config(BASELINE).from_settings({"budget_tokens": config.budget_tokens})
    chosen, pt = (_expected(one, config, facts, tower, pace) for one in (method, baseline))
    points: Sequence[TradeOff] = ()
    if facts.shape is not None and _trades(chosen, facts):
        points = _trade_off(facts.shape, config.budget_tokens, facts.max_seq_length, tokens, config.batch_size, tower)
    return Expectation(info, chosen, pt, tokens, points, pace, tower, _note(method, facts))


def _facts(config: TrainConfig) -> Facts:
    return dataclasses.replace(_known(config.backbone), max_seq_length=config.max_seq_length or 256)


def _trades(expected: Expected, facts: Facts) -> bool:
    """Whether the budget is spent on a prompt and an update of the word embeddings, and on nothing else."""
    split = expected.split
    return split is not None and expected.method.footprint(facts) == Footprint(split.num_virtual_tokens, split.rank)


def _note(method: MethodConfig, facts: Facts) -> str | None:
    """Why there are no FLOPs, memory and time."""
    if facts.shape is None:
        return "The cost model knows the families T5, GPT-2 and LLaMA: no FLOPs, memory or time for this backbone."
    try:
        method.footprint(facts)
    except ConfigError as fault:
        return f"No FLOPs, memory or time: {fault}."
    return None


def _expected(
    method: MethodConfig, config: TrainConfig, facts: Facts, tower: TowerInfo | None, pace: Pace
) -> Expected:
    try:
        parameters = sum(method.counts(facts).values())
    except ConfigError:  # another family, or a config of another library
        parameters = None
    try:
        positions = method.footprint(facts).positions
    except ConfigError:
        positions = 0
    split = None if parameters is None else method.budget(facts, config.budget_tokens)
    expected = Expected(method, parameters, split, positions + facts.max_seq_length)
    cost = _step(method, config, facts, tower)
    if cost is None:
        return expected
    seconds = START_SECONDS + (config.max_steps or 0) * cost.flops * pace.seconds_per_flop
    return dataclasses.replace(expected, flops=cost.flops, activation_bytes=cost.activation_bytes, seconds=seconds)


def _step(method: MethodConfig, config: TrainConfig, facts: Facts, tower: TowerInfo | None) -> Cost | None:
    """A training step; None where the cost model or the method cannot say."""
    if facts.shape is None:
        return None
    try:
        added = method.footprint(facts)
    except ConfigError:
        return None
    sizes = added.positions, added.rank, source_tokens(config), config.batch_size
    return step_cost(facts.shape, *sizes, added=added, tower=tower)


def tower_of(config: TrainConfig) -> TowerInfo | None:
    """The image encoder of a run on a task with images.

    Raises:
        BackboneError: its sizes cannot be told.
    """
    if config.task not in TASK_NAMES:
        return None
    return tower_for(load_task(config.task), config.backbone, config.vision_backbone)


@functools.lru_cache(maxsize=64)
def _backbone(name: str) -> BackboneInfo:
    with LOADING:
        return backbone_info(name)  # a folder's config takes torch and transformers to read


@functools.lru_cache(maxsize=64)
def _known(name: str) -> Facts:
    with LOADING:
        return known_facts(name)


def read_ahead(backbones: Sequence[str]) -> None:
    """Look at folders' configs in a thread, so that nobody at the page waits until transformers is imported."""

    def read() -> None:
        for name in backbones:
            with contextlib.suppress(DeptError):  # whoever chooses it is told
                _backbone(name)

    if backbones:
        threading.Thread(target=read, name="backbones", daemon=True).start()


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
        facts = _facts(config)
        cost = _step(sized(config, facts), config, facts, tower_of(config))
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
