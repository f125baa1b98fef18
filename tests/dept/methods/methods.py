"""Small settings for every method, and what the tests of all methods share."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from dept.methods.contract import MethodConfig
from dept.methods.registry import method_config, method_names
from dept.prompted import PromptedModel, get_prompted_model
from tests.dept.tiny_models import backbone, padded, tokens

FAMILIES = ("t5", "gpt2", "llama")
SUMS = ("dept+lora", "prompt_tuning+bitfit", "lora+bitfit", "dept+peft")
EVERY_METHOD = (*method_names(), *SUMS)
TARGETS = {"t5": ["q", "v"], "gpt2": ["c_attn"], "llama": ["q_proj", "v_proj"]}
# One value for each setting that a tiny backbone wants smaller; methods take what is theirs.
SMALL = {"num_virtual_tokens": 3, "rank": 2, "max_seq_length": 12, "lora_rank": 2, "adept_rank": 4, "lopt_rank": 2}


def small_config(method: str, family: str, **changes: Any) -> MethodConfig:
    """A method's config for a tiny backbone."""
    peft = json.dumps({"peft_type": "IA3", "target_modules": TARGETS[family], "feedforward_modules": []})
    declared = method_config(method)
    own = {name: value for name, value in SMALL.items() if name in declared.own_settings()}
    return declared.from_settings({**own, "peft_config": peft, **changes})


def fresh(method: str, family: str, /, *, seed: int = 0, **changes: Any) -> PromptedModel:
    """A model of a method as it starts, in eval mode, on a tiny backbone without dropout."""
    torch.manual_seed(seed)
    return get_prompted_model(backbone(family), small_config(method, family, **changes)).eval()


def moved(model: PromptedModel, seed: int = 1) -> PromptedModel:
    """The same with every trained tensor moved off its start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.adapter_tensors().values():
            tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
    return model


def batch(side: str = "right") -> dict[str, Any]:
    """Three sources of 7, 4 and 1 tokens."""
    return padded([tokens(7, 1), tokens(4, 2), tokens(1, 3)], side)


def labelled(model: PromptedModel) -> dict[str, Any]:
    """A batch with targets: the decoder's, or the last two tokens of each row."""
    if model.is_encoder_decoder:
        return {**batch(), "labels": torch.tensor([[5, 1], [6, 1], [7, 1]])}
    rows = padded([tokens(7, 1), tokens(4, 2), tokens(3, 3)], "right")
    labels = rows["input_ids"].masked_fill(rows["attention_mask"] == 0, -100)
    source = rows["attention_mask"].clone()
    for row, count in enumerate(rows["attention_mask"].sum(1).tolist()):
        labels[row, : count - 2] = -100
        source[row, count - 2 :] = 0
    return {**rows, "labels": labels, "source_mask": source}


def loss(model: PromptedModel) -> Tensor:
    """The loss of `labelled`."""
    value: Tensor = model(**labelled(model)).loss
    return value


def learn(model: PromptedModel, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    """Train on the batch of `labelled`; the loss before each step."""
    losses = []
    for _ in range(steps):
        value = loss(model)
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
    return losses


def gradients(model: PromptedModel) -> dict[str, Tensor]:
    """Of every trained tensor, by name."""
    model.zero_grad()
    loss(model).backward()
    return {name: tensor.grad.clone() for name, tensor in model.adapter_tensors().items() if tensor.grad is not None}
