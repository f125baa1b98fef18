"""Frozen image encoders ("towers") whose features a T5 or GPT reads: CLIP's ViTs (Radford et al., 2021).

VL-Adapter and LST (Sung et al., 2022), whose numbers the paper's Table 3 quotes, take the 2,048 channels of a CLIP
ResNet-101, which transformers does not have; anything that satisfies `VisionTower` can be used instead.

A name is one of: an alias of `known_towers.yaml` (`mini-clip` is embedded); `random:<alias>` or `random:<folder>`,
that shape with seeded random weights; a local folder as transformers saves CLIP or its vision part; a hub id. Weights
come from safetensors only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModel, CLIPVisionConfig, CLIPVisionModel

from dept.backbones.fingerprints import fingerprint
from dept.backbones.known import DEFAULT_TOWER, RANDOM, Source
from dept.backbones.known_towers import MODEL_TYPES, known_towers
from dept.backbones.locate import locate
from dept.backbones.random_weights import random_backbone
from dept.backbones.saved import CONFIG_PATTERNS, WEIGHT_PATTERNS, checked_weight_files, explained, quiet
from dept.backbones.tower_sizes import saved_config, shape_folder
from dept.basics.extras import check_extra
from dept.errors import BackboneError

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil


class VisionTower(Protocol):
    """What the other modules need from an image encoder.

    Attributes:
        name: as `load_tower` takes it.
        source: hub, embedded, folder or random.
        fingerprint: sha256 hex of weights and preprocessing: equal fingerprints give equal features.
        width: V, channels of a feature.
        positions: P, features of an image.
        parameters: how many parameters it has, all frozen.
    """

    name: str
    source: Source
    fingerprint: str
    width: int
    positions: int
    parameters: int

    def features(self, images: Sequence[Image]) -> npt.NDArray[np.float16]:
        """Features [N, P, V] of N RGB images."""
        ...


class ClipTower:
    """A CLIP ViT, which gives its grid of patch features after the norm that CLIP applies to the class token.

    Features are rounded to float16, as they are cached.
    """

    def __init__(self, model: CLIPVisionModel, processor: CLIPImageProcessorPil, name: str, source: Source) -> None:
        self.model = model.requires_grad_(False).eval()
        self.name, self.source = name, source
        self.width = int(model.config.hidden_size)
        self.positions = model.embeddings.num_patches
        self.parameters = int(model.num_parameters())
        self._processor = processor
        settings = {key: value for key, value in processor.to_dict().items() if key.startswith(_PREPROCESSING)}
        hashed = json.dumps([fingerprint(model), settings], sort_keys=True, default=str)
        self.fingerprint = hashlib.sha256(hashed.encode()).hexdigest()

    @torch.no_grad()
    def features(self, images: Sequence[Image]) -> npt.NDArray[np.float16]:
        pixels = self._processor(list(images), return_tensors="np")["pixel_values"]  # [N, 3, height, width]
        on_device = torch.from_numpy(np.asarray(pixels)).to(self.model.device, self.model.dtype)
        grid = self.model(pixel_values=on_device).last_hidden_state[:, 1:]  # [N, P, V], the class token left out
        return self.model.post_layernorm(grid).to(torch.float16).cpu().numpy()


_PREPROCESSING = ("do_", "size", "crop_size", "resample", "rescale_factor", "image_")


def check_tower(name: str) -> None:
    """Check that an image encoder can be found; only its config is fetched.

    Raises:
        BackboneError: as `load_tower`.
    """
    if name.startswith(RANDOM):
        _random_config(name)
    else:
        _vision_config(locate(name, CONFIG_PATTERNS, "image encoder")[0], name)


def load_tower(name: str) -> VisionTower:
    """Load an image encoder, frozen, float32, onto the CPU.

    Raises:
        BackboneError: the encoder is unknown, unreachable, damaged, pickled, or no CLIP with a ViT.
        ConfigError: the extra `vision` is not installed.
    """
    check_extra("vision", f"image encoder {name}")
    if name.startswith(RANDOM):
        return _random_tower(name)
    folder, source = locate(name, WEIGHT_PATTERNS, "image encoder")
    config = _vision_config(folder, name)
    checked_weight_files(folder, name, source)
    with quiet(), explained(folder, "cannot be loaded"):
        loaded: Any = CLIPVisionModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # reported below, by name
            output_loading_info=True,
        )
    model, report = loaded
    wrong = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
    if wrong:
        raise BackboneError(f"{folder}: {len(wrong)} weights are missing or of another shape, the first is {wrong[0]}")
    return ClipTower(model, _processor(folder, config), name, source)


def _random_tower(name: str) -> VisionTower:
    folder, config = _random_config(name)
    with quiet(), explained(name, "cannot be built"):
        model: Any = random_backbone(AutoModel, config, torch.float32)
    return ClipTower(model, _processor(folder, config), name, "random")


def _random_config(name: str) -> tuple[Path | None, CLIPVisionConfig]:
    """For `random:<shape>`: the folder with its preprocessing (None for CLIP's own), and the config."""
    shape = name.removeprefix(RANDOM)
    if shape in known_towers():
        entry = known_towers()[shape]
        ours = locate(shape, CONFIG_PATTERNS, "image encoder")[0] if entry.get("source") == "embedded" else None
        return ours, CLIPVisionConfig(**entry["config"])
    folder = shape_folder(name)
    return folder, _vision_config(folder, name)


def _vision_config(folder: Path, name: str) -> CLIPVisionConfig:
    """The vision config of a saved CLIP or of a saved vision part."""
    kind = saved_config(folder, name)["model_type"]
    if kind not in MODEL_TYPES:
        raise BackboneError(
            f"{name} ({kind}) is no CLIP with a ViT; use one such as {DEFAULT_TOWER}, or random:{DEFAULT_TOWER}"
        )
    with quiet(), explained(folder / "config.json", "cannot be used"):
        config: CLIPVisionConfig = CLIPVisionConfig.from_pretrained(folder, local_files_only=True)
        return config


def _processor(folder: Path | None, config: CLIPVisionConfig) -> CLIPImageProcessorPil:
    """CLIP's preprocessing with the folder's settings, else with the config's size. It needs no torchvision."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    if folder is not None and (folder / "preprocessor_config.json").is_file():
        with quiet(), explained(folder / "preprocessor_config.json", "cannot be used"):
            processor: CLIPImageProcessorPil = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)
            return processor
    side = config.image_size
    if not isinstance(side, int):
        raise BackboneError(f"{folder}: images of {side} pixels are not square; add a preprocessor_config.json")
    return CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
