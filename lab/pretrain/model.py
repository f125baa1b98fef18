"""The network of `mini-t5`: a small T5 whose word embeddings are one learnt map of frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

from dept.loss import IGNORED_LABEL
from dept.random_weights import random_backbone
from lab.pretrain.mixture import WIDTH, Example

HIDDEN_SIZE, HEADS, LAYERS, DECODER_LAYERS, FEED_FORWARD = 128, 4, 4, 2, 512
PAD, END = 0, 1
_LABELS = 64  # logits are made for multiples of so many: few shapes, as in `batches`
# Relative-position buckets of an encoder (T5): the distance for words before, 16 more for words behind.
_SELF, _BEFORE, _BEHIND = 0, 1, 17


@dataclass(frozen=True)
class Batch:
    """B examples, L tokens of input, T of target.

    input_ids: [B, L]; blur_ids: [B, L], what a position is mixed with; clarity: [B, L], its own share.
    attention_mask: [B, L]; labels: [B, T], IGNORED_LABEL on padding.
    """

    input_ids: Tensor
    blur_ids: Tensor
    clarity: Tensor
    attention_mask: Tensor
    labels: Tensor


def collate(examples: Sequence[Example], blur: Sequence[int]) -> Batch:
    """Pad a batch; `blur` holds a word for each example, which blurred names are mixed with."""
    width = _multiple(max(example.length for example in examples), WIDTH)
    longest = _multiple(max(len(example.target) for example in examples), 4)
    ids = torch.full((len(examples), width), PAD)
    clarity = torch.ones(len(examples), width)
    mask = torch.zeros(len(examples), width, dtype=torch.long)
    labels = torch.full((len(examples), longest), IGNORED_LABEL)
    for row, example in enumerate(examples):
        prefix = [token for token, _ in example.prefix]
        ids[row, : example.length] = torch.tensor(prefix + example.source)
        clarity[row, : len(prefix)] = torch.tensor([share for _, share in example.prefix])
        mask[row, : example.length] = 1
        labels[row, : len(example.target)] = torch.tensor(example.target)
    return Batch(ids, torch.tensor(blur)[:, None].expand_as(ids), clarity, mask, labels)


def _multiple(length: int, of: int) -> int:
    return -(-length // of) * of


def config(vocabulary_size: int) -> T5Config:
    """T5's shape, small; no dropout, since no example comes twice."""
    made = T5Config(
        vocab_size=vocabulary_size,
        d_model=HIDDEN_SIZE,
        d_kv=HIDDEN_SIZE // HEADS,
        d_ff=FEED_FORWARD,
        num_layers=LAYERS,
        num_decoder_layers=DECODER_LAYERS,
        num_heads=HEADS,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        pad_token_id=PAD,
        eos_token_id=END,
    )
    made.decoder_start_token_id = PAD
    return made


class MiniT5(nn.Module):
    """T5 with embeddings `features @ projection`, and a vector of its own for each token in `own`.

    Args:
        features: [V, F], frozen.
        own: ids of special tokens, names, marks and function words.
        seed: of the initial weights.
    """

    def __init__(self, features: Tensor, own: Sequence[int], seed: int) -> None:
        super().__init__()
        t5: Any = random_backbone(AutoModelForSeq2SeqLM, config(len(features)), torch.float32, seed)
        _start_with_copying_heads(t5)
        self.encoder, self.decoder = t5.encoder, t5.decoder
        self.encoder.embed_tokens = self.decoder.embed_tokens = None
        generator = torch.Generator().manual_seed(seed)
        self.projection = nn.Parameter(torch.randn(features.shape[1], HIDDEN_SIZE, generator=generator))  # [F, D]
        start = torch.randn(len(own), HIDDEN_SIZE, generator=generator)
        start[features[list(own)].norm(dim=1) > 0.9] = 0.0  # words: their features say enough
        self.own = nn.Parameter(start)  # [O, D]
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("own_ids", torch.tensor(own), persistent=False)

    def embeddings(self) -> Tensor:
        """[V, D]."""
        features: Any = self.features
        own_ids: Any = self.own_ids
        return (features @ self.projection).float().index_add(0, own_ids, self.own)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Logits of the N labels that are no padding, [N, V], and these labels, [N]."""
        table = self.embeddings()
        inputs = F.embedding(batch.input_ids, table)
        share = batch.clarity[..., None]
        if bool((batch.clarity < 1).any()):
            inputs = share * inputs + (1 - share) * F.embedding(batch.blur_ids, table)
        encoded = self.encoder(inputs_embeds=inputs, attention_mask=batch.attention_mask).last_hidden_state
        before = batch.labels.clamp(min=PAD).roll(1, 1)
        before[:, 0] = PAD
        decoded = self.decoder(
            inputs_embeds=F.embedding(before, table),
            encoder_hidden_states=encoded,
            encoder_attention_mask=batch.attention_mask,
            use_cache=False,
        ).last_hidden_state  # [B, T, D]
        there = (batch.labels != IGNORED_LABEL).flatten().nonzero().squeeze(1)  # [N]
        chosen = decoded.flatten(0, 1)[F.pad(there, (0, -len(there) % _LABELS))]
        return ((chosen * HIDDEN_SIZE**-0.5) @ table.T)[: len(there)], batch.labels.flatten()[there]

    def loss(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of a target token; matrices are multiplied in bfloat16, which CPUs do fast."""
        with torch.autocast("cpu", torch.bfloat16):
            logits, labels = self(batch)
        return F.cross_entropy(logits.float(), labels)

    @torch.no_grad()
    def as_t5(self) -> T5ForConditionalGeneration:
        """The same model as transformers has it: the embeddings are numbers now, the features are gone."""
        features: Any = self.features
        t5 = T5ForConditionalGeneration(config(len(features)))
        weights = {name: tensor for name, tensor in self.state_dict().items() if name not in ("projection", "own")}
        table = self.embeddings()
        shared = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
        t5.load_state_dict({**weights, **dict.fromkeys(shared, table)})
        return t5.eval()


@torch.no_grad()
def _start_with_copying_heads(t5: Any) -> None:
    """Heads 0 and 1 of each encoder layer start by looking for the same word elsewhere, 2 at the word before,
    3 at the word behind; heads 0 and 1 of the decoder look for its own word in the input.

    Small models find these heads at last, but need thousands of steps to (Olsson et al., 2022, "In-context Learning
    and Induction Heads"). The numbers are a start: all of it is trained.
    """
    bias = t5.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight  # [buckets, heads]
    bias[_SELF, :2] -= 8.0
    bias[_BEFORE, 2] += 3.0
    bias[_BEHIND, 3] += 3.0
    rows = slice(0, 2 * HIDDEN_SIZE // HEADS)
    # T5 divides the query by sqrt(d_kv) at the start instead of the score.
    scale = (HIDDEN_SIZE // HEADS) ** -0.5
    for block in t5.encoder.block:
        attention = block.layer[0].SelfAttention
        attention.q.weight[rows] = 2 * scale * attention.k.weight[rows]  # sharp: what has no match stands out
    for block in t5.decoder.block:
        attention = block.layer[1].EncDecAttention
        attention.q.weight[rows] = scale * attention.k.weight[rows]
