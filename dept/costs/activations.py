"""How many float32 values the layers of a backbone hold: kept for backward, or live at the peak of inference.

Read off transformers' layers and torch's CPU kernels (transformers 5.23, torch 2.13), tensor by tensor; the tests
count them on real steps: in training with `saved_tensors_hooks` (each storage once, parameters and buffers aside), in
inference with a dispatch mode that sees every operator's result come and go. What an operator uses within itself,
such as sdpa's mask as floats, is not seen there. Small whole-number tensors (token ids, positions) are left out.

Letters as in `dept.costs.flops`.
"""

from dept.backbones.shape import Shape

# Width-f tensors that each activation keeps for backward, and that are live at its busiest moment. transformers writes
# gelu_new out in Python: the cube, the tanh and both factors of the last product are tensors of their own.
_KEPT = {"relu": 1, "gelu": 1, "silu": 1, "gelu_new": 4}
_LIVE = {"relu": 2, "gelu": 2, "silu": 2, "gelu_new": 4}
# Width-d tensors that are live in a feed-forward layer: the embeddings, the layer's input, the sum after attention and
# its norm; GPT-2 also holds the position embeddings and attention's result.
_STREAMS = {"t5": 4, "gpt2": 6, "llama": 4}


def _kept_by_attention(shape: Shape, rows: int, queries: int, keys: int, mask: int) -> int:
    """Float32 values that one attention keeps for backward.

    Fused: queries, keys, values, the result, a normaliser for each row and head, and the mask as floats. Not fused,
    as with dropout on a CPU: queries, keys, values; the scores after softmax, the dropout's noise and their product.
    Grouped keys and values are repeated for each query head wherever there is a mask or no fused kernel.

    Args:
        mask: how many values the mask has.
    """
    repeated = shape.attention_dropout > 0 or (mask > 0 and shape.kv_heads > 1)  # a single head is seen many times
    key_values = rows * keys * 2 * (shape.query_size if repeated else shape.kv_size)
    if shape.attention_dropout and shape.family == "gpt2" and rows == 1:
        key_values += 2 * keys * shape.query_size  # a single row's values stay within the projection's whole output
    if shape.attention_dropout:
        return rows * queries * shape.query_size + key_values + 3 * rows * shape.heads * queries * keys
    return rows * queries * (2 * shape.query_size + shape.heads) + key_values + mask


def _kept_by_feed_forward(shape: Shape) -> int:
    """Float32 values a position: the norm's input, what the activation keeps, the product's factors, dropouts."""
    kept = _KEPT[shape.activation]
    if shape.gated:
        kept += 1 if shape.activation == "relu" else 2  # relu keeps its result, which is a factor already
    values = shape.hidden_size + _norm(shape) + kept * shape.ff_size
    if shape.dropout:
        values += shape.hidden_size + (shape.ff_size if shape.family == "t5" else 0)
    return values


def _norm(shape: Shape) -> int:
    """Values a position beside a norm's input: the scale, and in GPT-2 the mean."""
    return 2 if shape.family == "gpt2" else 1


def _mask(shape: Shape, rows: int, queries: int, keys: int, padding: bool) -> int:
    """Values of an attention mask: T5 adds its position bias to it, the others need one for padding only."""
    if shape.family == "t5":
        return (rows if padding else 1) * shape.heads * queries * keys
    return rows * queries * keys if padding else 0


def kept_by_stack(shape: Shape, rows: int, positions: int, padding: bool) -> int:
    """Float32 values that encoder or decoder-only layers keep for backward, final norm and dropouts included."""
    around = shape.hidden_size + _norm(shape)  # of the norm before attention
    outer = around
    if shape.dropout:
        around += shape.hidden_size
        outer += shape.hidden_size * (2 if shape.family == "t5" else 1)  # of the embeddings; T5: of the result too
    if shape.family == "llama":
        outer += 2 * shape.head_size  # rotary cosines and sines
    mask = _mask(shape, rows, positions, positions, padding)
    attention = _kept_by_attention(shape, rows, positions, positions, mask)
    each = rows * positions * (around + _kept_by_feed_forward(shape)) + attention
    return shape.layers * each + rows * positions * outer


def unkept_before_projections(shape: Shape, rows: int, positions: int) -> int:
    """Float32 values of a stack's first norm and of the embeddings' dropout, where they need no gradient."""
    return rows * positions * (shape.hidden_size * (2 if shape.dropout else 1) + _norm(shape))


def kept_by_decoder(shape: Shape, rows: int, targets: int, keys: int, padding: bool) -> int:
    """Float32 values that T5's decoder keeps; what its first layer computes before it reads the source is not."""
    around = shape.hidden_size + _norm(shape) + (shape.hidden_size if shape.dropout else 0)
    own = rows * targets * around + _kept_by_attention(
        shape, rows, targets, targets, _mask(shape, 1, targets, targets, padding)
    )
    cross = rows * targets * around
    cross += _kept_by_attention(shape, rows, targets, keys, _mask(shape, rows, targets, keys, padding))
    feed_forward = rows * targets * _kept_by_feed_forward(shape)
    first = own + rows * targets * (shape.hidden_size + _norm(shape))
    if shape.attention_dropout:
        first += rows * keys * shape.query_size  # only the queries are kept for the gradient of the keys
    return shape.decoder_layers * (own + cross + feed_forward) - first + rows * targets * around


