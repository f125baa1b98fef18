"""A run with nothing left open, before its weights are loaded: its rows, its backbone, its method's sizes."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from dept.backbones.known import BackboneInfo
from dept.backbones.load import backbone_info
from dept.backbones.tower_sizes import TowerInfo, tower_for
from dept.costs.flops import Decoding
from dept.errors import DeptError
from dept.methods.contract import Facts, MethodConfig
from dept.methods.known_facts import known_facts
from dept.methods.registry import BASELINE, method_config
from dept.runs.resolve import resolve
from dept.runs.settings import TrainConfig
from dept.tasks import load_task
from lab.estimate.workload import Workload, workload

# Two threads that import transformers at the same time disturb each other: its modules fill themselves lazily.
LOADING = threading.Lock()


@dataclass(frozen=True)
class RunPlan:
    """A run with nothing left open.

    Attributes:
        config: the settings of the loop and the rows; the method's own ones are in `method`.
        tower: the image encoder of a task with images.
    """

    config: TrainConfig
    method: MethodConfig
    work: Workload
    backbone: BackboneInfo
    facts: Facts
    tower: TowerInfo | None

    @property
    def source_tokens(self) -> int:
        """The mean length of a source as the backbone reads it."""
        return min(self.work.source_tokens, self.facts.max_seq_length)

    @property
    def decoding(self) -> Decoding:
        """The way of predicting, as the cost model calls it."""
        return "label_scoring" if self.config.decoding == "label_scoring" else "generate"

    def with_baseline(self) -> RunPlan:
        """The same run with prompt tuning, whose prompt is as long as the budget."""
        baseline = method_config(BASELINE).from_settings({"budget_tokens": self.config.budget_tokens})
        return dataclasses.replace(self, method=baseline.resolved(self.facts))


def plan_of(config: TrainConfig) -> RunPlan:
    """Fill in what a run's settings leave open.

    Raises:
        DeptError: rows that cannot be read; a backbone, an image encoder or a method that cannot be.
    """
    task, work, backbone = load_task(config.task), workload(config), _backbone(config.backbone)
    # The rates cost nothing, and some defaults follow from weights, which are not loaded here.
    open_rates = {group.setting_name: 0.0 for group in config.method_class.groups}
    config = resolve(config, task, work.rows[0], backbone.is_encoder_decoder, open_rates)
    assert config.max_seq_length is not None
    facts = dataclasses.replace(_known(config.backbone), max_seq_length=config.max_seq_length)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a budget that is exceeded the run itself will warn
        method = config.method_config().resolved(facts)
    return RunPlan(config, method, work, backbone, facts, tower_of(config))


def tower_of(config: TrainConfig) -> TowerInfo | None:
    """The image encoder of a run on a task with images.

    Raises:
        DeptError: no such task; the encoder's sizes cannot be told.
    """
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
