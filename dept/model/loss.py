"""The loss of Eq. 1 and 3, and which position predicts which token. Shapes: B batch, M virtual tokens, L tokens."""

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor

from dept.basics.labels import IGNORED_LABEL


def next_attended(labels: Tensor, attention_mask: Tensor) -> Tensor:
    """For each position the label of the next attended position, which it predicts; -100 where there is none.

    This is the usual shift by one, except that gaps of padding are skipped. Labels and mask: [B, L].
    """
    attended = attention_mask.bool()
    length = attended.shape[1]
    positions = torch.arange(length, device=labels.device).expand_as(labels)
    here_or_later = torch.where(attended, positions, length).flip(1).cummin(1).values.flip(1)
    following = F.pad(here_or_later[:, 1:], (0, 1), value=length)
    shifted = F.pad(labels, (0, 1), value=IGNORED_LABEL).gather(1, following)
    return shifted.masked_fill(~attended, IGNORED_LABEL)


def target_loss(logits: Tensor, targets: Tensor, num_items: Tensor | int | None) -> Tensor:
    """Summed negative log-likelihood over `num_items`, or its mean over the targets (Eq. 1, Eq. 3)."""
    flat = logits.flatten(0, 1).float(), targets.flatten().to(logits.device)
    if num_items is None:
        return F.cross_entropy(*flat, ignore_index=IGNORED_LABEL)
    total = F.cross_entropy(*flat, ignore_index=IGNORED_LABEL, reduction="sum")
    return total / (num_items.to(total.device) if isinstance(num_items, Tensor) else num_items)
