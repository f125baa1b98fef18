"""What is known of a backbone before its weights are loaded, for methods that are counted or sized ahead of a run."""

from dept.backbones.load import backbone_info
from dept.backbones.shape import shape_of
from dept.errors import BackboneError
from dept.methods.contract import Facts


def known_facts(backbone: str, max_seq_length: int = 256) -> Facts:
    """The facts of a backbone by its name; without the size of its embeddings' entries, which only weights tell.

    Raises:
        BackboneError: no such backbone.
    """
    info = backbone_info(backbone)
    try:
        shape = shape_of(backbone)
    except BackboneError:  # a hub id, or another family: methods that need sizes say so
        shape = None
    return Facts(info.hidden_size, max_seq_length, shape=shape, parameters=info.parameters)
