"""Batches: every row once, like lengths together, the same on every process, and from any step on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dept.data.batches import TrainBatches, evaluation_batches, in_input_order, length_grouped_batches
from dept.errors import ConfigError, DataError

lengths = st.lists(st.integers(1, 300), min_size=1, max_size=300)
sizes = st.integers(1, 40)


@given(lengths, sizes, st.integers(0, 2**32), st.integers(0, 50))
def test_every_row_once(lengths: list[int], size: int, seed: int, epoch: int) -> None:
    batches = length_grouped_batches(lengths, size, seed=seed, epoch=epoch)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // size)
    assert sum(len(batch) < size for batch in batches) <= 1
    assert batches == length_grouped_batches(lengths, size, seed=seed, epoch=epoch)


def test_like_lengths_together() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 4000)
    batches = length_grouped_batches(lengths, 16, seed=0, epoch=0)
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    assert spread < 5  # of 99; 87 if drawn at random
    means = [lengths[batch].mean() for batch in batches]
    assert abs(np.corrcoef(means, range(len(means)))[0, 1]) < 0.2  # but short ones do not come first


def test_epochs_and_seeds_differ() -> None:
    lengths = [7] * 100
    orders = [length_grouped_batches(lengths, 8, seed=s, epoch=e) for s in (0, 1) for e in (0, 1)]
    assert all(orders[i] != orders[j] for i in range(4) for j in range(i))


@given(lengths, sizes, st.integers(0, 100), st.integers(1, 4))
def test_any_step_is_reached_alone_and_shared(lengths: list[int], size: int, step: int, world: int) -> None:
    all_along = TrainBatches(lengths, size, seed=3)
    sequence = [all_along.batch(i) for i in range(step + 1)]
    resumed = TrainBatches(lengths, size, seed=3)
    assert resumed.batch(step) == sequence[step]
    shares = [TrainBatches(lengths, size, seed=3).share(step, rank, world) for rank in range(world)]
    assert sorted(row for share in shares for row in share) == sorted(sequence[step])
    epoch = all_along.batches_per_epoch
    assert sorted(row for i in range(epoch) for row in resumed.batch(i)) == list(range(len(lengths)))


@given(lengths, sizes)
def test_evaluation_keeps_the_order(lengths: list[int], size: int) -> None:
    batches = evaluation_batches(lengths, size)
    along = [lengths[row] for batch in batches for row in batch]
    assert along == sorted(lengths, reverse=True)
    results = [[f"row {row}" for row in batch] for batch in batches]
    assert in_input_order(batches, results) == [f"row {row}" for row in range(len(lengths))]


def test_what_cannot_be_used() -> None:
    with pytest.raises(DataError, match="no rows"):
        TrainBatches([], 4, seed=0)
    for size in (0, -1):
        with pytest.raises(ConfigError, match="batch_size"):
            length_grouped_batches([1], size, seed=0, epoch=0)
        with pytest.raises(ConfigError, match="batch_size"):
            evaluation_batches([1], size)
    assert evaluation_batches([], 4) == []
    with pytest.raises(ValueError):
        in_input_order([[0, 1]], [["only one"]])
