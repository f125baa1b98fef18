"""What `dept-lab bench` measures: settings, the variants of a method, and which two are compared.

Light on purpose: nothing here imports torch, so that bad input is answered at once.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dept.backbones.known import RANDOM
from dept.backbones.load import backbone_info
from dept.backbones.tower_sizes import TowerInfo, tower_for
from dept.errors import ConfigError
from dept.methods.budget import rank_for
from dept.tasks import load_task
from lab.bench.config import DEFAULT_BACKBONES, BenchConfig, Group
from lab.bench.lengths import GLUE_MEAN_TOKENS, Lengths

TARGET_TOKENS = 2  # a label of one token, and end-of-text


@dataclass(frozen=True)
class Variant:
    """One of the things compared.

    Attributes:
        method: prompt_tuning, dept, or backbone (no prompt and nothing to train: how much a prompt costs at all).
        num_virtual_tokens: m, or l for prompt tuning.
        rank: of the update; 0 without one.
        cache_prompt: whether a decoder-only prompt's keys and values are kept between batches.
        decoding: label_scoring, or release: greedy generation and then a second full forward pass.
    """

    method: Literal["prompt_tuning", "dept", "backbone"]
    num_virtual_tokens: int
    rank: int = 0
    cache_prompt: bool = False
    decoding: Literal["label_scoring", "release"] = "label_scoring"

    @property
    def name(self) -> str:
        way = ", release" if self.decoding == "release" else ""
        if self.method == "backbone":
            return f"no prompt{way}"
        if self.method == "prompt_tuning":
            return f"PT{way}"
        return f"DePT m={self.num_virtual_tokens}{way}"


@dataclass(frozen=True)
class Pair:
    """A and B, measured in turn; a ratio is always that of one pair's two measurements."""

    group: Group
    baseline: Variant
    variant: Variant


@dataclass(frozen=True)
class Job:
    """One measurement, as a fresh process gets it.

    Attributes:
        batches: the source tokens of each row of each batch.
        pad_to: columns that every source is padded to; None pads to the batch's longest.
        tower: the image encoder whose features stand before each source; they are there, as from the cache.
        count_flops: whether to count them too, in a pass of its own after the timed ones.
        parent_pid: the process whose end ends the measurement; 0 for none.
    """

    what: str
    backbone: str
    variant: Variant
    batches: tuple[tuple[int, ...], ...]
    pad_to: int | None
    max_seq_length: int
    passes: int
    dtype: str
    seed: int
    tower: TowerInfo | None = None
    threads: int | None = None
    count_flops: bool = False
    parent_pid: int = 0

    @property
    def samples(self) -> int:
        return sum(map(len, self.batches))

    def width(self, batch: Sequence[int]) -> int:
        """Positions of each row of a batch: its padded source, its image's features and the virtual tokens."""
        image = self.tower.positions if self.tower else 0
        return (self.pad_to or max(batch)) + image + self.variant.num_virtual_tokens

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Job":
        variant = Variant(**values["variant"])
        batches = tuple(tuple(batch) for batch in values["batches"])
        tower = values["tower"] and TowerInfo(**values["tower"])
        return cls(**{**values, "variant": variant, "batches": batches, "tower": tower})


@dataclass(frozen=True)
class Measurement:
    """What one process found.

    Attributes:
        fits: False when there was too little memory; all the numbers are then None.
        reason: why it does not fit.
        pass_seconds: each timed pass over all the job's batches.
        samples: rows of a pass. steps: batches of a pass.
        peak_bytes: most memory in use above the loaded model: resident memory, or CUDA's allocator's.
        flops: floating point operations of a pass, counted; None where they were not asked for.
        matmul_peak: floating point operations a second of the best square product, before and after the passes.
        device: cpu, or the GPU's name.
    """

    fits: bool
    reason: str | None = None
    pass_seconds: tuple[float, ...] = ()
    samples: int = 0
    steps: int = 0
    peak_bytes: int | None = None
    flops: int | None = None
    matmul_peak: float | None = None
    loading_s: float | None = None
    trainable_parameters: int | None = None
    device: str = "cpu"
    threads: int = 0


@dataclass(frozen=True)
class MeasuredPair:
    """A and B of one pair, or what of them was measured before a stop.

    Attributes:
        repeat: from 0.
    """

    pair: Pair
    repeat: int
    baseline: Measurement | None = None
    variant: Measurement | None = None

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def groups(config: BenchConfig) -> Iterator[Group]:
    """Every question that the settings ask, in the order of the report; `--quick` adds GPT-2's inference.

    Raises:
        BackboneError: an unknown backbone.
    """
    decoder_only = {name: not backbone_info(name).is_encoder_decoder for name in config.backbones}
    for what in config.what:
        for backbone in config.backbones:
            ways = ("plain", "cached") if what == "inference" and decoder_only[backbone] else ("",)
            yield from (Group(what, backbone, lengths, way) for lengths in config.lengths for way in ways)
    if config.quick and "inference" in config.what and config.backbones == DEFAULT_BACKBONES:
        yield from (Group("inference", "random:gpt2", f"fixed:{GLUE_MEAN_TOKENS}", way) for way in ("plain", "cached"))


def pairs(config: BenchConfig, group: Group) -> list[Pair]:
    """The comparisons of a group: DePT at each m beside PT, and what its question adds.

    With cached prompts also PT beside the backbone alone; for decoding label scoring beside the release's way.

    Raises:
        BudgetError: more virtual tokens than the budget.
    """
    hidden_size, cached = backbone_info(group.backbone).hidden_size, group.way == "cached"
    pt = Variant("prompt_tuning", config.budget_tokens, cache_prompt=cached)
    dept = []
    for m in config.virtual_tokens:
        rank = rank_for(m, hidden_size, config.max_seq_length, config.budget_tokens)
        if not m and not rank:
            raise ConfigError(
                f"{group.backbone}: m = 0 leaves rank 0 at --max-seq-length {config.max_seq_length}: nothing to train"
            )
        dept.append(Variant("dept", m, rank, cached))
    if group.what == "decoding":
        own = [dataclasses.replace(variant, cache_prompt=True) for variant in (pt, *dept)]
        return [
            Pair(group, dataclasses.replace(variant, cache_prompt=False, decoding="release"), variant)
            for variant in own
        ]
    found = [Pair(group, pt, variant) for variant in dept]
    if cached:
        found.append(Pair(group, Variant("backbone", 0), pt))
    return found


def job_of(config: BenchConfig, group: Group, variant: Variant, batches: Sequence[Sequence[int]]) -> Job:
    """The measurement of one variant; batches as `source_batches` gives them."""
    lengths = Lengths.parse(group.lengths)
    return Job(
        what=group.what,
        backbone=group.backbone,
        variant=variant,
        batches=tuple(tuple(batch) for batch in batches),
        pad_to=lengths.tokens if lengths.kind == "padded" else None,
        max_seq_length=config.max_seq_length,
        passes=1 if group.what == "memory" else config.passes,
        dtype=config.dtype,
        seed=config.seed,
        tower=tower_of(config, group),
        threads=config.threads,
    )


def tower_of(config: BenchConfig, group: Group) -> TowerInfo | None:
    """The image encoder of a group whose task has images.

    Raises:
        BackboneError: its sizes cannot be told.
    """
    lengths = Lengths.parse(group.lengths)
    if lengths.kind != "task":
        return None
    return tower_for(load_task(lengths.task), group.backbone.removeprefix(RANDOM), config.vision_backbone)
