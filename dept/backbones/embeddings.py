"""A backbone's word embeddings, and their root mean square."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dept.errors import BackboneError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


def word_embeddings(backbone: PreTrainedModel) -> Tensor:
    """The backbone's word embeddings [V, D], detached; they share the backbone's memory."""
    module: Any = backbone.get_input_embeddings()
    weight: Tensor = module.weight
    return weight.detach()


def embedding_rms(backbone: PreTrainedModel) -> float:
    """Root mean square over the entries of the backbone's input embeddings.

    Raises:
        BackboneError: the embeddings are all zero or not finite, so no learning rate can be derived from them.
    """
    import torch

    weight = word_embeddings(backbone)
    # Norms are taken by row: a float32 copy of a large embedding would cost memory.
    row_norms = torch.linalg.vector_norm(weight, dim=1, dtype=torch.float32)
    rms = math.sqrt(float(row_norms.square().mean()) / weight.shape[1])
    if not math.isfinite(rms) or rms == 0:
        raise BackboneError("the backbone's input embeddings are zero or not finite: set the learning rates")
    return rms
