"""BitFit (Ben Zaken et al., 2022): the backbone's biases are trained; where it has none, zero ones are added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dept.backbones.layers import bias_sizes
from dept.methods.contract import Facts, Footprint, Group, MethodConfig, Start

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dept.parts.contract import Part


@dataclass(frozen=True)
class BitfitConfig(MethodConfig):
    """BitFit; T5 and LLaMA, which have no biases, get them after each linear layer and block norm, and at the head."""

    name: ClassVar[str] = "bitfit"
    title: ClassVar[str] = "BitFit"
    paper: ClassVar[str] = "Ben Zaken et al. (2022), https://arxiv.org/abs/2106.10199"
    sentence: ClassVar[str] = "The biases of the backbone are trained, or zero ones added where it has none."
    groups: ClassVar[tuple[Group, ...]] = (Group("bias", "the biases", 3e-4, "the biases' maximum rate [3e-4]"),)

    def counts(self, facts: Facts) -> dict[str, int]:
        return {"bias": sum(bias_sizes(facts.known_shape(self.title)).values())}

    def footprint(self, facts: Facts) -> Footprint:
        """Sums alone, no products; the first norm of each stack has a bias."""
        return Footprint(start=Start.EMBEDDINGS, decoder_start=Start.EMBEDDINGS)

    def parts(self, backbone: PreTrainedModel, facts: Facts) -> list[Part]:
        from dept.parts.biases import Biases

        return [Biases(backbone)]
