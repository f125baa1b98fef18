"""The network of `mini-t5`: a small T5 whose word embeddings are a learnt linear map of frozen features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM, T5Config, T5ForConditionalGeneration

from dept.backbones.random_weights import random_backbone
from dept.basics.labels import IGNORED_LABEL
from lab.pretrain.mixture import WIDTH, Example

HIDDEN_SIZE, HEADS, HEAD_SIZE, LAYERS, DECODER_LAYERS, FEED_FORWARD = 128, 6, 32, 4, 2, 512
PAD, END = 0, 1
_FAR = -1e9  # added to the attention scores of masked positions
_LABELS = 64  # logits are padded to multiples of this, so that few shapes occur
# Relative-position buckets of an encoder (T5): the distance for words before, plus 16 for words after.
_SELF, _BEFORE, _BEHIND = 0, 1, 17
_SHARPNESS = 14.0  # the score of a match: e**14 beside a hundred others of about e**0
_QUIET = 0.3
_GAIN = 2.0


@dataclass(frozen=True)
class Batch:
    """B examples, L tokens of input, T of target.

    input_ids: [B, L]; attention_mask: [B, L]; labels: [B, T], IGNORED_LABEL on padding.
    bags: the positions that sum several words, if there are any.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    bags: Bags | None = None


@dataclass(frozen=True)
class Bags:
    """K positions of a batch, E words in them.

    positions: [K], in the flattened batch; starts: [K], where a position's words begin; ids, weights: [E].
    """

    positions: Tensor
    starts: Tensor
    ids: Tensor
    weights: Tensor


def collate(examples: Sequence[Example]) -> Batch:
    """Pad a batch."""
    width = _multiple(max(example.length for example in examples), WIDTH)
    longest = _multiple(max(len(example.target) for example in examples), 4)
    ids = torch.full((len(examples), width), PAD)
    mask = torch.zeros(len(examples), width, dtype=torch.long)
    labels = torch.full((len(examples), longest), IGNORED_LABEL)
    for row, example in enumerate(examples):
        before = len(example.prefix)
        ids[row, :before] = torch.tensor(example.prefix)
        ids[row, before + len(example.places) : example.length] = torch.tensor(example.source)
        mask[row, : example.length] = 1
        labels[row, : len(example.target)] = torch.tensor(example.target)
    return Batch(ids, mask, labels, _bags(examples, width))


def _bags(examples: Sequence[Example], width: int) -> Bags | None:
    positions: list[int] = []
    starts: list[int] = []
    words: list[tuple[int, float]] = []
    for row, example in enumerate(examples):
        for place, bag in enumerate(example.places):
            positions.append(row * width + len(example.prefix) + place)
            starts.append(len(words))
            words += bag
    if not positions:
        return None
    ids, weights = zip(*words, strict=True)
    return Bags(torch.tensor(positions), torch.tensor(starts), torch.tensor(ids), torch.tensor(weights))


