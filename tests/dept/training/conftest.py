"""What the tests of training share."""

from __future__ import annotations

from pathlib import Path

import pytest

from dept.runs.settings import TrainConfig


@pytest.fixture
def config(tiny_t5: Path, tmp_path: Path) -> TrainConfig:
    """A run of four steps that takes a second or two."""
    return TrainConfig(
        task="rte",
        backbone=str(tiny_t5),
        data="sample",
        output_dir=str(tmp_path / "run"),
        num_virtual_tokens=4,
        budget_tokens=20,
        max_seq_length=64,
        max_steps=4,
        eval_every=2,
        batch_size=4,
        prompt_lr=0.1,
        low_rank_lr=0.01,
        max_train_rows=16,
        max_validation_rows=8,
        max_test_rows=8,
    )
