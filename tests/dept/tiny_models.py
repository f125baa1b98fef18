"""Tiny backbones with random weights, in memory, and batches for them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BartConfig,
    GPT2Config,
    LlamaConfig,
    OPTConfig,
    PreTrainedModel,
    T5Config,
)

from dept import DeptConfig, PromptedModel, get_prompted_model

ENCODER_DECODERS = ("t5", "bart")
DECODER_ONLY = ("gpt2", "llama", "opt")
KINDS = (*ENCODER_DECODERS, *DECODER_ONLY)
VOCABULARY, HIDDEN_SIZE, PAD, EOS = 64, 16, 0, 1

_IDS: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "eos_token_id": EOS}
ADAPTER_KEYS = ["soft_prompt.prompt_embeddings", "low_rank_update.low_rank_a", "low_rank_update.low_rank_b"]

_STARTS_WITH_PAD: dict[str, Any] = {"decoder_start_token_id": PAD}


def backbone(kind: str, seed: int = 0, **settings: Any) -> PreTrainedModel:
    """A backbone of a kind, without dropout, whose weights are large enough for its outputs to vary."""
    configs: dict[str, Any] = {
        "t5": lambda: T5Config(
            d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0, **_STARTS_WITH_PAD, **_IDS
        ),
        "bart": lambda: BartConfig(
            d_model=16,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            dropout=0,
            max_position_embeddings=48,
            init_std=0.4,
            decoder_start_token_id=2,
            forced_eos_token_id=None,
            **_IDS,
        ),
        "gpt2": lambda: GPT2Config(
            n_embd=16,
            n_layer=2,
            n_head=2,
            n_positions=48,
            resid_pdrop=0,
            embd_pdrop=0,
            attn_pdrop=0,
            initializer_range=0.4,
            bos_token_id=2,
            **_IDS,
        ),
        "llama": lambda: LlamaConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=48,
            initializer_range=0.4,
            bos_token_id=2,
            **_IDS,
        ),
        "opt": lambda: OPTConfig(
            hidden_size=16,
            word_embed_proj_dim=16,
            ffn_dim=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=48,
            dropout=0,
            init_std=0.4,
            bos_token_id=2,
            **_IDS,
        ),
    }
    config = configs[kind]()
    for name, value in settings.items():
        setattr(config, name, value)
    torch.manual_seed(seed)
    auto: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return auto.from_config(config).eval()


def prompted(kind: str, m: int = 3, r: int = 2, s: int = 12, seed: int = 0, **settings: Any) -> PromptedModel:
    """A prompted backbone whose update is not zero, as if it had been trained."""
    config = DeptConfig(num_virtual_tokens=m, rank=r, max_seq_length=s, budget_tokens=100)
    model = get_prompted_model(backbone(kind, seed, **settings), config)
    generator = torch.Generator().manual_seed(seed)
    if "low_rank_b" in model.adapter_tensors():
        nn.init.normal_(model.low_rank_update.low_rank_b, generator=generator)
    return model.eval()


def generate(model: PromptedModel, **arguments: Any) -> Tensor:
    """The ids that a model generates."""
    ids = model.generate(**arguments)
    assert isinstance(ids, Tensor)
    return ids


def in_dtype(model: nn.Module, dtype: torch.dtype) -> None:
    """Change a backbone's dtype in place."""
    nn.Module.to(model, dtype)


def tokens(length: int, seed: int = 0) -> list[int]:
    """Random ordinary tokens."""
    return torch.randint(3, VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def padded(rows: Sequence[Sequence[int]], side: str = "right", to: int | None = None) -> dict[str, Any]:
    """input_ids and attention_mask of rows padded on one side; padding's ids are not the pad token."""
    width = max(map(len, rows)) if to is None else to
    ids, mask = [], []
    for row in rows:
        gap, ones = [7] * (width - len(row)), [1] * len(row)
        ids.append([*row, *gap] if side == "right" else [*gap, *row])
        mask.append([*ones, *[0] * len(gap)] if side == "right" else [*[0] * len(gap), *ones])
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


def labels_for(model: PromptedModel, batch: dict[str, Tensor]) -> Tensor:
    """Targets of four tokens, or the tokens themselves for a decoder-only backbone."""
    if model.is_encoder_decoder:
        return torch.tensor([tokens(4, seed=90 + row) for row in range(len(batch["input_ids"]))])
    return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_bit_identical(model: nn.Module, before: dict[str, Tensor]) -> None:
    after = model.state_dict()
    assert list(after) == list(before)
    for name, tensor in after.items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name]), name
