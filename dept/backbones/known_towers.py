"""The image encoders that have a short name, as data: answered without torch and without a download."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from dept.backbones.known import read_registry

MODEL_TYPES = ("clip", "clip_vision_model")  # of a saved CLIP with a ViT, of its vision part


@functools.cache
def known_towers() -> Mapping[str, dict[str, Any]]:
    """The image encoders with a short name: hub_id (or that they come with us), config."""
    return read_registry("known_towers.yaml")
