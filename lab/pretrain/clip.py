"""The image tower `mini-clip`: a small CLIP ViT, and the contrastive loss between its patches and captions' phrases.

As in FILIP (Yao et al., 2021, https://arxiv.org/abs/2111.07783) a picture and a caption are as alike as their parts:
each phrase looks for the patch that is most like it, each patch for the phrase. A phrase is the sum of its words'
vectors, so that one patch has to be like all of them: which colour, shape and place it shows can then be read from it
by a linear map, also for a pair that training never showed. FILIP's text transformer, and the class token that CLIP
compares, would leave that to luck.
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

# A ninth of a picture is a patch: few positions keep T5 quick. 64 pixels of side do not divide by 3: the last row and
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
_FIRST_SCALE = 10.0  # of the likeness of unit vectors
_NUMBER = {word: number for number, word in enumerate(WORDS)}


class MiniClip(nn.Module):
    """The tower beside what it is trained with: a vector for each word."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.tower = CLIPVisionModel(CONFIG)
        self.words = nn.Parameter(torch.randn(len(WORDS), CONFIG.hidden_size) / CONFIG.hidden_size**0.5)
        self.nothing = nn.Parameter(torch.zeros(CONFIG.hidden_size))  # what a patch without a shape is like
        self.log_scale = nn.Parameter(torch.tensor(_FIRST_SCALE).log())

    def features(self, pixels: Tensor) -> Tensor:
        """[B, P, W] of pictures [B, 3, 63, 63]: what `dept.backbones.towers` takes from a saved tower."""
        patch_states = self.tower(pixel_values=pixels).last_hidden_state[:, 1:]
        features: Tensor = self.tower.post_layernorm(patch_states)
        return features

    def patches(self, pixels: Tensor) -> Tensor:
        """Unit vectors [B, P, W]: the features themselves, so that nothing but words shapes them."""
        return F.normalize(self.features(pixels), dim=-1)

    def likeness(self, patches: Tensor, captions: Tensor) -> Tensor:
        """How alike each picture and each caption are.

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
        """Which caption is a picture's, and which picture a caption's (InfoNCE, both ways).

        Args:
            pixels: [B, 3, 63, 63]. captions: [B, F, 4]. wrong: [B, K, F, 4], captions that are nearly a picture's own.
        """
        patches = self.patches(pixels)
        among, nearly = self.likeness(patches, captions), self.likeness(patches, wrong)  # [B, B], [B, K]
        same = (captions[:, None] == captions[None]).flatten(2).all(-1)  # two of one caption are no wrong answers
        among = among.masked_fill(same & ~torch.eye(len(same), dtype=torch.bool), -torch.inf)
        right = torch.arange(len(pixels))
        of_pictures = F.cross_entropy(torch.cat([among, nearly], 1), right)
        return (of_pictures + F.cross_entropy(among.T, right)) / 2


def as_pixels(pictures: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    """RGB [64, 64, 3] each -> what the saved preprocessing makes of them, [B, 3, 63, 63]."""
    side = CONFIG.image_size
    batch = torch.from_numpy(np.stack(pictures)[:, :side, :side]).permute(0, 3, 1, 2)
    return batch.float() / 127.5 - 1


def as_numbers(captions: Sequence[Sequence[Phrase]], most: int) -> Tensor:
    """[N, most, 4] of captions of up to `most` phrases, sorted, so that equal ones look alike."""
    numbers = torch.full((len(captions), most, 4), -1)
    for place, caption in enumerate(captions):
        rows = sorted([_NUMBER[word] for word in phrase] for phrase in caption)
        numbers[place, : len(rows)] = torch.tensor(rows)
    return numbers
