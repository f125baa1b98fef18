"""What is checked before jobs start, and which of them are left."""

from __future__ import annotations

from collections.abc import Sequence

from dept.backbones.known import RANDOM, default_tower, known_backbone, registry
from dept.backbones.locate import locate
from dept.tasks import load_task
from lab.jobs.job import Job, is_done


def check_backbones(jobs: Sequence[Job]) -> None:
    """Find out before a batch starts that a backbone or image encoder is not to be had; only configs are looked for.

    Raises:
        BackboneError: no such folder or hub id, gated, or the hub does not answer and has not been asked before.
    """
    from dept.backbones.towers import check_tower  # imports torch

    for name in dict.fromkeys(job.config.backbone for job in jobs):
        shape = name.removeprefix(RANDOM)
        if shape == name and (name not in registry() or known_backbone(name).source == "hub"):
            locate(name, ["config.json"])
    for job in jobs:
        if load_task(job.config.task).image_column is not None:
            check_tower(job.config.vision_backbone or default_tower(job.config.backbone))


def unfinished(jobs: Sequence[Job]) -> list[Job]:
    """Those that are still to be run."""
    return [job for job in jobs if not is_done(job)]
