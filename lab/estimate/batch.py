"""What runs will take, before they start: FLOPs by the cost model, time by this machine's measured pace, money.

The cost model (`dept.costs`) is applied to mean lengths: batches are grouped by length, so that little of them is
padding. Early stopping and pruning only make it less.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from dept.backbones.known import default_tower
from dept.backbones.load import backbone_info
from dept.backbones.shape import shape_of
from dept.backbones.tower_sizes import tower_for
from dept.costs.flops import Decoding, inference_cost, step_cost
from dept.data.sources import load_rows
from dept.methods.known_facts import known_facts
from dept.runs.resolve import resolve
from dept.runs.settings import TrainConfig
from dept.tasks import Task, load_task
from dept.tasks.registry import TASK_NAMES
from dept.tasks.splits import counts_from_hub
from dept.tasks.template import columns_of
from lab.basics.units import duration
from lab.bench.cost import pass_cost
from lab.bench.plan import MeasureJob
from lab.bench.run import measure_apart
from lab.bench.variant import variant_of
from lab.estimate.sizes import sized
from lab.paper import numbers as paper

TOKENS_PER_WORD = 1.35  # 1.2 to 1.4 by SmolLM2's tokenizer over real rows of the tasks, in our templates
START_SECONDS = 10.0  # of a run: importing torch and transformers takes about 6, then loading and tokenising
_ROWS_READ = 200  # of a local training set, for its mean lengths
_PACE_ROWS = 4  # of the step that the pace is measured with


@dataclass(frozen=True)
class Workload:
    """What a run reads.

    Attributes:
        rows: of train, validation and test.
        source_tokens, target_tokens: mean lengths, end-of-text included.
        images: different ones, of a task with images; of local rows one each at most.
    """

    rows: tuple[int, int, int]
    source_tokens: int
    target_tokens: int
    images: int = 0


@dataclass(frozen=True)
class RunCost:
    """FLOPs of one run: its optimiser steps, all its evaluations on validation, one on test.

    Attributes:
        features: of an image encoder's look at every image, which is kept: other runs on them have it for nothing.
    """

    training: int
    validation: int
    test: int
    features: int = 0


@dataclass(frozen=True)
class Pace:
    """FLOPs a second of a whole machine, and where that number is from."""

    flops_per_s: float
    source: str


@dataclass(frozen=True)
class Estimate:
    """What a batch of runs takes, on one machine.

    Attributes:
        runs, tests: runs that are to be made, and runs that are to be scored on test.
        flops: of all of them.
        seconds: of the whole batch; None without a pace.
    """

    runs: int
    tests: int
    flops: int
    pace: Pace | None
    seconds: float | None

    def lines(self, price_per_hour: float | None = None) -> list[str]:
        """It in words.

        Args:
            price_per_hour: of the machine, in any currency.
        """
        found = [f"about {self.flops:.2g} FLOPs: {self.runs:,} runs, {self.tests:,} of them then scored on test"]
        if self.pace is None or self.seconds is None:
            return [*found, "no pace is known for this machine: --flops-per-s gives a time"]
        found.append(f"about {duration(self.seconds)} at {self.pace.flops_per_s:.2g} FLOP/s ({self.pace.source})")
        if price_per_hour is not None:
            hours = self.seconds / 3600
            found.append(f"about {hours * price_per_hour:,.2f} at {price_per_hour:g} an hour")
        return found


def workload(config: TrainConfig) -> Workload:
    """What a run of these settings reads: the hub's tasks by Table 7, without a download; other rows are read.

    Raises:
        DeptError: an unknown task; rows that cannot be read.
    """
    limits = config.max_train_rows, config.max_validation_rows, config.max_test_rows
    known = _known if config.data == "hub" and config.task in TASK_NAMES else _read
    found = known(config.task, config.data, limits)
    rows = [count if limit is None else min(count, limit) for count, limit in zip(found.rows, limits, strict=True)]
    images = min(found.images, sum(rows))
    return Workload((rows[0], rows[1], rows[2]), found.source_tokens, found.target_tokens, images)


@functools.cache
def _known(task_name: str, data: str, limits: tuple[int | None, ...]) -> Workload:
    task, counts = load_task(task_name), paper.data_counts().get(task_name)
    rows = counts_from_hub(task)
    words = counts.source_words if counts is not None else None
    if not columns_of(task.template):  # every source is the template (captions)
        words = 0.0
    # Without a printed length (squad, vqa), the longest there can be.
    source = task.max_seq_length if words is None else _tokens(words + _template_words(task))
    target = _target(task, None if counts is None else counts.target_words)
    images = sum(counts.images.values()) if counts is not None and counts.images is not None else 0
    return Workload((rows["train"], rows["validation"], rows["test"]), source, target, images)


@functools.cache
def _read(task_name: str, data: str, limits: tuple[int | None, ...]) -> Workload:
    task = load_task(task_name)
    sizes = {
        name: limit for name, limit in zip(("train", "validation", "test"), limits, strict=True) if limit is not None
    }
    rows = load_rows(task, data, sample_sizes=sizes)
    train = rows.splits["train"]
    examples = [
        example for row in train.select(range(min(_ROWS_READ, len(train)))) for example in task.examples(dict(row))
    ]
    source = _tokens(fmean(len(example.source.split()) for example in examples))
    target = _target(task, fmean(len(example.target.split()) for example in examples))
    counts = rows.sizes
    images = 0 if task.image_column is None else sum(counts.values())
    return Workload((counts["train"], counts["validation"], counts["test"]), source, target, images)


def _template_words(task: Task) -> int:
    return len(re.sub(r"\{[^}]*\}", " ", task.template).split())


def _target(task: Task, words: float | None) -> int:
    """A label is one token, and the end-of-text."""
    return 2 if task.labels else min(task.max_target_length, 1 + _tokens(words or task.max_target_length))


def _tokens(words: float) -> int:
    return max(1, round(words * TOKENS_PER_WORD))


def run_cost(config: TrainConfig) -> RunCost:
    """FLOPs of a run of these settings, to its last step.

    Raises:
        DeptError: as `workload`; a backbone or an image encoder whose shape the cost model does not know, a method
            that does not say what it costs.
    """
    work, task, shape = workload(config), load_task(config.task), shape_of(config.backbone)
    open_rates = {group.setting_name: 0.0 for group in config.method_class.groups}  # they cost nothing
    config = resolve(config, task, work.rows[0], shape.is_encoder_decoder, open_rates)
    assert config.max_steps is not None and config.eval_every is not None and config.max_seq_length is not None
    facts = known_facts(config.backbone, config.max_seq_length)
    added = sized(config, facts).footprint(facts)
    rows, tower = config.eval_batch_size, tower_for(task, config.backbone, config.vision_backbone)
    sizes = shape, added.positions, added.rank, min(work.source_tokens, config.max_seq_length)
    step = step_cost(*sizes, config.batch_size, work.target_tokens, added=added, tower=tower).flops
    decoding: Decoding = "label_scoring" if config.decoding == "label_scoring" else "generate"
    batch = inference_cost(*sizes, rows, work.target_tokens, decoding=decoding, added=added, tower=tower).flops
    evaluations = 1 + -(-config.max_steps // config.eval_every)  # and the untrained one
    _, validation, test = work.rows
    features = work.images * tower.flops if tower else 0
    return RunCost(config.max_steps * step, evaluations * validation * batch // rows, test * batch // rows, features)


def estimate(
    training: Sequence[TrainConfig], testing: Sequence[TrainConfig], *, workers: int, pace: Pace | None
) -> Estimate:
    """What it takes to make runs and to score some of them on test.

    Args:
        workers: runs at a time: they share the machine's pace, but start side by side.

    Raises:
        DeptError: as `run_cost`.
    """
    costs = [run_cost(config) for config in training]
    flops = sum(cost.training + cost.validation for cost in costs) + sum(run_cost(config).test for config in testing)
    looks = {_look(config): cost.features for config, cost in zip(training, costs, strict=True)}
    flops += sum(looks.values())
    starts = (len(training) + len(testing)) * START_SECONDS / workers
    seconds = None if pace is None else starts + flops / pace.flops_per_s
    return Estimate(len(training), len(testing), flops, pace, seconds)


def _look(config: TrainConfig) -> tuple[str, str, int | None, str]:
    """What an image encoder looks at (a sample's seed draws it) and which: equal for runs that share features."""
    tower = config.vision_backbone or default_tower(config.backbone)
    return config.task, config.data, config.seed if config.data == "sample" else None, tower


def measured_pace(config: TrainConfig) -> Pace | None:
    """FLOPs a second of training steps of this run's backbone and lengths, measured in a fresh process.

    The weights play no part: for a backbone of the hub it is a random one of the same shape. None where it does not
    fit the memory.

    Raises:
        DeptError: as `run_cost`; the measurement failed.
    """
    info, task = backbone_info(config.backbone), load_task(config.task)
    rows = config.max_seq_length or task.max_seq_length
    length, facts = min(workload(config).source_tokens, rows), known_facts(config.backbone, rows)
    job = MeasureJob(
        what="train",
        backbone=f"random:{config.backbone}" if info.source == "hub" else config.backbone,
        variant=variant_of(config.method, sized(config, facts).to_dict()),
        batches=((length,) * min(_PACE_ROWS, config.batch_size),),
        pad_to=None,
        max_seq_length=rows,
        passes=1,
        dtype="bfloat16" if config.dtype == "bfloat16" else "float32",
        seed=0,
        tower=tower_for(task, config.backbone, config.vision_backbone),
        parent_pid=os.getpid(),
    )
    cost, measurement = pass_cost(job), measure_apart(job)
    if cost is None or not measurement.fits:
        return None
    where = f"measured here: {measurement.device}, {measurement.threads} threads"
    return Pace(cost.flops / min(measurement.pass_seconds), where)