def _live_in_feed_forward(shape: Shape) -> int:
    """Float32 values a position: the width-d tensors around it, and the activation's at its busiest."""
    inner = _LIVE[shape.activation] * shape.ff_size
    if shape.gated:  # the product and its factors; T5 holds on to all three while it projects back
        inner = max(inner, 3 * shape.ff_size + (shape.hidden_size if shape.family == "t5" else 0))
    return _STREAMS[shape.family] * shape.hidden_size + inner


def _live_in_layer(shape: Shape, rows: int, queries: int, keys: int, masked: bool, cached: bool) -> int:
    """Float32 values that are live in a layer at its busier moment: attention, or the feed-forward layer.

    Attention holds the embeddings, the layer's input, its norm, queries, keys and values (unless a cache has them),
    grouped ones repeated, and the result. T5 adds its position bias to a copy of the mask for each row and head, and
    holds two of them while it makes them contiguous.
    """
    result = rows * queries * shape.query_size
    attention = rows * queries * (3 * shape.hidden_size + shape.query_size)
    attention += 0 if cached else 2 * rows * queries * shape.kv_size
    if masked and 1 < shape.kv_heads < shape.heads:
        attention += 2 * rows * keys * shape.query_size
    if shape.family == "t5":
        biased = shape.heads * queries * keys * (rows if masked else 1)
        attention += biased + max(biased if masked else 0, result)
    else:
        attention += result
    mask = rows * queries * keys // 4 if masked else 0  # booleans
    return max(attention, rows * queries * _live_in_feed_forward(shape)) + mask


def live_in_encoder_decoder(
    shape: Shape, batch_size: int, rows: int, keys: int, targets: int, generates: bool, padding: bool
) -> int:
    """The encoder's layers, or its input and result beside the decoder's keys and values of the source."""
    encoder = _live_in_layer(shape, batch_size, keys, keys, padding, False) + shape.heads * keys**2
    # The first layer looks its position bias up: 49 bytes for each pair of positions at the busiest moment.
    lookup = batch_size * keys * (2 * shape.hidden_size + 3 * shape.query_size) + 49 * keys**2 // 4
    encoder = max(encoder, lookup)
    decoder = batch_size * keys * 2 * shape.hidden_size
    if generates:
        each = 2 * rows * shape.query_size  # keys and values of a position, in each layer
        first = each * (shape.decoder_layers * (keys + 1) + keys)  # the last layer's as they are copied into the cache
        last = each * shape.decoder_layers * (keys + targets)
        last += max(rows * targets * shape.query_size, _live_in_choice(shape, rows, targets))
        return max(encoder, decoder + first, decoder + last)
    decoder += rows * keys * shape.hidden_size  # the encoder's result, repeated for each branch
    cross = 2 * rows * keys * shape.query_size + 2 * _mask(shape, rows, targets, keys, padding)
    cross += rows * targets * (5 * shape.hidden_size + 2 * shape.query_size)
    return max(encoder, decoder + max(cross, rows * targets * _live_in_feed_forward(shape)))


def live_in_decoder_only(
    shape: Shape, rows: int, queries: int, keys: int, steps: int, generates: bool, masked: bool
) -> int:
    """The last layer of the first pass beside what all layers cached, or what follows the last token's pass."""
    first = _live_in_layer(shape, rows, queries, keys, masked, generates or queries < keys)
    if shape.family == "llama":
        first += rows * queries * 2 * shape.head_size  # rotary cosines and sines
    # The embeddings of a cached prompt are there although no layer reads them, and generation copies what it reads.
    embeddings = rows * (keys + (queries if generates else 0)) * shape.hidden_size
    first += embeddings - rows * queries * shape.hidden_size  # the layer has counted them once
    if not generates and queries == keys:
        return first
    each = 2 * rows * shape.kv_size  # keys and values of a position, in each layer
    replaced = keys + steps - 1 if steps else keys - queries  # a cache grows by being copied: both are there at once
    growing = each * replaced // 2 + (0 if steps else rows * queries * (2 * shape.hidden_size + shape.query_size))
    last = max(growing, _live_in_choice(shape, rows, steps + 1) if generates else 0)
    return max(first + each * shape.layers * keys, each * shape.layers * (keys + steps) + embeddings + last)


def _live_in_choice(shape: Shape, rows: int, targets: int) -> int:
    """Logits of the new token and generation's copy of them, beside the copy of the token before."""
    return rows * shape.vocab_size * (3 if targets > 1 else 2)
