"""Load and freeze a backbone by name, hub id or folder.

A name is one of, in this order:

- an alias of `known_backbones.yaml` (t5-base, gpt2, llama-2-7b, smollm2-135m, ...);
- `random:<alias>` or `random:<folder>`: that shape with seeded random weights, without any download;
- a local folder as transformers' `save_pretrained` writes it;
- the id of a model on the Hugging Face hub.

What a backbone is (encoder-decoder or decoder-only) is read from its config, never from its name. Code that
comes with a model is never run, and weights are read from safetensors only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dept.backbones.embeddings import word_embeddings
from dept.backbones.fingerprints import fingerprint, remember
from dept.backbones.known import RANDOM, BackboneInfo, known_backbone, list_backbones, registry, suggestion
from dept.backbones.locate import locate
from dept.backbones.placement import DeviceMap, Quantize, check_in_memory, fitting, keep_trainable, loading_arguments
from dept.backbones.saved import (
    CONFIG_PATTERNS,
    TOKENIZER_PATTERNS,
    WEIGHT_PATTERNS,
    auto_class,
    explained,
    has_tokenizer,
    load_folder,
    load_tokenizer,
    quiet,
    read_config,
)
from dept.errors import BackboneError, ConfigError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def backbone_info(name: str) -> BackboneInfo:
    """What is known of a backbone without its weights.

    Aliases and `random:<alias>` are answered from data; a folder's config.json is read; of a hub id that file
    alone is downloaded, and the shape is counted without memory for the weights.

    Raises:
        BackboneError: unknown, unreachable, gated, damaged, or neither encoder-decoder nor decoder-only text.
    """
    if name in registry():
        return known_backbone(name)
    if name.startswith(RANDOM):
        return replace(backbone_info(_shape(name)), name=name, hub_id=None, source="random", gated=False)

    folder, source = locate(name, CONFIG_PATTERNS)
    config = read_config(folder, name)
    import torch

    with explained(folder / "config.json", "cannot be used"), torch.device("meta"):
        model = auto_class(config, name).from_config(config)
        hidden_size = word_embeddings(model).shape[1]
    return BackboneInfo(
        name=name,
        hub_id=name if source == "hub" else None,
        source=source,
        hidden_size=hidden_size,
        is_encoder_decoder=bool(config.is_encoder_decoder),
        parameters=model.num_parameters(),
    )


def load_backbone(
    name: str,
    *,
    dtype: str = "float32",
    tokenizer: str | None = None,
    quantize: Quantize | None = None,
    device_map: DeviceMap | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    """Load a backbone, frozen and in eval mode, and its tokenizer.

    Args:
        name: see the module's docstring.
        dtype: float32, bfloat16 or float16 (or fp32, bf16, fp16) of the weights in memory; transformers keeps
            the few layers that overflow in float16 (T5's wo) in float32.
        tokenizer: a folder, alias or hub id to take the tokenizer from instead of the backbone's own.
        quantize: int8 or nf4 of the linear layers, by bitsandbytes; the embeddings and the head stay in `dtype`.
        device_map: "auto" spreads the layers over the GPUs (accelerate); inputs belong on the embeddings' device.

    Returns:
        The model, whose `name_or_path` is `name`, and the tokenizer: None for random weights and for
        folders without one, unless `tokenizer` names one. It always has a padding token: a tokenizer without
        one (GPT-2, LLaMA-2) pads with its end-of-text token, which the attention mask makes harmless.

    Raises:
        BackboneError: unknown, unreachable, gated, damaged, pickled, of another kind (encoder-only ...), too large
            for the machine, or not to be quantised here.
        ConfigError: an unknown dtype, kind of quantisation or device map.
    """
    full_name = _DTYPES.get(dtype, dtype)
    if full_name not in _DTYPES.values():
        raise ConfigError(f"dtype: {dtype!r} is unknown; one of {', '.join(_DTYPES.values())}")
    import torch

    torch_dtype: torch.dtype = getattr(torch, full_name)
    placement = loading_arguments(quantize, device_map, torch_dtype)
    # Found first: a wrong name should not wait for the weights.
    tokenizer_folder = locate(tokenizer, TOKENIZER_PATTERNS)[0] if tokenizer is not None else None
    if name.startswith(RANDOM):
        backbone = _load_random(name, torch_dtype, placement)
    else:
        folder, source = locate(name, WEIGHT_PATTERNS)
        backbone = load_folder(folder, name, source, torch_dtype, placement)
        if tokenizer_folder is None and has_tokenizer(folder):
            tokenizer_folder = folder
    check_in_memory(backbone, name)
    keep_trainable(backbone)
    loaded = load_tokenizer(tokenizer_folder, backbone) if tokenizer_folder else None
    backbone.name_or_path = backbone.config.name_or_path = name
    freeze(backbone)
    return backbone, loaded


def freeze(backbone: PreTrainedModel) -> None:
    """No gradients for any weight of the backbone, and eval mode (no dropout)."""
    backbone.requires_grad_(False)
    backbone.eval()


def _shape(name: str) -> str:
    """The alias or folder in `random:<shape>`."""
    shape = name.removeprefix(RANDOM)
    if shape not in registry() and not Path(shape).expanduser().is_dir():
        known = ", ".join(registry())
        raise BackboneError(f"{name}: {shape!r} is neither a folder nor one of {known}{suggestion(shape)}")
    return shape


@quiet()
def _load_random(name: str, dtype: torch.dtype, placement: dict[str, Any]) -> PreTrainedModel:
    from transformers import AutoConfig

    from dept.backbones.random_weights import placed, random_backbone

    shape = _shape(name)
    if shape in registry():
        config = AutoConfig.for_model(**registry()[shape]["config"])
    else:
        config = read_config(Path(shape).expanduser(), name)
    with explained(name, "cannot be built"):
        backbone = random_backbone(auto_class(config, name), config, dtype)
        if not placement:
            return backbone
        checkpoint = fingerprint(backbone)
        with fitting(name):
            backbone = placed(backbone, placement)
        remember(backbone, checkpoint)
        return backbone


def registered_rates(backbone: PreTrainedModel) -> Mapping[str, float]:
    """The default learning rates that are registered for a backbone, by its name or hub id; rate group to rate."""
    name = str(backbone.config.name_or_path).removeprefix(RANDOM)
    return next((info.rates for info in list_backbones() if name in (info.name, info.hub_id)), {})
