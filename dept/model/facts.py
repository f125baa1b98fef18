"""The facts of a loaded backbone that methods need."""

from __future__ import annotations

from transformers import PreTrainedModel

from dept.backbones.embeddings import embedding_rms, word_embeddings
from dept.backbones.shape import Shape
from dept.errors import BackboneError
from dept.methods.contract import Facts


def facts_of(backbone: PreTrainedModel, *, max_seq_length: int = 256, with_rms: bool = False) -> Facts:
    """The facts of a backbone in memory.

    Args:
        with_rms: whether to compute the embeddings' root mean square, which takes a moment for large ones.

    Raises:
        BackboneError: `with_rms`, and the embeddings are zero or not finite.
    """
    try:
        shape = Shape.from_config(backbone.config.to_dict())
    except BackboneError:  # of an unknown family: methods that need sizes raise an error
        shape = None
    return Facts(
        hidden_size=word_embeddings(backbone).shape[1],
        max_seq_length=max_seq_length,
        shape=shape,
        parameters=backbone.num_parameters(),
        embedding_rms=embedding_rms(backbone) if with_rms else None,
    )
