"""A backbone's sizes, read from its config."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, GPT2Config, LlamaConfig, T5Config

from dept.backbones.known import registry
from dept.backbones.shape import Shape, shape_of
from dept.errors import BackboneError


@pytest.mark.parametrize("alias", registry())
def test_known_backbones_have_the_shape_that_transformers_reads(alias: str) -> None:
    full = AutoConfig.for_model(**registry()[alias]["config"]).to_dict()  # with transformers' defaults filled in
    assert shape_of(alias) == shape_of(f"random:{alias}") == Shape.from_config(full)


def test_grouped_keys_and_their_own_head_size() -> None:
    config = LlamaConfig(
        hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=16, intermediate_size=96
    )
    shape = Shape.from_config(config.to_dict())
    assert (shape.query_size, shape.kv_size, shape.ff_size, shape.gated) == (64, 32, 96, True)
    assert not shape.is_encoder_decoder


@pytest.mark.parametrize(
    ("projection", "gated", "activation"),
    [
        ("relu", False, "relu"),
        ("gelu", False, "gelu"),
        ("gated-gelu", True, "gelu_new"),
        ("gated-silu", True, "silu"),
    ],
)
def test_the_feed_forward_layers_of_t5(projection: str, gated: bool, activation: str) -> None:
    config = T5Config(feed_forward_proj=projection)
    shape = Shape.from_config(config.to_dict())
    assert (shape.gated, shape.activation) == (gated, activation)
    assert (config.is_gated_act, config.dense_act_fn) == (gated, activation)


def test_a_folder_is_read_from_its_config(tmp_path: Path) -> None:
    GPT2Config(n_embd=64, n_head=4, n_layer=3, n_inner=100).save_pretrained(tmp_path)
    shape = shape_of(str(tmp_path))
    assert (shape.layers, shape.hidden_size, shape.head_size, shape.ff_size) == (3, 64, 16, 100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "knows t5, gpt2, llama, not model_type 'bert'"),
        ({"d_model": None}, "has d_model: None, not a size"),
        ({"num_heads": 0}, "has num_heads: 0, not a size"),
        ({"d_ff": "2048"}, "has d_ff: '2048', not a size"),
        ({"feed_forward_proj": "swish"}, "not 'swish'"),
    ],
)
def test_a_config_that_cannot_be_modelled_says_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BackboneError, match=message):
        Shape.from_config(registry()["t5-small"]["config"] | changes)


def test_names_that_lead_nowhere_are_named(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="did you mean t5-base"):
        shape_of("t5-bas")
    for text, message in (("{", "is not JSON"), ("[]", "holds no config"), (json.dumps({}), "not model_type None")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(BackboneError, match=message):
            shape_of(str(tmp_path))
