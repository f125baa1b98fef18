"""Make the local paths in a run's settings absolute, so that they are valid from any folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Container
from pathlib import Path
from typing import Any

from dept.backbones import known as known_backbones
from dept.backbones import known_towers
from dept.basics.checked import settings_of
from dept.basics.settings_file import text_or_file
from dept.data.names import DATA_NAMES
from dept.runs.settings import TrainConfig
from dept.tasks.registry import TASK_NAMES


def with_whole_paths(config: TrainConfig) -> TrainConfig:
    """The settings with absolute local paths; aliases, hub ids and other names are unchanged.

    A known name takes precedence over a folder of that name, as it does where the setting is read. A setting that is
    JSON or a JSON file becomes the file's text, so that the run does not depend on the file.

    Raises:
        ConfigError: a JSON file cannot be read.
    """
    names: dict[str, Container[str]] = {
        "task": TASK_NAMES,
        "data": DATA_NAMES,
        "backbone": known_backbones.registry(),
        "tokenizer": known_backbones.registry(),
        "vision_backbone": known_towers.known_towers(),
    }
    places: dict[str, Any] = {
        setting: _absolute(value, known)
        for setting, known in names.items()
        if (value := getattr(config, setting)) is not None
    }
    for name, one in settings_of(TrainConfig).items():
        if one.widget == "json" and (value := getattr(config, name)) is not None:
            places[name] = text_or_file(value, name)
    return dataclasses.replace(config, **places)


def _absolute(name: str, known: Container[str]) -> str:
    path = name.removeprefix(known_backbones.RANDOM)
    if path in known or not Path(path).exists():
        return name
    return f"{name.removesuffix(path)}{Path(path).resolve()}"
