"""The limits that the operator sets on visitors' runs; they are checked before a run is queued."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dept.basics.settings_file import read_config
from dept.errors import ConfigError
from dept.runs.settings import TrainConfig

ROW_SETTINGS = ("max_train_rows", "max_validation_rows", "max_test_rows")


@dataclass(frozen=True)
class Limits:
    """The operator's limits, all of them whole numbers of at least 1.

    Attributes:
        running: runs that train at once.
        waiting: runs of all visitors that may wait.
        per_visitor: runs of one visitor that may wait or train.
        kept: run folders of all visitors; beyond these, somebody has to delete some first.
        minutes: training time after which a run is stopped (resuming queues it again).
        steps: optimiser steps of a run.
        batch_size: examples of a step and of an evaluation batch.
        seq_length: s, source tokens.
        virtual_tokens: m, and l.
        rank: r, of every method that has one.
        rows: rows of each split, if a run asks for a number of rows; for images from the hub in any case.
        uploads: tables of visitors that are kept at a time; the oldest is deleted first.
        upload_bytes, upload_rows, upload_columns, cell_characters: the size of one such table; upload_bytes also
            limits an image to predict on.
    """

    running: int = 1
    waiting: int = 20
    per_visitor: int = 4
    kept: int = 1000
    minutes: int = 60
    steps: int = 3000
    batch_size: int = 64
    seq_length: int = 512
    virtual_tokens: int = 300
    rank: int = 1000
    rows: int = 20_000
    uploads: int = 100
    upload_bytes: int = 5 * 2**20
    upload_rows: int = 20_000
    upload_columns: int = 100
    cell_characters: int = 20_000

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"limit {name} must be a whole number of at least 1")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Limits with these values, and defaults for the others.

        Raises:
            ConfigError: a name is unknown, or a value is no whole number of at least 1.
        """
        known = [item.name for item in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigError(f"unknown limit {name[:60]!r}; known: {', '.join(known)}")
        return cls(**values)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Limits read from a YAML or JSON file.

        Raises:
            ConfigError: as `from_dict`, or a file that cannot be read.
        """
        return cls.from_dict(read_config(path))

    def check(self, config: TrainConfig) -> None:
        """Refuse a run that exceeds the limits.

        Raises:
            ConfigError: the message names the field and the limit.
        """
        bounds = {
            "max_steps": self.steps,
            "batch_size": self.batch_size,
            "eval_batch_size": self.batch_size,
            "max_seq_length": self.seq_length,
            "num_virtual_tokens": self.virtual_tokens,
            "budget_tokens": self.virtual_tokens,
            **{name: self.rank for name in config.method_class.own_settings() if name.endswith("rank")},
            **dict.fromkeys(ROW_SETTINGS, self.rows),
        }
        for name, most in bounds.items():
            value = getattr(config, name)
            if isinstance(value, int) and value > most:
                raise ConfigError(f"{name} may be at most {most:,} on this machine, not {value:,}")
