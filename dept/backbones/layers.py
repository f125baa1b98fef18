"""Where a backbone's linear layers and norms are: by role in any family, and as exact sizes for three. No torch.

Methods that act inside the backbone are written once, in these words: q, k, v and o of an attention, up and down of a
feed-forward layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dept.backbones.shape import Shape
from dept.errors import ConfigError

# What families call the modules of a role; fused ones serve several roles.
ROLES = {
    "q": ("q", "q_proj", "query", "c_attn", "query_key_value", "qkv_proj"),
    "k": ("k", "k_proj", "key", "c_attn", "query_key_value", "qkv_proj"),
    "v": ("v", "v_proj", "value", "c_attn", "query_key_value", "qkv_proj"),
    "o": ("o", "o_proj", "out_proj", "attn.c_proj"),
    "up": ("wi", "wi_0", "wi_1", "up_proj", "gate_proj", "c_fc", "fc1"),
    "down": ("wo", "down_proj", "mlp.c_proj", "fc2"),
}


@dataclass(frozen=True)
class Layer:
    """A linear layer.

    Attributes:
        name: of the module in transformers' model.
        inputs, outputs: its widths.
        in_decoder: whether it reads target tokens, in the decoder of an encoder-decoder.
        reads_embeddings: whether nothing but a norm lies between it and the embeddings of its stack.
    """

    name: str
    inputs: int
    outputs: int
    in_decoder: bool = False
    reads_embeddings: bool = False


def linear_layers(shape: Shape, targets: Sequence[str] | None = None) -> list[Layer]:
    """The linear layers of all blocks, the head left out.

    Args:
        targets: roles (`ROLES`) or names of modules; None gives all.

    Raises:
        ConfigError: a target that no layer is called.
    """
    layers = list(_LAYERS[shape.family](shape))
    if targets is None:
        return layers
    wanted = set(modules_of_roles([layer.name for layer in layers], targets))
    return [layer for layer in layers if any(_ends(layer.name, name) for name in wanted)]


def modules_of_roles(modules: Iterable[str], targets: Sequence[str]) -> list[str]:
    """What the modules of some roles are called in a backbone, as PEFT's `target_modules` takes them.

    Args:
        modules: names of the backbone's modules.
        targets: roles, or names of modules as they are.

    Raises:
        ConfigError: a target that no module is called.
    """
    names, called = list(modules), []
    for target in targets:
        present = [name for name in ROLES.get(target, (target,)) if any(_ends(module, name) for module in names)]
        if not present:
            raise ConfigError(f"this backbone has no layer {target!r}: name others, such as {', '.join(ROLES)}")
        called += present
    return sorted(set(called))


def _ends(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


def bias_sizes(shape: Shape) -> dict[str, int]:
    """The biases that BitFit trains, by name: the backbone's own, or those that are added where it has none.

    T5 and LLaMA kinds have none: they get one at each linear layer and norm of a block, and at the head. A last norm
    outside the blocks gets none (the setting of Table 1's row).

    Raises:
        ConfigError: a backbone whose linear layers have some biases of their own.
    """
    if shape.more_biases:
        raise ConfigError("the biases of a LLaMA kind that has some are counted on the backbone itself")
    sizes = {f"{layer.name}.bias": layer.outputs for layer in linear_layers(shape)}
    sizes |= {f"{name}.bias": shape.hidden_size for name in _NORMS[shape.family](shape)}
    if shape.family != "gpt2":
        sizes["lm_head.bias"] = shape.vocab_size
    return sizes


def _t5_layers(shape: Shape) -> Iterator[Layer]:
    width, inner = shape.hidden_size, shape.query_size
    up = ("wi_0", "wi_1") if shape.gated else ("wi",)
    for stack, count in (("encoder", shape.layers), ("decoder", shape.decoder_layers)):
        decoder = stack == "decoder"
        for block in range(count):
            attentions = ["layer.0.SelfAttention", *(["layer.1.EncDecAttention"] if decoder else [])]
            for attention in attentions:
                before, own = f"{stack}.block.{block}.{attention}", attention == attentions[0]
                for name in "qkv":
                    reads_targets = decoder and (own or name == "q")
                    yield Layer(f"{before}.{name}", width, inner, reads_targets, own and block == 0)
                yield Layer(f"{before}.o", inner, width, decoder)
            before = f"{stack}.block.{block}.layer.{len(attentions)}.DenseReluDense"
            yield from (Layer(f"{before}.{name}", width, shape.ff_size, decoder) for name in up)
            yield Layer(f"{before}.wo", shape.ff_size, width, decoder)


def _t5_norms(shape: Shape) -> Iterator[str]:
    for stack, count, norms in (("encoder", shape.layers, 2), ("decoder", shape.decoder_layers, 3)):
        yield from (f"{stack}.block.{block}.layer.{i}.layer_norm" for block in range(count) for i in range(norms))


def _gpt2_layers(shape: Shape) -> Iterator[Layer]:
    width = shape.hidden_size
    for block in range(shape.layers):
        before = f"transformer.h.{block}"
        yield Layer(f"{before}.attn.c_attn", width, 3 * width, reads_embeddings=block == 0)
        yield Layer(f"{before}.attn.c_proj", width, width)
        yield Layer(f"{before}.mlp.c_fc", width, shape.ff_size)
        yield Layer(f"{before}.mlp.c_proj", shape.ff_size, width)


def _gpt2_norms(shape: Shape) -> Iterator[str]:
    yield from (f"transformer.h.{block}.{norm}" for block in range(shape.layers) for norm in ("ln_1", "ln_2"))
    yield "transformer.ln_f"


def _llama_layers(shape: Shape) -> Iterator[Layer]:
    width = shape.hidden_size
    for block in range(shape.layers):
        before = f"model.layers.{block}"
        for name, outputs in (("q", shape.query_size), ("k", shape.kv_size), ("v", shape.kv_size)):
            yield Layer(f"{before}.self_attn.{name}_proj", width, outputs, reads_embeddings=block == 0)
        yield Layer(f"{before}.self_attn.o_proj", shape.query_size, width)
        yield from (Layer(f"{before}.mlp.{name}", width, shape.ff_size) for name in ("gate_proj", "up_proj"))
        yield Layer(f"{before}.mlp.down_proj", shape.ff_size, width)


def _llama_norms(shape: Shape) -> Iterator[str]:
    for block in range(shape.layers):
        yield from (f"model.layers.{block}.{name}" for name in ("input_layernorm", "post_attention_layernorm"))


_LAYERS = {"t5": _t5_layers, "gpt2": _gpt2_layers, "llama": _llama_layers}
_NORMS = {"t5": _t5_norms, "gpt2": _gpt2_norms, "llama": _llama_norms}
