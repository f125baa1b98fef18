"""The backbones that have a short name, as data: answered without torch and without a download."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

Source = Literal["hub", "package", "folder", "random", "embedded"]

RANDOM = "random:"  # before a name: its shape, with seeded random weights
DEFAULT_TOWER = "clip-vit-base-patch32"


@dataclass(frozen=True)
class BackboneInfo:
    """What is known of a backbone before its weights are loaded.

    Attributes:
        name: as `load_backbone` takes it.
        hub_id: where the hub has it; None for folders, packages and random weights.
        hidden_size: d, the width of an input embedding.
        parameters: exact count, tied weights once.
        rates: registered default learning rates, by rate group; the others are derived from the weights.
        gated: whether the hub asks for a licence to be accepted first.
    """

    name: str
    hub_id: str | None
    source: Source
    hidden_size: int
    is_encoder_decoder: bool
    parameters: int | None
    rates: Mapping[str, float] = field(default_factory=dict)
    gated: bool = False


@functools.cache
def registry() -> Mapping[str, dict[str, Any]]:
    return read_registry("known_backbones.yaml")


def read_registry(file: str) -> Mapping[str, dict[str, Any]]:
    """A file of this package: short names, and what is known of each."""
    entries: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parent / file).read_text(encoding="utf-8"))
    return entries


def known_backbone(alias: str) -> BackboneInfo:
    entry = registry()[alias]
    return BackboneInfo(
        name=alias,
        hub_id=entry.get("hub_id"),
        source=entry.get("source", "hub"),
        hidden_size=entry["hidden_size"],
        is_encoder_decoder=entry["is_encoder_decoder"],
        parameters=entry["parameters"],
        rates={
            key.removesuffix("_lr"): rate for key, rate in entry.items() if key.endswith("_lr") and rate is not None
        },
        gated=entry.get("gated", False),
    )


def list_backbones() -> list[BackboneInfo]:
    """The backbones that have an alias; answered from data, without torch or a download."""
    return [known_backbone(alias) for alias in registry()]


def default_backbone() -> str:
    """For trials on any machine: the embedded model where this version has it, else the one that a package brings."""
    return "mini-t5" if "mini-t5" in registry() else "smollm2-135m"


def default_tower(backbone: str) -> str:
    """The image encoder of a backbone for which none was named: the registered one, else a CLIP of the hub."""
    tower: str = registry().get(backbone, {}).get("vision_backbone", DEFAULT_TOWER)
    return tower


def suggestion(name: str) -> str:
    """' (did you mean t5-base?)' for a name that is nearly an alias, else nothing."""
    if name in ("mini-clip", "mini-clip-t5"):
        return " (mini-clip is an image encoder: --backbone mini-t5 --vision-backbone mini-clip)"
    return nearest(name, registry())


def nearest(name: str, aliases: Collection[str]) -> str:
    """The same among other aliases."""
    close = [] if name in aliases else difflib.get_close_matches(name, aliases, n=1)
    return f" (did you mean {close[0]}?)" if close else ""
