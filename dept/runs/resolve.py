"""Fill in the settings that a run leaves open, from the preset, the task and the backbone, without torch."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dept.backbones.known import default_tower
from dept.errors import ConfigError
from dept.methods.rates import LOW_RANK, PROJECTION
from dept.methods.registry import groups
from dept.runs.settings import TrainConfig
from dept.runs.whole_paths import with_whole_paths
from dept.tasks import Task

DEFAULT_STEPS = 1000


@functools.cache
def preset(name: str) -> Mapping[str, Any]:
    """The content of a file of `dept/runs/presets`: settings, rates by group, values that depend on the task."""
    file = Path(__file__).parent / "presets" / f"{name}.yaml"
    values: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return values


def _preset_values(
    chosen: Mapping[str, Any], task: Task, train_rows: int, open_values: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a preset for a task, with its rates for the groups that are trained."""
    large = train_rows > chosen["large_data_rows"]
    steps = chosen["max_steps_large_data"] if large else chosen["max_steps"]
    rates = {groups()[name].setting_name: rate for name, rate in chosen["rates"].items()}
    return {
        "max_steps": chosen["max_steps_of"].get(task.name, steps),
        "eval_every": chosen["eval_every"],
        "verbalizer": chosen["verbalizer"] if task.verbalizers else None,
        **{name: rate for name, rate in rates.items() if name in open_values},
    }


def resolve(
    config: TrainConfig, task: Task, train_rows: int, is_encoder_decoder: bool, rates: Mapping[str, float]
) -> TrainConfig:
    """Fill in the settings that are None, from the preset, the task and the backbone; the others stay.

    Args:
        train_rows: the number of training rows; the paper trains longer on large data sets (appendix D).
        rates: default rates by setting: prompt_lr, low_rank_lr, lora_lr, ...

    Raises:
        ConfigError: the task lacks the verbalizer, or labels or answers for the decoding; or a text task has an image
            encoder.
    """
    values: dict[str, Any] = {
        "max_seq_length": task.max_seq_length,
        "max_steps": DEFAULT_STEPS,
        "verbalizer": _verbalizer(task, is_encoder_decoder),
        "decoding": task.decoding,
        **rates,
    }
    if config.preset is not None:
        values |= _preset_values(preset(config.preset), task, train_rows, values)
    given = {name: getattr(config, name) for name in values if getattr(config, name, None) is not None}
    values |= given
    values.setdefault("eval_every", config.eval_every or max(1, values["max_steps"] // 10))
    if task.verbalizers and values["verbalizer"] not in task.verbalizers:
        raise ConfigError(f"task {task.name} has no {values['verbalizer']} verbalizer: {', '.join(task.verbalizers)}")
    if values["decoding"] == "answer_list" and task.closed_answers is None:
        raise ConfigError(f"task {task.name} has no list of answers to choose from: leave out --decoding")
    if values["decoding"] == "label_scoring" and task.verbalizer(values["verbalizer"]) is None:
        raise ConfigError(f"task {task.name} has no labels to score: leave out --decoding or use generate")
    projection, low_rank = PROJECTION.setting_name, LOW_RANK.setting_name
    if task.image_column is not None:
        values["vision_backbone"] = config.vision_backbone or default_tower(config.backbone)
        if getattr(config, projection) is None:
            values.setdefault(projection, values.get(low_rank, getattr(config, low_rank)))
    else:
        for name in ("vision_backbone", projection):
            if getattr(config, name) is not None:
                raise ConfigError(f"task {task.name} has no images: leave out {name}")
    return with_whole_paths(dataclasses.replace(config, **values))


def _verbalizer(task: Task, is_encoder_decoder: bool) -> str | None:
    if not task.verbalizers:
        return None
    return "digits" if is_encoder_decoder or "words" not in task.verbalizers else "words"
