"""What a training step and an inference batch cost, from the backbone's shape alone: FLOPs and activation bytes.

Plain arithmetic: nothing here needs torch, so a page can draw it anew as a slider moves. The tests hold it against
counts of real steps.

FLOPs are those of the matrix products, two for each multiply and add, as torch's `FlopCounterMode` counts them (causal
attention in full). Frozen weights have no gradient of their own, so backward is one product for each weight; it is two
for each of attention's two, and one more where a fused kernel computes the scores again.

Bytes are those of float32 on a CPU, with transformers' layers as they are (sdpa attention, no gradient checkpointing).
Training: what autograd keeps for the backward pass, parameters aside. Inference: the most that the results of
operators hold at one time. A kernel's own workspace and the allocator's slack are in neither
(`dept.costs.activations`).

Of an image its encoder's features are read, between prompt and text, through the trained projection; the encoder's own
look at it comes once, whatever the number of steps (`TowerInfo.flops`), and is in neither.

Letters: B rows, N positions read (virtual ones and an image's included), K keys attended to, T target tokens, d hidden
size, i heads x head size, k key/value heads x head size, f width of the feed-forward layer, V vocabulary.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from dept.backbones.shape import Shape
from dept.backbones.tower_sizes import TowerInfo
from dept.costs.activations import (
    kept_by_decoder,
    kept_by_stack,
    live_in_decoder_only,
    live_in_encoder_decoder,
    unkept_before_projections,
)
from dept.errors import BudgetError
from dept.methods.contract import Footprint, Start

Decoding = Literal["label_scoring", "generate"]

_FLOAT = 4  # bytes


@dataclass(frozen=True)
class Cost:
    """What one step or one batch takes.

    Attributes:
        flops: of all its matrix products.
        activation_bytes: kept for backward (training), or live at the peak (inference).
    """

    flops: int
    activation_bytes: int


def step_cost(
    shape: Shape,
    num_virtual_tokens: int,
    rank: int,
    source_length: int,
    batch_size: int,
    target_length: int = 2,
    *,
    added: Footprint | None = None,
    tower: TowerInfo | None = None,
    padding: bool = True,
) -> Cost:
    """One training step: forward, and backward through the frozen weights to what is trained.

    With a prompt or an update the input of every layer needs its gradient, that of the first one too, since they sit
    before it. A, B and the optimiser work on some thousand numbers; of these only A·B is counted.

    Args:
        source_length: tokens of the longest source of the batch, to which the others are padded.
        target_length: tokens of the longest target (a digit and end-of-text are 2). A decoder-only backbone reads
            them after the source, and computes logits for one position more.
        added: what a method adds inside the backbone, and where its trained things begin. Its positions and rank are
            not read: they are arguments of their own.
        tower: the image encoder, of a task with images.
        padding: whether any source of the batch is shorter than the longest.

    Raises:
        BudgetError: a number out of range, or neither prompt, update nor anything added.
    """
    _check(num_virtual_tokens, rank, source_length, batch_size, target_length)
    if not num_virtual_tokens and not rank and added is None:
        raise BudgetError("num_virtual_tokens and rank are both 0: there is nothing to train")
    extra = added or Footprint()
    tokens = source_length + (0 if shape.is_encoder_decoder else target_length)
    positions = num_virtual_tokens + (tower.positions if tower else 0) + tokens
    logits = target_length + (0 if shape.is_encoder_decoder else 1)

    linear, pairs = _stack(shape, batch_size * positions, batch_size * positions**2)
    unneeded = _unneeded_backward(shape, extra.start, batch_size, positions)
    if shape.is_encoder_decoder:
        more, more_pairs = _decoder(shape, batch_size, batch_size * positions, target_length, target_length**2)
        linear, pairs = linear + more, pairs + more_pairs
        unneeded += _unneeded_backward(shape, extra.decoder_start, batch_size, target_length)
        if extra.decoder_start is Start.LATER:
            unneeded += _unneeded_queries(shape, batch_size, target_length, positions)
    linear += 2 * batch_size * logits * shape.hidden_size * shape.vocab_size
    attention = 4 * shape.query_size * pairs
    backward = linear + (2 * attention if shape.attention_dropout else attention * 5 // 2) - unneeded
    update = 3 * 2 * tokens * rank * shape.hidden_size  # A·B, and the gradients of A and B
    projection = 2 * _projection(shape, tower, batch_size)  # and the gradient of its weight
    inside = 3 * batch_size * positions * extra.flops_per_token  # forward, and the gradients of weights and inputs

    kept = kept_by_stack(shape, batch_size, positions, padding)
    if shape.is_encoder_decoder:
        kept += kept_by_decoder(shape, batch_size, target_length, positions, padding)
    kept += batch_size * logits * (shape.vocab_size + 2)  # the loss: log-probabilities, and labels in 8 bytes
    kept += batch_size * positions * extra.kept_per_token
    if extra.start is not Start.EMBEDDINGS:
        kept -= unkept_before_projections(shape, batch_size, positions)
    kept += batch_size * tokens * 2 if rank else 0  # which row of the update each token has, in 8 bytes
    kept += batch_size * tower.positions * tower.width if tower else 0
    if shape.is_encoder_decoder:
        inside += 3 * batch_size * target_length * extra.flops_per_target_token
        kept += batch_size * target_length * extra.kept_per_target_token
    return Cost(linear + attention + backward + update + projection + inside, kept * _FLOAT)


def inference_cost(
    shape: Shape,
    num_virtual_tokens: int,
    rank: int,
    source_length: int,
    batch_size: int,
    target_length: int = 2,
    *,
    decoding: Decoding = "label_scoring",
    cached_prompt: bool = True,
    branches: int = 1,
    prefix_length: int = 0,
    added: Footprint | None = None,
    tower: TowerInfo | None = None,
    padding: bool = True,
) -> Cost:
    """One batch of predictions. A·B, and a cached prompt's own keys and values, are computed beforehand.

    Args:
        rank: makes no difference here, for A·B is multiplied once.
        source_length: tokens of the longest source of the batch.
        target_length: new tokens of `decoding="generate"`; label scoring computes none.
        decoding: "label_scoring" computes the labels' logits in one pass, "generate" a token at a time with a cache
            of keys and values.
        cached_prompt: whether a decoder-only backbone reuses the prompt's keys and values; encoder-decoders cannot.
        branches: places where the labels' tokens part, and `prefix_length` the most tokens before one
            (`dept.evaluation.label_scoring`); labels that differ in their first token have one, without a prefix.
        added: as for `step_cost`; of its FLOPs alone, what it holds in memory is left out.
        tower: the image encoder, of a task with images.
        padding: whether any source of the batch is shorter than the longest.

    Raises:
        BudgetError: a number out of range, or an unknown decoding.
    """
    _check(num_virtual_tokens, rank, source_length, batch_size, target_length)
    if branches < 1 or prefix_length < 0:
        raise BudgetError("branches must be at least 1 and prefix_length at least 0")
    if decoding not in get_args(Decoding):
        raise BudgetError(f"decoding must be one of {', '.join(get_args(Decoding))}, not {decoding!r}")
    generates, extra = decoding == "generate", added or Footprint()
    rows = batch_size if generates else batch_size * branches
    keys = num_virtual_tokens + (tower.positions if tower else 0) + source_length
    if shape.is_encoder_decoder:
        targets = target_length if generates else 1 + prefix_length
        own_pairs = targets * (targets + 1) // 2 if generates else targets**2
        linear, pairs = _stack(shape, batch_size * keys, batch_size * keys**2)
        more, more_pairs = _decoder(shape, rows, rows * keys, targets, own_pairs)
        linear, pairs = linear + more, pairs + more_pairs
        linear += batch_size * keys * extra.flops_per_token + rows * targets * extra.flops_per_target_token
        live = live_in_encoder_decoder(shape, batch_size, rows, keys, targets, generates, padding)
    else:
        reused = num_virtual_tokens if cached_prompt else 0
        keys += 0 if generates else prefix_length
        steps = target_length - 1 if generates else 0  # after the first token, each in a pass of its own
        queries = keys - reused
        step_pairs = steps * keys + steps * (steps + 1) // 2
        linear, pairs = _stack(shape, rows * (queries + steps), rows * (queries * keys + step_pairs))
        linear += rows * (queries + steps) * extra.flops_per_token
        masked = padding or reused > 0 or (branches > 1 and not generates)
        live = live_in_decoder_only(shape, rows, queries, keys, steps, generates, masked)
    if generates:  # label scoring computes the logits of a few tokens in place of the vocabulary's
        linear += 2 * rows * target_length * shape.hidden_size * shape.vocab_size
    linear += _projection(shape, tower, batch_size if shape.is_encoder_decoder else rows)
    return Cost(linear + 4 * shape.query_size * pairs, live * _FLOAT)


def _projection(shape: Shape, tower: TowerInfo | None, rows: int) -> int:
    """From the features of each row's image to embeddings."""
    return 2 * rows * tower.positions * tower.width * shape.hidden_size if tower else 0


