"""Move the padding of a batch to one side."""

import torch
from torch import Tensor


def padded_left(input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The same tokens with padding first, so that new ones can follow the last column; both [B, L]."""
    order = attention_mask.to(torch.long).argsort(dim=1, stable=True)  # [B, L]
    return input_ids.gather(1, order), attention_mask.gather(1, order)
