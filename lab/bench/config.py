"""The settings of `dept-lab bench`, and the groups that its measurements form."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from dept.basics.settings_file import parse_value
from dept.errors import ConfigError
from dept.methods.budget import rank_for
from dept.methods.registry import BASELINE, DEFAULT_METHOD, method_config
from lab.bench.lengths import Lengths

WHATS = ("train", "inference", "memory", "decoding")
DEFAULT_BACKBONES = ("random:t5-small",)
PAPER_VIRTUAL_TOKENS = (0, 20, 40, 60, 80)
_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class BenchConfig:
    """Settings of a benchmark.

    Attributes:
        what: train (time and peak memory of optimiser steps), inference (label scoring), memory (peak memory of a few
            optimiser steps, without their time), decoding (label scoring beside the release's two passes).
        backbones: names as `load_backbone` takes them.
        virtual_tokens: DePT's m; each is compared with PT at `budget_tokens`.
        methods: other methods that are compared with PT: names in the registry, or several joined by +.
        method_settings: their settings as name=value; a setting that is missing has its default.
        lengths: texts for `Lengths.parse`.
        batch_size: examples in an optimiser step and in an inference batch.
        budget_tokens: l, the length of the PT prompt whose parameters are matched.
        max_seq_length: s, rows of the update.
        repeats: pairs A B per comparison, each measurement in a fresh process.
        passes: timed passes over the batches of a measurement, after one warm-up pass.
        threads: torch's threads in every measurement; None for torch's default.
        vision_backbone: the image encoder, for tasks with images; None for the backbone's default.
        data, tokenizer: where a task's rows and its tokens come from; the tokenizer defaults to the backbone's.
        dtype: the dtype of the frozen weights.
    """

    what: tuple[str, ...] = ("train", "inference")
    backbones: tuple[str, ...] = DEFAULT_BACKBONES
    virtual_tokens: tuple[int, ...] = PAPER_VIRTUAL_TOKENS
    lengths: tuple[str, ...] = ("padded:256",)
    batch_size: int = 16
    budget_tokens: int = 100
    max_seq_length: int = 256
    repeats: int = 3
    passes: int = 3
    threads: int | None = None
    vision_backbone: str | None = None
    data: str = "sample"
    tokenizer: str | None = None
    dtype: str = "float32"
    seed: int = 42
    quick: bool = False
    methods: tuple[str, ...] = ()
    method_settings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("what", "backbones", "virtual_tokens", "lengths"):
            if not getattr(self, name):
                raise ConfigError(f"--{name.replace('_', '-')} is empty")
        for what in self.what:
            if what not in WHATS:
                raise ConfigError(f"--what: {what!r} is none of {', '.join(WHATS)}")
        if self.dtype not in _DTYPES:
            raise ConfigError(f"--dtype: {self.dtype!r} is none of {', '.join(_DTYPES)}")
        for text in self.lengths:
            tokens = Lengths.parse(text).tokens
            if tokens > self.max_seq_length:
                raise ConfigError(f"--lengths {text}: more than --max-seq-length {self.max_seq_length}")
        least: tuple[tuple[str, int | None], ...] = (
            ("batch_size", self.batch_size),
            ("repeats", self.repeats),
            ("passes", self.passes),
            ("threads", self.threads),
        )
        for name, value in least:
            if value is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be at least 1, not {value}")
        for name in self.methods:
            method_config(name)
            if name in (DEFAULT_METHOD, BASELINE):
                raise ConfigError(f"--methods: {name} is compared anyway; name others")
        self.settings()
        for m in self.virtual_tokens:
            rank_for(m, 1, self.max_seq_length, self.budget_tokens)  # raises for an invalid number

    def settings(self) -> dict[str, Any]:
        """`method_settings` as typed values.

        Raises:
            ConfigError: none of the other methods has the setting, or its value is of the wrong kind.
        """
        known = {name: one for method in self.methods for name, one in method_config(method).own_settings().items()}
        values = {}
        for text in self.method_settings:
            name, equals, value = text.partition("=")
            name = name.strip().replace("-", "_")
            if not equals or name not in known:
                raise ConfigError(f"--set {text}: name=value of one of {', '.join(sorted(known)) or '--methods'}")
            values[name] = parse_value(name, value.strip(), known[name].kind)
        return values

    def as_quick(self) -> "BenchConfig":
        """These settings for a benchmark of a few minutes: one prompt length, few repeats."""
        m = self.virtual_tokens if self.virtual_tokens != PAPER_VIRTUAL_TOKENS else (20,)
        return dataclasses.replace(self, virtual_tokens=m, repeats=min(self.repeats, 2), passes=1, quick=True)


@dataclass(frozen=True)
class Group:
    """Identifies the measurements of one figure, which share what is measured, backbone and inputs.

    Attributes:
        way: for inference with decoder-only backbones `plain` (the prompt is computed for every batch, as in the
            paper) or `cached`; else empty.
    """

    what: str
    backbone: str
    lengths: str
    way: str = ""

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.what, self.backbone, self.lengths, self.way) if part)
