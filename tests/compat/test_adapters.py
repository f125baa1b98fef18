"""Stored adapters of each form load on the backbone that they were made for, and give the logits that they gave."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dept import PromptedModel, load_backbone
from tests.compat.helpers import ADAPTERS, COMPLETED, STOPPED, STORED, logits, read

TENSORS = {
    "dept": ["prompt_embeddings", "low_rank_a", "low_rank_b"],
    "prompt_tuning": ["prompt_embeddings"],
    "peft": ["prompt_embeddings"],
    "release": ["prompt_embeddings", "low_rank_a", "low_rank_b"],
}


@pytest.fixture(scope="module")
def backbone() -> Any:
    return load_backbone("mini-t5")[0]


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_gives_the_stored_logits(name: str, backbone: Any) -> None:
    model = PromptedModel.from_pretrained(backbone, STORED / "adapters" / name)
    assert sorted(key.rpartition(".")[2] for key in model.state_dict()) == sorted(TENSORS[name])
    stored = torch.tensor(read(STORED / "adapters" / "logits.json")[name])
    torch.testing.assert_close(logits(model), stored, rtol=1e-4, atol=1e-4)


def test_the_stored_logits_tell_the_adapters_apart() -> None:
    stored = [torch.tensor(values) for values in read(STORED / "adapters" / "logits.json").values()]
    assert len(stored) == len(ADAPTERS)
    for index, values in enumerate(stored):
        assert all((values - other).abs().max() > 0.1 for other in stored[:index])


@pytest.mark.parametrize("name", [*COMPLETED, *STOPPED])
def test_the_adapter_of_a_run_loads(name: str, backbone: Any) -> None:
    model = PromptedModel.from_pretrained(backbone, STORED / "runs" / name / "adapter")
    size = sum(tensor.numel() for tensor in model.state_dict().values())
    assert size == read(STORED / "runs" / name / "result.json")["trainable_parameters"]
