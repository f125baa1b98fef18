"""The state dict of an adapted model: exactly the tensors that its parts train, under their own names.

It never has the backbone's tensors, not even as part of the state dict of a module that contains the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def hold_parts_alone(model: nn.Module) -> None:
    """Restrict the state dict of a model to the tensors that its `parts` train."""
    model.register_state_dict_post_hook(_collect)
    model.register_load_state_dict_pre_hook(_load)
    model.register_load_state_dict_post_hook(_report)


def _named(model: Any) -> Iterator[tuple[str, nn.Parameter]]:
    for part in model.parts:
        for tensors in part.tensors().values():
            yield from ((f"{part.key}.{name}", tensor) for name, tensor in tensors.items())


def _collect(module: nn.Module, state_dict: dict[str, Any], prefix: str, metadata: object) -> None:
    own = [name for name in state_dict if name.startswith(prefix)]
    keep_vars = any(isinstance(state_dict[name], nn.Parameter) for name in own)
    for name in own:
        del state_dict[name]
    for name, tensor in _named(module):
        state_dict[f"{prefix}{name}"] = tensor if keep_vars else tensor.detach()


def _load(
    module: nn.Module,
    state_dict: dict[str, Tensor],
    prefix: str,
    metadata: object,
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> None:
    """Load the parts' tensors. Tensors for the backbone count as unexpected, and its weights stay unchanged."""
    given = {name: state_dict.pop(name) for name in list(state_dict) if name.startswith(prefix)}
    missing = []
    for name, tensor in _named(module):
        value = given.pop(f"{prefix}{name}", None)
        if value is None:
            missing.append(f"{prefix}{name}")
        elif value.shape != tensor.shape:
            error_msgs.append(f"size mismatch for {prefix}{name}: {list(value.shape)}, not {list(tensor.shape)}")
        else:
            with torch.no_grad():
                tensor.copy_(value)
    unexpected_keys.extend(given)
    module.__dict__["_loaded"] = prefix, missing  # the model's prefix in the module that is loaded


def _report(module: nn.Module, incompatible: Any) -> None:
    """Keep, of the keys below this model that torch reports as missing, only those of the parts."""
    prefix, missing = module.__dict__.pop("_loaded")
    others = [name for name in incompatible.missing_keys if not name.startswith(prefix)]
    incompatible.missing_keys[:] = [*others, *missing]
