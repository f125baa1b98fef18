"""The plan of `dept-lab bench`: the variants of a method, which two are compared, and the measurements' jobs.

Nothing here imports torch, so that invalid input is reported at once.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dept.backbones.known import RANDOM
from dept.backbones.load import backbone_info
from dept.backbones.tower_sizes import TowerInfo, tower_for
from dept.errors import ConfigError
from dept.methods.budget import rank_for
from dept.methods.known_facts import known_facts
from dept.methods.registry import BASELINE, DEFAULT_METHOD, method_config
from dept.tasks import load_task
from lab.bench.config import DEFAULT_BACKBONES, BenchConfig, Group
from lab.bench.lengths import GLUE_MEAN_TOKENS, Lengths
from lab.bench.variant import BACKBONE, Variant, variant_of

TARGET_TOKENS = 2  # a label of one token, and the end-of-text token


@dataclass(frozen=True)
class Pair:
    """The variants A (baseline) and B, measured in turn; a ratio is of one pair's two measurements."""

    group: Group
    baseline: Variant
    variant: Variant

    def to_dict(self) -> dict[str, Any]:
        sides = {"baseline": self.baseline.to_dict(), "variant": self.variant.to_dict()}
        return {"group": dataclasses.asdict(self.group), **sides}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Pair":
        sides = (Variant.from_dict(values[name]) for name in ("baseline", "variant"))
        return cls(Group(**values["group"]), *sides)


@dataclass(frozen=True)
class MeasureJob:
    """One measurement, as a fresh process gets it.

    Attributes:
        batches: the source tokens of each row of each batch.
        pad_to: columns that every source is padded to; None pads to the batch's longest.
        tower: the image encoder whose features come before each source. They are not computed: training caches them.
        count_flops: whether to count FLOPs too, in a separate pass after the timed ones.
        parent_pid: the process whose end also ends the measurement; 0 for none.
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
        return {**dataclasses.asdict(self), "variant": self.variant.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MeasureJob":
        variant = Variant.from_dict(values["variant"])
        batches = tuple(tuple(batch) for batch in values["batches"])
        tower = values["tower"] and TowerInfo(**values["tower"])
        return cls(**{**values, "variant": variant, "batches": batches, "tower": tower})


@dataclass(frozen=True)
class Measurement:
    """The result of one measurement.

    Attributes:
        fits: False when there was too little memory; all numbers are then None.
        reason: why it does not fit.
        pass_seconds: each timed pass over all the job's batches.
        samples: rows of a pass. steps: batches of a pass.
        peak_bytes: most memory in use above the loaded model: resident memory, or that of CUDA's allocator.
        flops: counted floating point operations of a pass; None where the job did not request them.
        matmul_peak: floating point operations a second of the best square product before and after the passes.
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
    """The measurements of one pair; a side is None if the benchmark stopped before it.

    Attributes:
        repeat: the repeat's number, from 0.
    """

    pair: Pair
    repeat: int
    baseline: Measurement | None = None
    variant: Measurement | None = None

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "pair": self.pair.to_dict()}


def groups(config: BenchConfig) -> Iterator[Group]:
    """The groups that the settings request, in the order of the report; `--quick` adds GPT-2's inference.

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
    """The comparisons of a group: the default method at each m, and the others, beside PT; what its question adds.

    With cached prompts also PT beside the backbone alone; for decoding label scoring beside the release's way.

    Raises:
        DeptError: more virtual tokens than the budget; a method that cannot be at these settings.
    """
    cached = group.way == "cached"
    pt = variant_of(BASELINE, {"num_virtual_tokens": config.budget_tokens}, cache_prompt=cached)
    compared = [*_splits(config, group, cached), *(_other(config, group, name, cached) for name in config.methods)]
    if group.what == "decoding":
        own = [dataclasses.replace(variant, cache_prompt=True) for variant in (pt, *compared)]
        return [
            Pair(group, dataclasses.replace(variant, cache_prompt=False, decoding="release"), variant)
            for variant in own
        ]
    beside_pt = [Pair(group, pt, variant) for variant in compared]
    if cached:
        beside_pt.append(Pair(group, variant_of(BACKBONE), pt))
    return beside_pt


def _splits(config: BenchConfig, group: Group, cached: bool) -> list[Variant]:
    """The default method at each prompt length, with the rank that the budget leaves."""
    hidden_size, variants = backbone_info(group.backbone).hidden_size, []
    for m in config.virtual_tokens:
        rank = rank_for(m, hidden_size, config.max_seq_length, config.budget_tokens)
        if not m and not rank:
            raise ConfigError(
                f"{group.backbone}: m = 0 leaves rank 0 at --max-seq-length {config.max_seq_length}: nothing to train"
            )
        variants.append(variant_of(DEFAULT_METHOD, {"num_virtual_tokens": m, "rank": rank}, cache_prompt=cached))
    return variants


def _other(config: BenchConfig, group: Group, method: str, cached: bool) -> Variant:
    """The variant of another method, with its defaults where nothing is set."""
    facts = known_facts(group.backbone, config.max_seq_length)
    given = {"max_seq_length": config.max_seq_length, "budget_tokens": config.budget_tokens, **config.settings()}
    return variant_of(
        method, method_config(method).from_settings(given).resolved(facts).to_dict(), cache_prompt=cached
    )


def job_of(config: BenchConfig, group: Group, variant: Variant, batches: Sequence[Sequence[int]]) -> MeasureJob:
    """The measurement of one variant; batches as `source_batches` gives them."""
    lengths = Lengths.parse(group.lengths)
    return MeasureJob(
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
        BackboneError: its sizes are not known.
    """
    lengths = Lengths.parse(group.lengths)
    if lengths.kind != "task":
        return None
    return tower_for(load_task(lengths.task), group.backbone.removeprefix(RANDOM), config.vision_backbone)
