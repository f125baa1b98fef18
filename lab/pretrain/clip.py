"""The image tower `mini-clip`: a small CLIP ViT, and the contrastive loss between its patches and captions' phrases.

As in FILIP (Yao et al., 2021, https://arxiv.org/abs/2111.07783) the likeness of a picture and a caption comes from
their parts: each phrase is compared with its most similar patch, each patch with its most similar phrase. A phrase is
the sum of its words' vectors, so that one patch must be similar to all of them: a linear map can then read colour,
shape and place from a patch, also for a pair that training never showed. FILIP's text transformer, or the class token
that CLIP compares, would not ensure that.
Shapes in comments: B pictures, P patches, W width, N captions, F phrases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from lab.pretrain.drawings import WORDS, Phrase

# A patch is a ninth of a picture, since few positions keep T5 fast. 64 pixels do not divide by 3, so the last row and
# column are left out.
CONFIG = CLIPVisionConfig(
    hidden_size=128, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4, image_size=63, patch_size=21
)
PREPROCESSING: dict[str, Any] = {
    "size": {"shortest_edge": 64},
    "crop_size": {"height": 63, "width": 63},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
_FIRST_SCALE = 10.0  # first scale of the likenesses of unit vectors
_NUMBER = {word: number for number, word in enumerate(WORDS)}


class MiniClip(nn.Module):
    """The tower, and a vector for each word, with which it is trained."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.tower = CLIPVisionModel(CONFIG)
        self.words = nn.Parameter(torch.randn(len(WORDS), CONFIG.hidden_size) / CONFIG.hidden_size**0.5)
        self.nothing = nn.Parameter(torch.zeros(CONFIG.hidden_size))  # the vector of a patch without a shape
        self.log_scale = nn.Parameter(torch.tensor(_FIRST_SCALE).log())

    def features(self, pixels: Tensor) -> Tensor:
        """Features [B, P, W] of pictures [B, 3, 63, 63], as `dept.backbones.towers` takes them from a saved tower."""
        patch_states = self.tower(pixel_values=pixels).last_hidden_state[:, 1:]
        features: Tensor = self.tower.post_layernorm(patch_states)
        return features

    def patches(self, pixels: Tensor) -> Tensor:
        """Unit vectors [B, P, W] of the features, without a projection between them and the words."""
        return F.normalize(self.features(pixels), dim=-1)

    def likeness(self, patches: Tensor, captions: Tensor) -> Tensor:
        """The likeness of each picture and each caption.

        Args:
            patches: [B, P, W]. captions: word numbers, [N, F, 4] for all pictures or [B, N, F, 4] for each its own; -1
                where a caption has no further phrase.

        Returns:
            [B, N]: the mean over phrases of their most alike patch, and over patches of their most alike phrase.
        """
        there = captions[..., 0] >= 0  # [(B,) N, F]
        vectors = self.words[captions.clamp(min=0)].sum(-2)  # [(B,) N, F, W]
        own = captions.dim() == 4
        alike = torch.einsum("bpw,bnfw->bpnf" if own else "bpw,nfw->bpnf", patches, vectors)
        of_phrases = (alike.amax(1) * there).sum(-1) / there.sum(-1)
        shown = there[:, None] if own else there
        of_patches = alike.masked_fill(~shown, -torch.inf).amax(-1)  # [B, P, N]
        of_patches = torch.maximum(of_patches, (patches @ self.nothing)[..., None]).mean(1)
        scores: Tensor = (of_phrases + of_patches) * self.log_scale.exp()
        return scores

    def loss(self, pixels: Tensor, captions: Tensor, wrong: Tensor) -> Tensor:
        """InfoNCE in both directions: which caption belongs to a picture, and which picture to a caption.

        Args:
            pixels: [B, 3, 63, 63]. captions: [B, F, 4]. wrong: [B, K, F, 4], wrong captions that
            differ little from the picture's own.
        """
        patches = self.patches(pixels)
        among, nearly = self.likeness(patches, captions), self.likeness(patches, wrong)  # [B, B], [B, K]
        same = (
            (captions[:, None] == captions[None]).flatten(2).all(-1)
        )  # an equal caption of another picture is no wrong answer
        among = among.masked_fill(same & ~torch.eye(len(same), dtype=torch.bool), -torch.inf)
        right = torch.arange(len(pixels))
        of_pictures = F.cross_entropy(torch.cat([among, nearly], 1), right)
        return (of_pictures + F.cross_entropy(among.T, right)) / 2


def as_pixels(pictures: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    """Pixels [B, 3, 63, 63] of RGB images [64, 64, 3], equal to the saved preprocessing's."""
    side = CONFIG.image_size
    batch = torch.from_numpy(np.stack(pictures)[:, :side, :side]).permute(0, 3, 1, 2)
    return batch.float() / 127.5 - 1


def as_numbers(captions: Sequence[Sequence[Phrase]], most: int) -> Tensor:
    """Word numbers [N, most, 4] of captions of up to `most` phrases; phrases are sorted, so equal captions agree."""
    numbers = torch.full((len(captions), most, 4), -1)
    for place, caption in enumerate(captions):
        rows = sorted([_NUMBER[word] for word in phrase] for phrase in caption)
        numbers[place, : len(rows)] = torch.tensor(rows)
    return numbers
