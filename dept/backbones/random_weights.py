"""Backbones with random weights, for measuring: speed and memory depend on the shape alone."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from transformers import PretrainedConfig, PreTrainedModel

_PERIOD = 1_048_573  # 2**20 - 3, a prime: no two rows of a weight start at the same offset of the noise


class _TiledNoise(TorchFunctionMode):
    """Fills `normal_` tensors from one block of noise, at memory speed instead of 50 million draws a second.

    Each tensor starts at its own (seeded) offset in the block; a tensor longer than the block repeats it.
    numpy's generator makes the block, since torch's numbers depend on the processor's vector width.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        block = torch.from_numpy(np.random.default_rng(seed).standard_normal(_PERIOD, dtype=np.float32))
        self._noise = block.repeat(2)  # a whole period can be read from any start
        self._starts = random.Random(seed)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in (torch.nn.init.normal_, torch.Tensor.normal_):
            return self._fill(*args, **kwargs)
        return func(*args, **kwargs)

    @torch.no_grad()
    def _fill(self, tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: object = None) -> Tensor:
        length = min(tensor.numel(), _PERIOD)
        start = self._starts.randrange(_PERIOD)
        # Made in float32 and rounded once: a bfloat16 backbone equals the float32 one after a cast.
        noise = (self._noise[start : start + length] * std + mean).to(tensor.dtype)
        flat = tensor.detach().view(-1)
        for i in range(0, tensor.numel(), _PERIOD):
            flat[i : i + _PERIOD].copy_(noise[: tensor.numel() - i])
        return tensor


def random_backbone(auto_class: Any, config: PretrainedConfig, dtype: torch.dtype, seed: int = 0) -> PreTrainedModel:
    """A model of `config`'s shape with transformers' own initial scales; one seed always gives the same weights.

    The caller's random state is left as it was.
    """
    with torch.device("meta"):
        model: PreTrainedModel = auto_class.from_config(config, dtype=dtype)
    model.to_empty(device="cpu")
    model.tie_weights()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # for weights that an architecture does not draw with normal_
        with _TiledNoise(seed):
            model.init_weights()
    return model


def placed(model: PreTrainedModel, placement: dict[str, Any]) -> PreTrainedModel:
    """The same weights, quantised or spread over devices by transformers' `from_pretrained`.

    Args:
        placement: arguments of transformers' `from_pretrained` (`dept.backbones.placement.loading_arguments`).
    """
    return type(model).from_pretrained(
        None, config=model.config, state_dict=model.state_dict(), dtype=model.dtype, **placement
    )
