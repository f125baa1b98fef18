"""Tiny backbones with a tokenizer, as folders on disk; tests/conftest.py makes each once a session."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    T5Config,
)

from dept.tasks.sample import sample_rows

VOCABULARY = 400


def tiny_tokenizer(*, ends_with_eos: bool) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer; T5's kind ends every text with the end-of-text token."""
    texts = [str(value) for row in sample_rows("sst2", "train", 100) for value in row.values()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<pad>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if ends_with_eos:
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>")


def _saved(folder: Path, config: PretrainedConfig) -> Path:
    torch.manual_seed(0)
    kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    kind.from_config(config).save_pretrained(folder)
    tiny_tokenizer(ends_with_eos=bool(config.is_encoder_decoder)).save_pretrained(folder)
    return folder


def tiny_t5(folder: Path) -> Path:
    """A T5 folder: 2 + 2 layers, d = 32, dropout 0.1 as T5 has it."""
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        pad_token_id=0,
        eos_token_id=1,
    )
    config.decoder_start_token_id = 0
    return _saved(folder, config)


def tiny_gpt2(folder: Path) -> Path:
    """A GPT-2 folder: 2 layers, d = 32, 512 positions."""
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=512,
        n_embd=32,
        n_layer=2,
        n_head=4,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
    )
    return _saved(folder, config)


def tiny_llama(folder: Path) -> Path:
    """A LLaMA folder: 2 layers, d = 32, grouped keys and values."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=1,
        pad_token_id=0,
    )
    return _saved(folder, config)
