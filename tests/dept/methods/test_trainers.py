"""transformers' Trainer around methods that act inside the backbone: checkpoints, resuming, the best model."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import Trainer

from dept import PromptedModel, build_groups
from tests.dept.methods.methods import fresh
from tests.dept.model.test_trainers import arguments, collate, rows
from tests.dept.tiny_models import snapshot
from tests.support import cases

METHODS = ("lora", "bitfit", "dept+lora")
QUICK = (("lora", "t5"), ("bitfit", "gpt2"))
SIZES: dict[str, Any] = {"lora_rank": 2, "lora_dropout": 0.0, "max_seq_length": 12, "num_virtual_tokens": 3, "rank": 2}

over_both = pytest.mark.parametrize(
    ("method", "family"), cases(itertools.product(METHODS, ("t5", "gpt2")), lambda *pair: pair in QUICK)
)


def trainer(method: str, family: str, folder: Path, score: Callable[[], float] | None = None, **more: Any) -> Trainer:
    settings = {name: value for name, value in SIZES.items() if "lora" in method or not name.startswith("lora")}
    model = fresh(method, family, **settings)
    return Trainer(
        model=model,
        args=arguments(folder, **more),
        data_collator=lambda batch: collate(family, batch),
        train_dataset=rows(family),
        eval_dataset=rows(family, 6),
        optimizers=(build_groups(model, dict.fromkeys(model.grouped_tensors(), 0.02)), None),
        compute_metrics=None if score is None else lambda prediction: {"score": score()},
    )


def adapter_of(run: Trainer) -> dict[str, Tensor]:
    assert isinstance(run.model, PromptedModel)
    return snapshot(run.model)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@over_both
def test_a_checkpoint_resumes_as_if_undisturbed(method: str, family: str, tmp_path: Path) -> None:
    whole = trainer(method, family, tmp_path / "whole")
    assert isinstance(whole.model, PromptedModel)
    frozen = snapshot(whole.model.backbone)
    whole.train()
    halted = trainer(method, family, tmp_path / "halted", save_strategy="steps", save_steps=3)
    halted.train()
    assert same(adapter_of(whole), adapter_of(halted))
    checkpoint = tmp_path / "halted" / "checkpoint-3"
    assert load_file(checkpoint / "model.safetensors").keys() == adapter_of(whole).keys()
    resumed = trainer(method, family, tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert same(adapter_of(whole), adapter_of(resumed))
    assert same(frozen, snapshot(whole.model.backbone))


@over_both
def test_the_best_model_is_loaded_at_the_end(method: str, family: str, tmp_path: Path) -> None:
    scores = iter([0.1, 0.7, 0.5, 0.2])
    every_step: dict[str, Any] = {"save_strategy": "steps", "eval_strategy": "steps", "save_steps": 1, "eval_steps": 1}
    run = trainer(
        method,
        family,
        tmp_path,
        lambda: next(scores),
        load_best_model_at_end=True,
        metric_for_best_model="score",
        max_steps=4,
        **every_step,
    )
    run.train()
    best, last = (load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors") for step in (2, 4))
    assert same(adapter_of(run), best) and not same(best, last)
