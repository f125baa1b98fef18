"""The backbone's biases, trained; zero ones where it has none (BitFit, Ben Zaken et al., 2022)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from dept.errors import ConfigError
from dept.parts.acting import PartHook, running_for
from dept.parts.contract import Part


class Biases(Part):
    """A bias vector at each place, by the name that the backbone's own has or would have.

    Those that the backbone has are trained as copies: what is added to a layer's output is the difference from the
    backbone's, which stays as it is. A backbone without any gets zero ones at each linear layer and norm of its
    blocks and at its head; the last norms outside the blocks get none.

    Args:
        backbone: where the places are looked for.

    Raises:
        ConfigError: no layer that a bias could stand at.
    """

    key = "biases"
    acts_inside = True

    def __init__(self, backbone: PreTrainedModel) -> None:
        super().__init__()
        places = _own(backbone) or _missing(backbone)
        if not places:
            raise ConfigError("this backbone has no layer that a bias could stand at")
        self._names = list(places)
        frozen = [places[name] for name in self._names]
        self.values = nn.ParameterList([torch.zeros_like(bias, dtype=torch.float32) for bias in frozen])
        with torch.no_grad():
            for value, bias in zip(self.values, frozen, strict=True):
                value.copy_(bias)

    def tensors(self) -> dict[str, dict[str, nn.Parameter]]:
        return {"bias": dict(zip(self._names, self.values, strict=True))}

    def attach(self, backbone: PreTrainedModel) -> list[RemovableHandle | Callable[[], None]]:
        return [
            backbone.get_submodule(name.removesuffix(".bias")).register_forward_hook(_Added(self, value))
            for name, value in zip(self._names, self.values, strict=True)
        ]


class _Added(PartHook):
    """Adds what a bias has learnt."""

    def __init__(self, part: Part, value: Tensor) -> None:
        super().__init__(part)
        self._value = value

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        if running_for(self.part, module) is None:
            return None
        own = module._parameters.get("bias")
        learnt = self._value if own is None else self._value - own
        return output + learnt.to(output.dtype)


def _own(backbone: PreTrainedModel) -> dict[str, Tensor]:
    """The backbone's own.

    Raises:
        ConfigError: one that is not added to what its module gives, as a convolution's before a scan.
    """
    own = {
        name: bias.detach()
        for name, bias in backbone.named_parameters()
        if name.rpartition(".")[2].endswith("bias") and bias.ndim == 1
    }
    for name in own:
        module = backbone.get_submodule(name.rpartition(".")[0])
        if not name.endswith(".bias") or not (isinstance(module, (nn.Linear, Conv1D)) or _is_norm(module)):
            raise ConfigError(f"the backbone's {name} is not added to what its layer gives: BitFit cannot train it")
    return own


def _missing(backbone: PreTrainedModel) -> dict[str, Tensor]:
    """Zeros, in the width of what each place gives."""
    head = backbone.get_output_embeddings()
    places = {}
    for name, module in backbone.named_modules():
        width = _width(module)
        in_block = any(part.isdigit() for part in name.split("."))
        if width and (module is head or in_block):
            places[f"{name}.bias"] = torch.zeros(width, device=module.weight.device)
    return places


def _width(module: nn.Module) -> int:
    """Of a linear layer's or a norm's output; 0 for any other module."""
    if isinstance(module, nn.Linear):  # quantised ones too, whose weights have another shape
        return module.out_features
    return len(module._parameters["weight"]) if _is_norm(module) else 0  # type: ignore[arg-type]


def _is_norm(module: nn.Module) -> bool:
    weight = module._parameters.get("weight")
    return weight is not None and weight.ndim == 1 and "norm" in type(module).__name__.lower()
