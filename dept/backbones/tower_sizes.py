"""The sizes of an image encoder, read from its config without torch and without its weights.

A short name or a folder needs no download; for a hub id only the config is downloaded.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dept.backbones.known import DEFAULT_TOWER, RANDOM, default_tower
from dept.backbones.known_towers import MODEL_TYPES, known_towers
from dept.backbones.locate import locate
from dept.errors import BackboneError

if TYPE_CHECKING:
    from dept.tasks import Task

# transformers' defaults for sizes that the config of a CLIP's vision part leaves out.
_DEFAULTS = {
    **{"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
    **{"image_size": 224, "patch_size": 32},
}


@dataclass(frozen=True)
class TowerInfo:
    """The sizes of an image encoder that costs depend on.

    Attributes:
        name: as `dept.backbones.towers.load_tower` takes it.
        width: V, channels of a feature.
        positions: P, features of an image.
        flops: FLOPs to encode one image, in matrix products alone; a multiply and an add count as two.
    """

    name: str
    width: int
    positions: int
    flops: int

    def projection_parameters(self, hidden_size: int) -> int:
        """Parameters of the projection to a backbone's embeddings: V x d and a bias."""
        return (self.width + 1) * hidden_size


def tower_for(task: Task, backbone: str, named: str | None) -> TowerInfo | None:
    """The image encoder of a task with images, None for a text task.

    Args:
        named: the setting `vision_backbone`; None takes the backbone's default.

    Raises:
        BackboneError: its sizes are unknown; see `tower_info`.
    """
    return None if task.image_column is None else tower_info(named or default_tower(backbone))


@functools.cache
def tower_info(name: str) -> TowerInfo:
    """The sizes of an image encoder given by short name, local folder or hub id.

    Args:
        name: as `dept.backbones.towers.load_tower` takes it.

    Raises:
        BackboneError: the name is none of these, the hub cannot be reached, or the model is no CLIP with a ViT.
    """
    shape = name.removeprefix(RANDOM)
    if shape in known_towers():
        return _from_config(name, known_towers()[shape]["config"])
    folder = shape_folder(name) if shape != name else locate(name, ["config.json"], "image encoder")[0]
    config = saved_config(folder, name)
    if config["model_type"] not in MODEL_TYPES:
        raise BackboneError(f"{name} has not the config of a CLIP with a ViT; use one such as {DEFAULT_TOWER}")
    vision = config.get("vision_config") or config
    if not isinstance(vision, dict):
        raise BackboneError(f"{name} has a config whose vision_config is no mapping")
    return _from_config(name, vision)


def shape_folder(name: str) -> Path:
    """The folder in `random:<folder>`.

    Raises:
        BackboneError: there is no such folder.
    """
    shape = name.removeprefix(RANDOM)
    folder = Path(shape).expanduser()
    if not folder.is_dir():
        raise BackboneError(f"{name}: {shape!r} is neither a folder nor one of {', '.join(known_towers())}")
    return folder


def saved_config(folder: Path, name: str) -> dict[str, Any]:
    """config.json of a saved model, with its `model_type`.

    Args:
        name: the model's name for messages: a page may show it, but not the folder.

    Raises:
        BackboneError: config.json is missing or damaged.
    """
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["model_type"]  # raises for a list or a text too
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise BackboneError(f"config.json of {name} is not the config of a saved model") from fault
    return config


def _from_config(name: str, config: Mapping[str, Any]) -> TowerInfo:
    sizes = {key: config.get(key, default) for key, default in _DEFAULTS.items()}
    for key, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise BackboneError(f"the config of {name} has {key}: {value!r}, not a size")
    width, patch = sizes["hidden_size"], sizes["patch_size"]
    positions = (sizes["image_size"] // patch) ** 2
    tokens = positions + 1  # with the class token
    layer = 2 * tokens * (4 * width**2 + 2 * width * sizes["intermediate_size"]) + 4 * tokens**2 * width
    patches = 2 * positions * 3 * patch**2 * width
    return TowerInfo(name, width, positions, patches + sizes["num_hidden_layers"] * layer)
