"""Fingerprints of backbones: a hash of the shape and of samples of the weights."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dept.errors import BackboneError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel

_SAMPLES_PER_TENSOR = 1024
_REMEMBERED = (
    "checkpoint_fingerprint"  # attribute of a backbone whose weights in memory were rounded from its checkpoint's
)


def fingerprint(backbone: PreTrainedModel) -> str:
    """A sha256 (hex) that differs between backbones, also between two checkpoints of one shape.

    It covers the kind, the heads, every weight's name and shape, and up to 1,024 evenly spaced entries of
    each weight, rounded to bfloat16: float32 and bfloat16 of one checkpoint agree. Quantised and float16 weights
    that `load_backbone` loaded have their checkpoint's fingerprint, which it read from the files. Quantised or
    float16 weights from elsewhere have a fingerprint of their own, which agrees only with the same weights in the
    same form. The fingerprint misses changes to entries that are not sampled, and changes below bfloat16's precision.

    Raises:
        BackboneError: weights that are not in memory (offloaded).
    """
    remembered = getattr(backbone, _REMEMBERED, None)
    if isinstance(remembered, str):
        return remembered
    return _digest(backbone.config, backbone.named_parameters())  # yields tied weights once


def signature(tensors: Iterable[Tensor]) -> tuple[tuple[int, int], ...]:
    """A value that changes when a tensor is replaced, moved or written to (torch counts the writes)."""
    return tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors)


def knows_checkpoint(backbone: PreTrainedModel) -> bool:
    """Whether `fingerprint` gives the checkpoint's: it can't for rounded weights that `load_backbone` did not load."""
    import torch

    is_rounded = backbone.dtype == torch.float16 or bool(getattr(backbone, "is_quantized", False))
    return not is_rounded or isinstance(getattr(backbone, _REMEMBERED, None), str)


def remember(backbone: PreTrainedModel, checkpoint: str | None) -> None:
    """Store a checkpoint's fingerprint in a backbone; with None the fingerprint is computed from the weights."""
    if checkpoint is not None:
        vars(backbone)[_REMEMBERED] = checkpoint


def fingerprint_of_files(files: Sequence[Path], skeleton: PreTrainedModel) -> str | None:
    """The fingerprint of the float32 model in these safetensors files; only the sampled entries are read.

    Args:
        files: all files of one checkpoint.
        skeleton: the model's shape, on the meta device.

    Returns:
        The fingerprint, or None where a weight's name or shape in the files is not the model's.
    """
    from safetensors import safe_open

    names: dict[
        int, list[str]
    ] = {}  # a weight's possible names: those of tied weights, and those without the head's prefix
    prefix = f"{skeleton.base_model_prefix}."
    for name, weight in skeleton.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).extend((name, name.removeprefix(prefix)))
    with contextlib.ExitStack() as stack:
        stored: dict[str, Any] = {}
        for file in files:
            opened = stack.enter_context(safe_open(file, "pt"))
            stored |= dict.fromkeys(opened.keys(), opened)
        weights = []
        for name, weight in skeleton.named_parameters():
            stored_name = next((known for known in names[id(weight)] if known in stored), None)
            if stored_name is None:
                return None
            tensor = stored[stored_name].get_tensor(stored_name)  # mapped, not read
            if tensor.shape != weight.shape:
                return None
            weights.append((name, tensor))
        return _digest(skeleton.config, weights)


def _digest(config: PretrainedConfig, weights: Iterable[tuple[str, Tensor]]) -> str:
    import torch

    kind = {key: getattr(config, key, None) for key in ("model_type", "is_encoder_decoder", "num_attention_heads")}
    digest = hashlib.sha256(json.dumps(kind, sort_keys=True).encode())
    for name, weight in weights:
        if weight.is_meta:
            raise BackboneError(f"the backbone's {name} is not in memory, so that it cannot be told from another one")
        digest.update(f"{name} {tuple(weight.shape)}".encode())
        flat = weight.detach().reshape(-1)
        # Integer arithmetic: a float32 linspace is off by hundreds of entries in a large embedding.
        count = min(flat.numel(), _SAMPLES_PER_TENSOR)
        places = torch.arange(count, device=flat.device) * flat.numel() // max(count, 1)
        sample = flat[places].to(torch.bfloat16).cpu().contiguous()
        digest.update(sample.view(torch.int16).numpy().astype("<i2").tobytes())
    return digest.hexdigest()
