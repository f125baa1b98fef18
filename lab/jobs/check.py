"""Check jobs before they start, and list the unfinished ones."""

from __future__ import annotations

from collections.abc import Sequence

from dept.backbones.known import RANDOM, default_tower, known_backbone, registry
from dept.backbones.locate import locate
from dept.data.sources import check_installed
from dept.tasks import load_task
from lab.jobs.job import Job, is_done


def check_backbones(jobs: Sequence[Job]) -> None:
    """Check before a batch starts that its backbones and image encoders can be found; only configs are fetched.

    Raises:
        BackboneError: there is no such folder or hub id, the model is gated, or the hub does not answer and its cache
            lacks the model.
        ConfigError: a task needs an extra that is not installed.
    """
    for task in dict.fromkeys(job.config.task for job in jobs):
        check_installed(load_task(task))
    for name in dict.fromkeys(job.config.backbone for job in jobs):
        shape = name.removeprefix(RANDOM)
        if shape == name and (name not in registry() or known_backbone(name).source == "hub"):
            locate(name, ["config.json"])
    for job in jobs:
        if load_task(job.config.task).image_column is not None:
            from dept.backbones.towers import check_tower  # imports torch

            check_tower(job.config.vision_backbone or default_tower(job.config.backbone))


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """The jobs that are not done yet."""
    return [job for job in jobs if not is_done(job)]
