"""Tiny backbones with prompts, and what the tests of the adapter folder ask of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

from dept.errors import AdapterError
from dept.methods.contract import MethodConfig
from dept.methods.dept import DeptConfig
from dept.methods.prompt_tuning import PromptTuningConfig
from dept.prompted import PromptedModel, get_prompted_model

DEPT = DeptConfig(num_virtual_tokens=3, rank=2, max_seq_length=12, low_rank_alpha=4, budget_tokens=10)
PT = PromptTuningConfig(num_virtual_tokens=5)
OURS = ["README.md", "adapter_config.json", "adapter_model.safetensors"]


def t5(seed: int = 0, d_model: int = 32, **changes: Any) -> T5ForConditionalGeneration:
    torch.manual_seed(seed)
    sizes = {"vocab_size": 64, "d_model": d_model, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 4}
    config = T5Config.from_dict({**sizes, **changes, "decoder_start_token_id": 0})
    return T5ForConditionalGeneration(config).eval()


def gpt2(seed: int = 0) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=0)
    return GPT2LMHeadModel(config).eval()


def prompted(backbone: Any, config: MethodConfig) -> PromptedModel:
    torch.manual_seed(1)
    model = get_prompted_model(backbone, config).eval()
    with torch.no_grad():
        for tensor in model.adapter_tensors().values():
            tensor.add_(torch.randn_like(tensor))
    return model


def outputs(model: Any) -> Tensor:
    """Logits on a right-padded batch, on the attended positions."""
    input_ids = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 0, 0, 0]])
    mask = torch.tensor([[1] * 6, [1] * 3 + [0] * 3])
    labels = torch.tensor([[3, 4, 1], [5, 1, -100]]) if model.config.is_encoder_decoder else None
    with torch.no_grad():
        logits: Tensor = model(input_ids=input_ids, attention_mask=mask, labels=labels).logits
    if labels is not None:
        return logits
    virtual = logits.shape[1] - mask.shape[1]
    attended = torch.cat([torch.ones(2, virtual, dtype=torch.long), mask], dim=1)
    return logits[attended.bool()]


def names(folder: Path | str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def edit(folder: Path, file: str = "adapter_config.json", **changes: Any) -> None:
    path = folder / file
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))


def refused(folder: Path | str, backbone: Any, *words: str) -> str:
    """The message with which an adapter is refused: one or two lines that hold all the words."""
    with pytest.raises(AdapterError) as caught:
        PromptedModel.from_pretrained(backbone, folder)
    message = str(caught.value)
    assert len(message.splitlines()) <= 2 and len(message) < 1000
    for word in words:
        assert word in message
    return message
