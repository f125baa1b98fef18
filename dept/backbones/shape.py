"""The sizes of a backbone that its cost depends on, read from a transformers config: no torch, no weights."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from dept.backbones.known import RANDOM, registry, suggestion
from dept.errors import BackboneError

Family = Literal["t5", "gpt2", "llama"]
Activation = Literal["relu", "gelu", "gelu_new", "silu"]


@dataclass(frozen=True)
class Shape:
    """The sizes of a backbone that its cost depends on.

    Attributes:
        layers: of the encoder, or of a decoder-only backbone.
        decoder_layers: 0 for a decoder-only backbone.
        head_size: width of one head's queries, keys and values.
        kv_heads: heads of keys and values; fewer than `heads` where groups of queries share them.
        ff_size: inner width of a feed-forward layer.
        gated: whether its activation is multiplied with a second projection (SwiGLU, T5 v1.1).
        dropout, attention_dropout: rates in training mode; attention with dropout is not fused on a CPU.
        more_biases: whether linear layers have biases that the family's usually have not.
    """

    family: Family
    layers: int
    decoder_layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_size: int
    ff_size: int
    gated: bool
    activation: Activation
    vocab_size: int
    dropout: float
    attention_dropout: float
    more_biases: bool = False

    @property
    def is_encoder_decoder(self) -> bool:
        return self.decoder_layers > 0

    @property
    def query_size(self) -> int:
        return self.heads * self.head_size

    @property
    def kv_size(self) -> int:
        return self.kv_heads * self.head_size

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Shape":
        """The shape that a transformers config describes (config.json, or `PretrainedConfig.to_dict()`).

        Raises:
            BackboneError: another family than T5, GPT-2 and LLaMA, or a size that is missing.
        """
        readers = {"t5": _t5, "gpt2": _gpt2, "llama": _llama}
        family = config.get("model_type")
        if family not in readers:
            raise BackboneError(f"the cost model knows {', '.join(readers)}, not model_type {family!r}")
        shape: Shape = readers[family](config)
        if shape.activation not in get_args(Activation):
            known = ", ".join(get_args(Activation))
            raise BackboneError(f"the cost model knows the activations {known}, not {shape.activation!r}")
        return shape


def _t5(config: Mapping[str, Any]) -> Shape:
    gate, _, activation = config.get("feed_forward_proj", "relu").rpartition("-")
    layers, heads = _size(config, "num_layers"), _size(config, "num_heads")
    dropout = config.get("dropout_rate", 0.1)
    return Shape(
        family="t5",
        layers=layers,
        decoder_layers=_size(config, "num_decoder_layers", layers),
        hidden_size=_size(config, "d_model"),
        heads=heads,
        kv_heads=heads,
        head_size=_size(config, "d_kv"),
        ff_size=_size(config, "d_ff"),
        gated=gate == "gated",
        activation="gelu_new" if gate and activation == "gelu" else activation,  # as T5Config reads it
        vocab_size=_size(config, "vocab_size"),
        dropout=dropout,
        attention_dropout=dropout,
    )


def _gpt2(config: Mapping[str, Any]) -> Shape:
    hidden_size, heads = _size(config, "n_embd"), _size(config, "n_head")
    return Shape(
        family="gpt2",
        layers=_size(config, "n_layer"),
        decoder_layers=0,
        hidden_size=hidden_size,
        heads=heads,
        kv_heads=heads,
        head_size=hidden_size // heads,
        ff_size=_size(config, "n_inner", 4 * hidden_size),
        gated=False,
        activation=config.get("activation_function", "gelu_new"),
        vocab_size=_size(config, "vocab_size"),
        dropout=config.get("resid_pdrop", 0.1),
        attention_dropout=config.get("attn_pdrop", 0.1),
    )


def _llama(config: Mapping[str, Any]) -> Shape:
    hidden_size, heads = _size(config, "hidden_size"), _size(config, "num_attention_heads")
    return Shape(
        family="llama",
        layers=_size(config, "num_hidden_layers"),
        decoder_layers=0,
        hidden_size=hidden_size,
        heads=heads,
        kv_heads=_size(config, "num_key_value_heads", heads),
        head_size=_size(config, "head_dim", hidden_size // heads),
        ff_size=_size(config, "intermediate_size"),
        gated=True,
        activation=config.get("hidden_act", "silu"),
        vocab_size=_size(config, "vocab_size"),
        dropout=0.0,
        attention_dropout=config.get("attention_dropout", 0.0),
        more_biases=bool(config.get("attention_bias") or config.get("mlp_bias")),
    )


def _size(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A whole number of at least 1; transformers writes null where a size follows from others."""
    value = config.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BackboneError(f"the config of this {config['model_type']} has {name}: {value!r}, not a size")
    return value


def shape_of(backbone: str) -> Shape:
    """The shape of a known backbone (t5-base, random:t5-base, ...) or of a local folder, without weights.

    Raises:
        BackboneError: neither; a folder without a config.json that can be read; see `Shape.from_config`.
    """
    name = backbone.removeprefix(RANDOM)
    if name in registry():
        return Shape.from_config(registry()[name]["config"])
    file = Path(name).expanduser() / "config.json"
    if not file.is_file():
        known = ", ".join(registry())
        raise BackboneError(f"{name!r} is neither a folder with a config.json nor one of {known}{suggestion(name)}")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as fault:
        raise BackboneError(f"{file} is not JSON: {fault}") from fault
    if not isinstance(config, dict):
        raise BackboneError(f"{file} holds no config")
    return Shape.from_config(config)