def _check(num_virtual_tokens: int, rank: int, source_length: int, batch_size: int, target_length: int) -> None:
    for name, value, least in (
        ("num_virtual_tokens", num_virtual_tokens, 0),
        ("rank", rank, 0),
        ("source_length", source_length, 1),
        ("batch_size", batch_size, 1),
        ("target_length", target_length, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BudgetError(f"{name} must be a whole number of at least {least}, not {value!r}")


def _stack(shape: Shape, positions: int, pairs: int) -> tuple[int, int]:
    """Encoder or decoder-only layers: FLOPs of their linear maps, 2 * N * (d*(i + 2k) + i*d + d*f*(2 or 3)) a layer,
    and the pairs of query and key that they attend over (4 * i FLOPs each: scores, then values)."""
    attention = shape.hidden_size * 2 * (shape.query_size + shape.kv_size)
    feed_forward = shape.hidden_size * shape.ff_size * (3 if shape.gated else 2)
    return shape.layers * 2 * positions * (attention + feed_forward), shape.layers * pairs


def _decoder(shape: Shape, rows: int, source_positions: int, targets: int, own_pairs: int) -> tuple[int, int]:
    """As `_stack` for T5's decoder: its own attention, attention over the source, feed-forward.

    Keys and values of the source are two d*i products at each of its positions, in every layer.
    """
    square = shape.hidden_size * shape.query_size
    own = 4 * square + 2 * square + shape.hidden_size * shape.ff_size * (3 if shape.gated else 2)
    linear = 2 * rows * targets * own + 2 * source_positions * 2 * square
    return shape.decoder_layers * linear, shape.decoder_layers * (rows * own_pairs + source_positions * targets)


def _unneeded_backward(shape: Shape, start: Start, rows: int, positions: int) -> int:
    """What a stack's first layer need not compute, since nothing trained lies before it.

    From `Start.PROJECTIONS` on the gradient of the frozen input of its queries, keys and values; with `Start.LATER`
    all of its own attention.
    """
    if start is Start.EMBEDDINGS:
        return 0
    unneeded = 2 * rows * positions * shape.hidden_size * (shape.query_size + 2 * shape.kv_size)
    if start is Start.LATER:
        unneeded += 2 * rows * positions * shape.hidden_size * shape.query_size
        unneeded += (8 if shape.attention_dropout else 10) * shape.query_size * rows * positions**2
    return unneeded


def _unneeded_queries(shape: Shape, rows: int, targets: int, keys: int) -> int:
    """The same of the attention over the source in T5's first decoder layer: its queries come of frozen embeddings."""
    unneeded = 2 * rows * targets * shape.hidden_size * shape.query_size
    return unneeded + (2 * shape.query_size * rows * targets * keys if shape.attention_dropout else 0)