def _multiple(length: int, of: int) -> int:
    return -(-length // of) * of


def config(vocabulary_size: int) -> T5Config:
    """A small T5's config; without dropout, since no example comes twice."""
    shape = T5Config(
        vocab_size=vocabulary_size,
        d_model=HIDDEN_SIZE,
        d_kv=HEAD_SIZE,
        d_ff=FEED_FORWARD,
        num_layers=LAYERS,
        num_decoder_layers=DECODER_LAYERS,
        num_heads=HEADS,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        pad_token_id=PAD,
        eos_token_id=END,
    )
    shape.decoder_start_token_id = PAD
    return shape


def _embedded(batch: Batch, table: Tensor) -> Tensor:
    """Input embeddings, [B * L, D]."""
    x = F.embedding(batch.input_ids.flatten(), table)
    if batch.bags is None:
        return x
    bags = batch.bags
    summed = F.embedding_bag(bags.ids, table, bags.starts, mode="sum", per_sample_weights=bags.weights)
    return x.index_copy(0, bags.positions, summed)


class _Lengths(NamedTuple):
    rows: int
    length: int


def _shifted(labels: Tensor) -> Tensor:
    """The decoder's input [B, T]: the labels shifted by one."""
    before = labels.clamp(min=PAD).roll(1, 1)
    before[:, 0] = PAD
    return before


def _attention(
    module: Any, x: Tensor, memory: Tensor, sizes: Sequence[_Lengths], far_sizes: Sequence[_Lengths],
    biases: Sequence[Tensor],
) -> Tensor:  # fmt: skip
    """T5's attention, [tokens, D]: from each batch's tokens in `x` to the same batch's in `memory`.

    biases: added to the scores, one for each batch, broadcast to [B, heads, T, L].
    """
    parts = [
        tensor.split([size.rows * size.length for size in of])
        for tensor, of in ((module.q(x), sizes), (module.k(memory), far_sizes), (module.v(memory), far_sizes))
    ]
    outputs = []
    for q, k, v, size, far, bias in zip(*parts, sizes, far_sizes, biases, strict=True):
        queries = q.view(size.rows, size.length, HEADS, HEAD_SIZE).transpose(1, 2)
        keys = k.view(far.rows, far.length, HEADS, HEAD_SIZE).permute(0, 2, 3, 1)
        values = v.view(far.rows, far.length, HEADS, HEAD_SIZE).transpose(1, 2)
        weights = (queries @ keys + bias).softmax(-1)
        outputs.append((weights @ values).transpose(1, 2).reshape(-1, HEADS * HEAD_SIZE))
    return module.o(torch.cat(outputs))


class MiniT5(nn.Module):
    """T5 with embeddings `features @ projection`, and a vector of its own for each token in `own`.

    Args:
        features: [V, F], frozen.
        own: ids with a vector of their own: special tokens, names, marks and function words.
        seed: decides the initial weights.
    """

    def __init__(self, features: Tensor, own: Sequence[int], seed: int) -> None:
        super().__init__()
        t5: Any = random_backbone(AutoModelForSeq2SeqLM, config(len(features)), torch.float32, seed)
        _start_with_matching_heads(t5)
        self.encoder, self.decoder = t5.encoder, t5.decoder
        self.encoder.embed_tokens = self.decoder.embed_tokens = None
        generator = torch.Generator().manual_seed(seed)
        spread = torch.randn(features.shape[1], HIDDEN_SIZE, generator=generator)
        self.projection = nn.Parameter(spread / features.norm(dim=1).max())  # [F, D]; words' mean square is then 1
        start = torch.randn(len(own), HIDDEN_SIZE, generator=generator)
        start[features[list(own)].norm(dim=1) > 0.9] = 0.0  # words with features start without a vector of their own
        self.own = nn.Parameter(start)  # [O, D]
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("own_ids", torch.tensor(own), persistent=False)
        self.noise: Tensor | None = None

    def embeddings(self) -> Tensor:
        """All embeddings, [V, D]."""
        features: Any = self.features
        if self.noise is not None:
            features = features + self.noise
        own_ids: Any = self.own_ids
        return (features @ self.projection).float().index_add(0, own_ids, self.own)

    def draw_noise(self, spread: Tensor, seed: int) -> None:
        """Add noise to the words' features, the same wherever a word occurs, until `noise` is set to None.

        The model can then not memorise words, but has to read their properties from directions that many words share.
        Tokens with a vector of their own get no noise.

        Args:
            spread: [F], the standard deviation of each feature's noise.
        """
        features: Any = self.features
        own_ids: Any = self.own_ids
        noise = torch.randn(features.shape, generator=torch.Generator().manual_seed(seed)) * spread
        self.noise = noise.index_fill(0, own_ids, 0.0)

    def forward(self, batches: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """Logits [N, V] of the N labels that are no padding, and these labels [N], in the batches' order.

        It computes the same as transformers' T5, but for batches of different lengths together: linear maps run over
        all tokens at once, attention runs over one batch after the other.
        """
        table = self.embeddings()
        sources = [_Lengths(*batch.input_ids.shape) for batch in batches]
        targets = [_Lengths(*batch.labels.shape) for batch in batches]
        far = [(1.0 - batch.attention_mask[:, None, None, :]) * _FAR for batch in batches]  # [B, 1, 1, L]

        bias = self.encoder.block[0].layer[0].SelfAttention.compute_bias
        biases = [bias(size.length, size.length) + hidden for size, hidden in zip(sources, far, strict=True)]
        x = torch.cat([_embedded(batch, table) for batch in batches])  # [tokens, D]
        for block in self.encoder.block:
            y = block.layer[0].layer_norm(x)
            x = x + _attention(block.layer[0].SelfAttention, y, y, sources, sources, biases)
            x = x + block.layer[1].DenseReluDense(block.layer[1].layer_norm(x))
        encoded = self.encoder.final_layer_norm(x)

        bias = self.decoder.block[0].layer[0].SelfAttention.compute_bias
        biases = [
            bias(size.length, size.length) + torch.full((size.length, size.length), _FAR).triu(1) for size in targets
        ]
        x = F.embedding(torch.cat([_shifted(batch.labels).flatten() for batch in batches]), table)
        for block in self.decoder.block:
            y = block.layer[0].layer_norm(x)
            x = x + _attention(block.layer[0].SelfAttention, y, y, targets, targets, biases)
            y = block.layer[1].layer_norm(x)
            x = x + _attention(block.layer[1].EncDecAttention, y, encoded, targets, sources, far)
            x = x + block.layer[2].DenseReluDense(block.layer[2].layer_norm(x))
        labels = torch.cat([batch.labels.flatten() for batch in batches])
        there = (labels != IGNORED_LABEL).nonzero().squeeze(1)  # [N]
        chosen = self.decoder.final_layer_norm(x[F.pad(there, (0, -len(there) % _LABELS))])
        return ((chosen * HIDDEN_SIZE**-0.5) @ table.T)[: len(there)], labels[there]

    def loss(self, batches: Sequence[Batch]) -> Tensor:
        """Mean cross-entropy of the target tokens; matrices are multiplied in bfloat16, which is fast on CPUs."""
        with torch.autocast("cpu", torch.bfloat16):
            logits, labels = self(batches)
        return F.cross_entropy(logits.float(), labels)

    @torch.no_grad()
    def as_t5(self) -> T5ForConditionalGeneration:
        """The same model as transformers' T5, with plain embeddings in place of features and map."""
        features: Any = self.features
        t5 = T5ForConditionalGeneration(config(len(features)))
        weights = {name: tensor for name, tensor in self.state_dict().items() if name not in ("projection", "own")}
        table = self.embeddings()
        shared = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")
        t5.load_state_dict({**weights, **dict.fromkeys(shared, table)})
        return t5.eval()


@torch.no_grad()
def _start_with_matching_heads(t5: Any) -> None:
    """Initialise the encoder's first layer so that it subtracts from each word the same word elsewhere.

    Heads 0 and 1 attend to the same word at other positions, each by a part of the embedding, and output minus that
    part: a word that occurs elsewhere loses the part, a word without a match keeps it (a mean of different words is
    small). So at step 0 a sum of squares already shows what two sentences share. Heads 2 and 3 attend to the word
    before and the word after; heads 0 and 1 of the decoder attend to its current word in the input.

    Small models learn such heads by themselves, but need thousands of steps (Olsson et al., 2022, "In-context Learning
    and Induction Heads"). All of these weights are trained further.
    """
    for stack in (t5.encoder, t5.decoder):
        for block in stack.block:
            for layer in block.layer:
                for name, weight in layer.named_parameters():
                    if name.endswith((".o.weight", ".wo.weight")):
                        weight *= _QUIET
    size = HEAD_SIZE
    one = torch.eye(HIDDEN_SIZE)
    first = t5.encoder.block[0].layer[0].SelfAttention
    bias = first.relative_attention_bias.weight  # [buckets, heads]
    bias[_SELF, :2] -= 24.0
    bias[_BEFORE, 2] += 7.0
    bias[_BEHIND, 3] += 7.0
    bias[8:16, 4] -= 4.0
    bias[24:, 4] -= 4.0
    # A match scores _SHARPNESS: embeddings have a root mean square of 1, and T5 doesn't divide by sqrt(d_kv).
    both = slice(0, 2 * size)
    first.q.weight[both] = _SHARPNESS / size * one[both]
    first.k.weight[both] = one[both]
    first.v.weight[both] = one[both]
    first.o.weight[:, both] = -one[both].T
    # The remainder's sum of absolute values, along a direction of its own.
    reader = t5.encoder.block[0].layer[1].DenseReluDense
    reader.wi.weight[: 4 * size] = 1.4 * torch.cat([one[both], -one[both]])
    flag = torch.randn(HIDDEN_SIZE, generator=torch.Generator().manual_seed(0))
    reader.wo.weight[:, : 4 * size] = flag[:, None] / (2 * size)
    # Copy the third quarter of the word before into the fourth quarter of the word.
    third, fourth = slice(2 * size, 3 * size), slice(3 * size, 4 * size)
    first.q.weight[third] = 0.0
    first.v.weight[third] = one[third]
    first.o.weight[:, third] = one[fourth].T
    for number, block in enumerate(t5.decoder.block):
        attention = block.layer[1].EncDecAttention
        if number == 0:
            for head in (slice(0, size), slice(size, 2 * size)):
                attention.q.weight[head] = _SHARPNESS / size * one[third]
                attention.k.weight[head] = one[fourth]
        attention.v.weight[both] = one[2 * size :]
        attention.o.weight[:, both] = _GAIN * one[2 * size :].T
