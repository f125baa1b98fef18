"""The image encoders that have a short name, read from known_towers.yaml without torch and without a download."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from dept.backbones.known import read_registry

MODEL_TYPES = ("clip", "clip_vision_model")  # a saved CLIP with a ViT, its vision part alone


@functools.cache
def known_towers() -> Mapping[str, dict[str, Any]]:
    """Short name -> what is known of the image encoder: its hub_id or that it is embedded, its config."""
    return read_registry("known_towers.yaml")
