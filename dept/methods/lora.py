"""LoRA (Hu et al., 2022) through PEFT: a low-rank update of linear layers inside the backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dept.backbones.layers import ROLES, linear_layers, modules_of_roles
from dept.errors import ConfigError
from dept.methods.contract import Facts, Footprint, Group, MethodConfig, Start, own_setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dept.parts.contract import Part

_LAST = (*ROLES["o"], *ROLES["down"])  # they read what the others of their attention or feed-forward layer gave


@dataclass(frozen=True)
class LoraConfig(MethodConfig):
    """LoRA; the defaults are those that Table 1's row was measured with (r = 32 on queries and values).

    Attributes:
        lora_rank: r. lora_alpha: the update's scale is alpha / r.
        lora_dropout: on the update's input, in training.
        lora_targets: which linear layers, apart by commas: q, k, v, o, up, down, or names of the backbone's modules.

    Raises:
        ConfigError: a field of the wrong type or out of range, no target.
    """

    lora_rank: int = own_setting(32, "r of LoRA's updates", label="LoRA's rank", letter="r", least=1, most=10_000)
    lora_alpha: float = own_setting(
        32.0, "their scale is lora_alpha/lora_rank", label="LoRA's alpha", least=1e-6, most=1e6
    )
    lora_dropout: float = own_setting(0.1, "dropout on the updates' input", label="LoRA's dropout", least=0, most=0.99)
    lora_targets: str = own_setting(
        "q,v",
        "the linear layers that get one: q, k, v, o, up, down, or names of modules",
        label="LoRA's layers",
        widget="text",
    )

    name: ClassVar[str] = "lora"
    title: ClassVar[str] = "LoRA"
    paper: ClassVar[str] = "Hu et al. (2022), https://arxiv.org/abs/2106.09685"
    sentence: ClassVar[str] = "A low-rank update is added to linear layers inside the backbone."
    groups: ClassVar[tuple[Group, ...]] = (Group("lora", "LoRA's matrices", 3e-4, "LoRA's maximum rate [3e-4]"),)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self._targets():
            raise ConfigError("lora_targets names no layer: q,v for example")

    def _targets(self) -> list[str]:
        return [part.strip() for part in self.lora_targets.split(",") if part.strip()]

    def counts(self, facts: Facts) -> dict[str, int]:
        layers = linear_layers(facts.known_shape(self.title), self._targets())
        return {"lora": sum(self.lora_rank * (layer.inputs + layer.outputs) for layer in layers)}

    def footprint(self, facts: Facts) -> Footprint:
        """Two products a layer. For backward a layer keeps what A gives, and A's input.

        That is a tensor of its own behind dropout, and so is what dropout draws; without dropout the first layers of
        an attention or a feed-forward layer read the same. Left out: A's input needs no gradient where nothing
        trained lies before it; without dropout in the backbone it keeps what the last layers read as it is.
        """
        flops, kept, start = {True: 0, False: 0}, {True: 0, False: 0}, {True: Start.LATER, False: Start.LATER}
        shared: set[tuple[str, bool, bool]] = set()
        for layer in linear_layers(facts.known_shape(self.title), self._targets()):
            flops[layer.in_decoder] += 2 * self.lora_rank * (layer.inputs + layer.outputs)
            source = layer.name.rpartition(".")[0], layer.name.endswith(_LAST), layer.in_decoder
            inputs = 2 if self.lora_dropout else int(source not in shared)
            kept[layer.in_decoder] += self.lora_rank + inputs * layer.inputs
            shared.add(source)
            if layer.reads_embeddings:
                start[layer.in_decoder] = Start.PROJECTIONS
        return Footprint(
            flops_per_token=flops[False],
            flops_per_target_token=flops[True],
            kept_per_token=kept[False],
            kept_per_target_token=kept[True],
            start=start[False],
            decoder_start=start[True],
        )

    def summary(self) -> str:
        return f"r = {self.lora_rank}"

    def parts(self, backbone: PreTrainedModel, facts: Facts) -> list[Part]:
        from dept.parts.injected import Injected

        return [Injected("lora", backbone, self.as_peft(backbone))]

    def as_peft(self, backbone: PreTrainedModel) -> dict[str, Any]:
        return {
            "peft_type": "LORA",
            "r": self.lora_rank,
            "lora_alpha": self.lora_alpha,
            "lora_dropout": self.lora_dropout,
            "target_modules": modules_of_roles((name for name, _ in backbone.named_modules()), self._targets()),
            "bias": "none",
        }
