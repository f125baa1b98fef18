"""Batches of rows of similar length, so that little is padding; every process makes the same batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from dept.errors import ConfigError, DataError

T = TypeVar("T")
_STRETCH = 50  # batches sorted together: sorting all rows would always put the same rows into one batch


def length_grouped_batches(
    lengths: Sequence[int] | npt.NDArray[np.int64], batch_size: int, *, seed: int, epoch: int
) -> list[list[int]]:
    """One epoch's batches in order: shuffled, rows of similar length together, every row exactly once.

    Args:
        lengths: the number of tokens of each row, [N].
        batch_size: rows in a batch; one batch of the epoch is smaller when N is no multiple of it.
        seed: with `epoch`, decides the order; the same on every process and machine.

    Raises:
        ConfigError: a batch_size below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    lengths = np.asarray(lengths)
    order = generator.permutation(len(lengths))
    stretch = _STRETCH * batch_size
    batches: list[list[int]] = []
    for start in range(0, len(order), stretch):
        part = order[start : start + stretch]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches.extend(part[i : i + batch_size].tolist() for i in range(0, len(part), batch_size))
    return [batches[i] for i in generator.permutation(len(batches))]


class TrainBatches:
    """The endless sequence of global batches. A step's batch can be had without those before it, for resuming.

    Every process makes the same sequence and takes its share of each batch, so no row is lost or repeated.
    """

    def __init__(self, lengths: Sequence[int] | npt.NDArray[np.int64], batch_size: int, *, seed: int) -> None:
        if len(lengths) == 0:
            raise DataError("there are no rows to train on")
        self._lengths = np.asarray(lengths)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0
        self._batches = length_grouped_batches(self._lengths, batch_size, seed=seed, epoch=0)

    @property
    def batches_per_epoch(self) -> int:
        return len(self._batches)

    def batch(self, step: int) -> list[int]:
        """The rows of the global batch at `step` (from 0). Each epoch has its own shuffle."""
        epoch, position = divmod(step, self.batches_per_epoch)
        if epoch != self._epoch:
            self._batches = length_grouped_batches(self._lengths, self._batch_size, seed=self._seed, epoch=epoch)
            self._epoch = epoch
        return self._batches[position]

    def share(self, step: int, rank: int = 0, world: int = 1) -> list[int]:
        """The rows of the batch at `step` that process `rank` of `world` takes.

        Empty when the batch has fewer rows than there are processes.
        """
        return self.batch(step)[rank::world]


def evaluation_batches(lengths: Sequence[int] | npt.NDArray[np.int64], batch_size: int) -> list[list[int]]:
    """All rows once, the longest first: a batch that does not fit in memory fails at once."""
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def in_input_order(batches: Sequence[Sequence[int]], results: Sequence[Sequence[T]]) -> list[T]:
    """The results of all batches, put back into the order of the rows."""
    flat = {
        row: result
        for batch, batch_results in zip(batches, results, strict=True)
        for row, result in zip(batch, batch_results, strict=True)
    }
    return [flat[row] for row in range(len(flat))]
