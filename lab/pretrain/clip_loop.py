"""The training loop of `mini-clip`, and its scores: what a linear map can read from its patches."""

from __future__ import annotations

import io
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from dept.backbones.saved import quiet
from dept.basics.files import whole_folder, write_json, write_text
from dept.basics.provenance import checkout
from dept.errors import ConfigError
from dept.runs.folder import RunFolder
from dept.tasks.samples import scenes
from dept.tasks.samples.lexicon import stable_seed
from lab.pretrain.checkpoints import Trained, begin, log_losses, opened
from lab.pretrain.clip import PREPROCESSING, MiniClip, as_numbers, as_pixels
from lab.pretrain.clip_card import clip_card
from lab.pretrain.drawings import altered, caption_of, picture

_MOST_PHRASES = 5
_LOG_EVERY = 50
_PROBED = ("colour", "shape", "row", "column")
_PROBE_ITERATIONS = 10_000  # far more than a probe takes: each must converge, whatever the processor's last digits


@dataclass(frozen=True)
class ClipConfig:
    """The settings of a run; the shipped tower is made with the defaults.

    Attributes:
        steps: optimiser steps.
        batch_size: pictures in a step.
        wrong_captions: wrong captions of each picture that differ little from its own.
        rate: the learning rate after `warmup` steps; it falls to 0 over the last `cooldown` (a share) of all steps.
        probed_scenes: the number of test scenes behind each score; twice as many training scenes are used.
        checkpoint_every: steps between checkpoints.
    """

    steps: int = 2_000
    batch_size: int = 128
    wrong_captions: int = 4
    rate: float = 2e-3
    warmup: int = 50
    cooldown: float = 0.7
    seed: int = 0
    probed_scenes: int = 600
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 2:
            raise ConfigError("steps must be at least 1, batch_size at least 2")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.rate * min(1.0, (step + 1) / self.warmup, (self.steps - step) / (self.steps * self.cooldown))


def pretrain_clip(output_dir: Path, config: ClipConfig, *, resume: bool = False) -> dict[str, float]:
    """Train, write `output_dir/model/`, and return its scores (`clip_scores`).

    Raises:
        DeptError: the folder is taken or damaged, or the settings to resume differ.
    """
    with opened(output_dir, config, resume=resume) as folder:
        run = _Pretraining(folder, config)
        if resume:
            run.restore()
        else:
            begin(folder, config)
        return run.go()


class _Pretraining:
    """The state that the loop's steps share."""

    def __init__(self, folder: RunFolder, config: ClipConfig) -> None:
        self.folder, self.config = folder, config
        self.model = MiniClip(config.seed)
        self.trained = Trained.of(self.model, _is_matrix)
        self.step, self.elapsed = 0, 0.0
        self.console = Console(stderr=True)

    def go(self) -> dict[str, float]:
        started = time.monotonic() - self.elapsed
        losses: list[float] = []
        while self.step < self.config.steps:
            losses.append(self._train())
            self.step += 1
            self.elapsed = time.monotonic() - started
            last = self.step == self.config.steps
            if self.step % _LOG_EVERY == 0 or last:
                log_losses(self.folder, self.console, self.step, losses, self.elapsed)
                losses.clear()
            if self.step % self.config.checkpoint_every == 0 or last:
                self._save()
        scores = clip_scores(self.model, self.config.probed_scenes)
        self.folder.append_metrics({"step": self.step, "split": "validation", "metrics": scores})
        self._write_model(scores)
        return scores

    def _train(self) -> float:
        """One step on new pictures, drawn from the seed and the step's number alone."""
        draw = random.Random(stable_seed("pictures", self.config.seed, self.step))
        pictures = [picture(draw) for _ in range(self.config.batch_size)]
        captions = [one.caption for one in pictures]
        wrong = [as_numbers([altered(draw, caption) for _ in range(self.config.wrong_captions)], _MOST_PHRASES)
                 for caption in captions]  # fmt: skip
        loss = self.model.loss(
            as_pixels([one.pixels for one in pictures]), as_numbers(captions, _MOST_PHRASES), torch.stack(wrong)
        )
        return self.trained.descend(loss, self.config.rate_at(self.step), self.step)

    def _write_model(self, scores: dict[str, float]) -> None:
        """Write model/: the tower's weights (float16), config and preprocessing for transformers, and its card."""
        made = {
            **{name: getattr(self.config, name) for name in ("seed", "steps", "batch_size")},
            "minutes": round(self.elapsed / 60, 1),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "commit": (checkout() or {}).get("id"),
            "scores": scores,
        }
        with whole_folder(self.folder.path / "model") as temporary, quiet():
            self.model.tower.half().save_pretrained(temporary)
            CLIPImageProcessorPil(**PREPROCESSING).save_pretrained(temporary)
            write_json(temporary / "training.json", made)
            write_text(temporary / "README.md", clip_card(made, self.model.tower))

    def _save(self) -> None:
        self.trained.save(self.folder, self.step, {"step": self.step, "elapsed": self.elapsed})

    def restore(self) -> None:
        """Restore the last checkpoint; without one, training starts from the beginning."""
        place = self.trained.restore(self.folder)
        if place is not None:
            self.step, self.elapsed = place["step"], place["elapsed"]


