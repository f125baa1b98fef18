"""The trainable way from a frozen image encoder's features to a language model's embeddings (Sung et al., 2022).

VL-Adapter (https://arxiv.org/abs/2112.06825) and LST (https://arxiv.org/abs/2206.06522) train one linear layer with a
bias there beside their other parameters. The paper counts it for Table 3: 2,048 x 768 + 768 of its 0.74%.
Shapes in comments: B batch, P features of an image, W their width, D hidden size.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dept.backbones.embeddings import embedding_rms
from dept.parts.contract import IMAGE, Inputs, Part, Route
from dept.parts.soft_prompt import put_before


class VisualProjection(Part):
    """A linear layer with bias, kept in float32 whatever the backbone's dtype.

    It starts so that features of unit size give embeddings of the size of the backbone's own, among which they stand.

    VL-T5, and with it VL-Adapter and LST, put the image after the text, in a T5 whose position bias they changed: it
    is zero between image and text. An unchanged backbone counts positions over everything it reads. With the image
    before the text both lie without a gap, whatever the text's length, and the image is next to the prompt.

    Args:
        visual_width: W of the image encoder.
        hidden_size: D of the backbone.
    """

    key = "visual_projection"
    order = IMAGE

    def __init__(self, visual_width: int, hidden_size: int) -> None:
        super().__init__()
        self.projection_weight = nn.Parameter(torch.zeros(hidden_size, visual_width))  # [D, W]
        self.projection_bias = nn.Parameter(torch.zeros(hidden_size))  # [D]

    def tensors(self) -> dict[str, dict[str, nn.Parameter]]:
        return {
            "projection": {
                "projection_weight": self.projection_weight,
                "projection_bias": self.projection_bias,
            }
        }

    def initialise(self, backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> None:
        start = torch.empty(self.projection_weight.shape)
        nn.init.normal_(start, std=embedding_rms(backbone) / math.sqrt(self.visual_width))
        with torch.no_grad():
            self.projection_weight.copy_(start)

    @property
    def visual_width(self) -> int:
        return self.projection_weight.shape[1]

    def embed(self, inputs: Inputs, route: Route) -> Inputs:
        """Put the projected image before the text.

        Raises:
            ValueError: features of another width.
        """
        assert inputs.features is not None
        return put_before(self(inputs.features), inputs)

    def forward(self, features: Tensor) -> Tensor:
        """[B, P, W] to [B, P, D]."""
        if features.shape[-1] != self.visual_width:
            raise ValueError(f"features of width {features.shape[-1]}; this model reads {self.visual_width}")
        return F.linear(features.to(self.projection_weight.dtype), self.projection_weight, self.projection_bias)
