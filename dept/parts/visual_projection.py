"""The trainable way from a frozen image encoder's features to a language model's embeddings (Sung et al., 2022).

VL-Adapter (https://arxiv.org/abs/2112.06825) and LST (https://arxiv.org/abs/2206.06522) train one linear layer with a
bias there beside their other parameters. The paper counts it for Table 3: 2,048 x 768 + 768 of its 0.74%.
Shapes in comments: B batch, P features of an image, W their width, D hidden size.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn


class VisualProjection(nn.Module):
    """A linear layer with bias, kept in float32 whatever the backbone's dtype.

    Args:
        visual_width: W of the image encoder.
        hidden_size: D of the backbone.
        scale: root mean square that an embedding starts with for features of unit size: that of the backbone's own
            word embeddings, among which it will stand.
    """

    def __init__(self, visual_width: int, hidden_size: int, *, scale: float) -> None:
        super().__init__()
        self.projection_weight = nn.Parameter(torch.empty(hidden_size, visual_width))  # [D, W]
        self.projection_bias = nn.Parameter(torch.zeros(hidden_size))  # [D]
        nn.init.normal_(self.projection_weight, std=scale / math.sqrt(visual_width))

    @property
    def visual_width(self) -> int:
        return self.projection_weight.shape[1]

    def forward(self, features: Tensor) -> Tensor:
        """[B, P, W] to [B, P, D]."""
        if features.shape[-1] != self.visual_width:
            raise ValueError(f"features of width {features.shape[-1]}; this model reads {self.visual_width}")
        return F.linear(features.to(self.projection_weight.dtype), self.projection_weight, self.projection_bias)