def _is_matrix(name: str, tensor: Tensor) -> bool:
    """Whether it is a matrix of the tower's layers."""
    return ".layers." in name and tensor.dim() == 2


@torch.no_grad()
def clip_scores(model: MiniClip, count: int) -> dict[str, float]:
    """The tower's scores on the samples' test scenes, in per cent.

    colour, shape, row, column: how often a logistic regression, fitted on training scenes, predicts the property from
    the patch with the shape. Only the test part's own pairs of a colour and a shape count: training never showed them.
    occupied: the same for the question whether a patch has a shape, over all patches.
    captions: how often a picture is more similar to its caption than to each of 15 slightly altered ones.
    """
    from sklearn.linear_model import LogisticRegression

    train_scenes, test_scenes = _Seen(model, "train", 2 * count), _Seen(model, "test", count)
    scores = {}
    for number, name in enumerate(_PROBED):
        probe = LogisticRegression(max_iter=_PROBE_ITERATIONS)
        probe.fit(train_scenes.shapes, [fact[number] for fact in train_scenes.facts])
        scores[name] = probe.score(test_scenes.shapes, [fact[number] for fact in test_scenes.facts])
    probe = LogisticRegression(max_iter=_PROBE_ITERATIONS).fit(train_scenes.patches, train_scenes.occupied)
    scores["occupied"] = probe.score(test_scenes.patches, test_scenes.occupied)
    scores["captions"] = _captions_told_apart(model, test_scenes)
    return {name: round(100 * score, 1) for name, score in scores.items()}


class _Seen:
    """Scenes of the samples, encoded by the tower.

    patches: [scenes * P, W], each with `occupied` 0 or 1. shapes: [S, W], the patches with a shape of a pair that the
    split owns, each with its `facts`: colour, shape, row, column.
    """

    def __init__(self, model: MiniClip, split: str, count: int) -> None:
        draw = random.Random(stable_seed("probed", split))
        self.scenes = [scenes.scene(draw, split) for _ in range(count)]
        images = [scenes.draw(things, draw.randint(235, 255)) for things in self.scenes]
        self.pixels = as_pixels([np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in images])
        # In float64 the probes' line search does not end at float32's last digit. [scenes, P, W]
        grid = torch.cat([model.features(part) for part in self.pixels.split(128)]).double().numpy()
        self.patches: npt.NDArray[np.float64] = grid.reshape(-1, grid.shape[-1])
        side = math.isqrt(grid.shape[1])
        occupied = np.zeros(grid.shape[:2], dtype=int)
        own, shapes = set(scenes.pairs(split)), []
        self.facts: list[tuple[str, str, int, int]] = []
        for number, things in enumerate(self.scenes):
            for thing in things:
                place = thing.row * side + thing.column
                occupied[number, place] = 1
                if split == "train" or (thing.colour, thing.shape) in own:
                    shapes.append(grid[number, place])
                    self.facts.append((thing.colour, thing.shape, thing.row, thing.column))
        self.shapes, self.occupied = np.stack(shapes), occupied.ravel()


def _captions_told_apart(model: MiniClip, scenes: _Seen, wrong: int = 15) -> float:
    draw = random.Random(stable_seed("altered"))
    right = 0
    captions: Sequence[Any] = [caption_of(things) for things in scenes.scenes]
    for pixels, caption in zip(scenes.pixels, captions, strict=True):
        choices = as_numbers([caption, *(altered(draw, caption) for _ in range(wrong))], _MOST_PHRASES)
        scores = model.likeness(model.patches(pixels[None]), choices)
        right += int((scores[0] > scores[1:]).all())
    return right / len(captions)
