"""A tiny CLIP tower, images, and prompted backbones that read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from dept import DeptConfig, PromptedModel, get_prompted_model
from dept.backbones.known import Source
from dept.backbones.towers import ClipTower, load_tower
from tests.dept.tiny_models import backbone

WIDTH, POSITIONS = 24, 16
SHAPE: dict[str, Any] = {
    **{"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"image_size": 32, "patch_size": 8},
}


def save_tower(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    CLIPVisionModel(CLIPVisionConfig(**SHAPE, initializer_factor=5.0)).save_pretrained(folder)
    return folder


def tower_of(folder: Path) -> ClipTower:
    tower = load_tower(str(folder))
    assert isinstance(tower, ClipTower)
    return tower


def pictures(count: int, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)) for _ in range(count)]


def seeing(kind: str, seed: int = 0, **settings: Any) -> PromptedModel:
    """A prompted backbone that reads images, its update not zero, as if it had been trained."""
    config = DeptConfig(num_virtual_tokens=3, rank=2, max_seq_length=12)
    torch.manual_seed(seed)
    model = get_prompted_model(backbone(kind, seed, **settings), config, visual_width=WIDTH)
    nn.init.normal_(model.low_rank_update.low_rank_b, generator=torch.Generator().manual_seed(seed))
    return model.eval()


def features(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, POSITIONS, WIDTH, generator=torch.Generator().manual_seed(seed))


class CountingTower:
    """A tower without weights, which counts the images that it looks at: their mean colour, again and again."""

    def __init__(self) -> None:
        self.name, self.fingerprint = "counting", "c" * 64
        self.source: Source = "random"
        self.width, self.positions, self.parameters = 3, 2, 0
        self.seen = 0

    def features(self, images: Sequence[Image.Image]) -> npt.NDArray[np.float16]:
        self.seen += len(images)
        means = [np.asarray(image, dtype=np.float32).mean((0, 1)) for image in images]
        return np.repeat(np.stack(means)[:, None], self.positions, 1).astype(np.float16)
