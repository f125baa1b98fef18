"""Methods of PEFT that act inside the backbone: its own layers stand in for the backbone's, which stays as it is.

PEFT puts its layers in place of the backbone's. Here they are taken out again at once and compute through
`dept.parts.acting`: `model.backbone` is the plain backbone, and two adapters can share it.
"""

import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # PEFT imports it, and it says what it would rather have

import peft  # noqa: E402
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING  # noqa: E402
from peft.tuners.tuners_utils import cast_adapter_dtype  # noqa: E402
from peft.utils.save_and_load import get_peft_model_state_dict  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.hooks import RemovableHandle  # noqa: E402
from transformers import PreTrainedModel  # noqa: E402

from dept.backbones.fingerprints import signature  # noqa: E402
from dept.basics.faults import first_line  # noqa: E402
from dept.errors import ConfigError  # noqa: E402
from dept.parts.acting import stand_in_for  # noqa: E402
from dept.parts.contract import Part  # noqa: E402

_NAME = "default"  # what PEFT calls an adapter that nobody names
_BEFORE_NAMES = "base_model.model."  # in PEFT's files
# Of a config: what the adapter was made with and for, which is not its structure.
_CIRCUMSTANCES = {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type"}
# Of `init_lora_weights`: others take something out of the backbone's weights (PiSSA, OLoRA) or want rows (EVA).
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal")
# What PEFT raises for a config that does not fit.
_FAULTS = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, RuntimeError, ImportError, re.error)


class Injected(Part):
    """The layers of one of PEFT's configs; they start as PEFT starts them.

    Args:
        key: what the model calls the part, and its rate group.
        backbone: it is left as it was.
        values: of PEFT's adapter_config.json.

    Raises:
        ConfigError: PEFT does not take the config, or finds no layer for it; a config that trains the backbone's own
            biases or tokens.
    """

    acts_inside = True

    def __init__(self, key: str, backbone: PreTrainedModel, values: Mapping[str, Any]) -> None:
        super().__init__()
        self.key = key
        _check(values)
        frozen = list(backbone.parameters())
        before = signature(frozen)
        children = {name: (module, dict(module._modules)) for name, module in backbone.named_modules()}
        attributes = set(vars(backbone))
        layers: dict[str, nn.Module] = {}
        saved: dict[str, Tensor] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PEFT's remarks on layers that it would rather not have
                config = peft.PeftConfig.from_peft_type(
                    **{name: value for name, value in values.items() if name not in _CIRCUMSTANCES}
                )
                peft.inject_adapter_in_model(config, backbone, _NAME)
            cast_adapter_dtype(backbone, _NAME, autocast_adapter_dtype=True)
            tensors = backbone.state_dict(keep_vars=True)
            saved = get_peft_model_state_dict(backbone, tensors, _NAME, save_embedding_layers=False)
        except _FAULTS as fault:
            raise ConfigError(f"PEFT does not take this config for the backbone: {first_line(fault)}") from fault
        finally:
            for name, (module, own) in children.items():
                for child, original in own.items():
                    if module._modules[child] is not original and original is not None:
                        layers[f"{name}.{child}".lstrip(".")] = module._modules[child]
                        module._modules[child] = original
            for name in set(vars(backbone)) - attributes:
                delattr(backbone, name)
        if signature(frozen) != before:
            raise ConfigError("this config of PEFT's writes into the backbone, which must be loaded again now")
        if not layers or not saved:
            raise ConfigError("PEFT finds no layer of the backbone for this config")
        table = next((place for place in layers if isinstance(backbone.get_submodule(place), nn.Embedding)), None)
        if table is not None:
            raise ConfigError(
                f"PEFT's config names {table}: embeddings are looked up before the backbone's layers here"
            )
        names = Counter(module for _, module in backbone.named_modules(remove_duplicate=False))
        shared = next((place for place in layers if names[backbone.get_submodule(place)] > 1), None)
        if shared is not None:
            raise ConfigError(f"PEFT's config names {shared}, which the backbone has in several places")
        self._places = list(layers)
        self.layers = nn.ModuleList(layers.values())
        self._trained: dict[str, nn.Parameter] = {}
        self._constants: dict[str, Tensor] = {}
        for name, tensor in saved.items():
            if isinstance(tensor, nn.Parameter) and tensor.requires_grad:
                self._trained[f"{_BEFORE_NAMES}{name}"] = tensor
            else:
                self._constants[f"{_BEFORE_NAMES}{name}"] = tensor

    def tensors(self) -> dict[str, dict[str, nn.Parameter]]:
        return {self.key: self._trained}

    def constants(self) -> dict[str, Tensor]:
        return self._constants

    def attach(self, backbone: PreTrainedModel) -> list[RemovableHandle | Callable[[], None]]:
        return [
            stand_in_for(backbone.get_submodule(place), self, layer)
            for place, layer in zip(self._places, self.layers, strict=True)
        ]


def _check(values: Mapping[str, Any]) -> None:
    """Refuse keys that PEFT would pass over, and what would train tensors of the backbone itself."""
    known = PEFT_TYPE_TO_CONFIG_MAPPING[values["peft_type"]].__dataclass_fields__
    unknown = sorted(values.keys() - known.keys() - _CIRCUMSTANCES)
    if unknown:
        raise ConfigError(f"peft_config: this version of PEFT knows no {unknown[0]!r} for {values['peft_type']}")
    start = values.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise ConfigError(f"peft_config: init_lora_weights {start!r} is not taken: it needs more than the new layers")
    for name in ("bias", "trainable_token_indices", "layer_replication", "alora_invocation_tokens"):
        if values.get(name) not in (None, "none", "", [], {}):
            hint = ": add +bitfit to the method" if name == "bias" else ""
            raise ConfigError(f"peft_config: {name} {values[name]!r} is not taken{hint}")
