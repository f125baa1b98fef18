"""The training loop of `mini-t5`: Muon and AdamW, exact resumption, scores of each skill along the way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from transformers import PreTrainedTokenizerFast

from dept.basics.files import whole_folder, write_json, write_text
from dept.basics.labels import IGNORED_LABEL
from dept.basics.provenance import checkout
from dept.errors import ConfigError
from dept.runs.folder import RunFolder
from dept.tasks.samples.lexicon import stable_seed
from lab.pretrain.card import model_card
from lab.pretrain.checkpoints import Trained, begin, log_losses, opened
from lab.pretrain.corpora import Corpora, load_corpora
from lab.pretrain.mixture import Example, Mixture, batches, task_pairs
from lab.pretrain.model import MiniT5, collate
from lab.pretrain.pictures import PICTURES
from lab.pretrain.skills import SKILLS
from lab.pretrain.vocabulary import (
    TASKS,
    WORDS,
    Vocabulary,
    feature_noise,
    make_tokenizer,
    make_vocabulary,
    smollm2_pieces,
    token_features,
)

_MATRICES = tuple(f".{name}.weight" for name in ("q", "k", "v", "o", "wi", "wo"))  # the matrices of the network's body
_PLACE = ("step", "chunk", "chunk_step", "done", "elapsed", "examples")
_LOG_EVERY = 50


@dataclass(frozen=True)
class PretrainConfig:
    """The settings of a pretraining run; the shipped model is made with the defaults.

    Attributes:
        steps: optimiser steps.
        tokens: input tokens in a batch, with padding.
        first_rate, rate: the learning rate in the first `first_steps`, after `warmup` steps, and the rate after
            those; `rate` falls to 0 over the last `cooldown` (a share) of all steps.
        noisy_steps, noisy_rate: further steps with noise on the words' features; their rate falls to 0 again.
        evaluate_every, checkpoint_every: steps between evaluations, between checkpoints.
        evaluation_rows: rows of each skill in an evaluation; four times as many at the end.
    """

    steps: int = 8_600
    tokens: int = 3_072
    first_rate: float = 3e-3
    rate: float = 1.2e-3
    first_steps: int = 150
    warmup: int = 50
    cooldown: float = 0.7
    noisy_steps: int = 1_400
    noisy_rate: float = 1e-3
    seed: int = 0
    evaluate_every: int = 500
    evaluation_rows: int = 48
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        if self.steps < 1 or self.tokens < 512:
            raise ConfigError("steps must be at least 1, tokens at least 512")

    @property
    def total_steps(self) -> int:
        return self.steps + self.noisy_steps

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step >= self.steps:
            return self.noisy_rate * (self.total_steps - step) / self.noisy_steps
        rise = min(1.0, (step + 1) / self.warmup)
        fall = min(1.0, (self.steps - step) / (self.steps * self.cooldown))
        return (self.first_rate if step < self.first_steps else self.rate) * rise * fall


@dataclass(frozen=True)
class Materials:
    """Everything made from the seed and the installed packages; `noise` is the spread of each feature's noise."""

    corpora: Corpora
    vocabulary: Vocabulary
    tokenizer: PreTrainedTokenizerFast
    features: torch.Tensor
    noise: torch.Tensor


def load_materials(seed: int) -> Materials:
    """Read the corpora and SmolLM2's embeddings, and make the tokenizer.

    Raises:
        DataError: a package is missing; the message names it. BackboneError: SmolLM2 is missing.
    """
    corpora = load_corpora(WORDS)
    vocabulary = make_vocabulary(tuple(SKILLS), smollm2_pieces())
    return Materials(
        corpora, vocabulary, make_tokenizer(vocabulary), token_features(vocabulary, seed), feature_noise()
    )


def pretrain(
    output_dir: Path,
    config: PretrainConfig,
    *,
    resume: bool = False,
    minutes: float | None = None,
    materials: Materials | None = None,
) -> dict[str, float] | None:
    """Train, write `output_dir/model/`, and return its scores; None if `minutes` ended before the last step.

    Raises:
        DeptError: a package is missing, the folder is taken or damaged, or the settings to resume differ.
    """
    with opened(output_dir, config, resume=resume) as folder:
        run = _Pretraining(folder, config, materials or load_materials(config.seed))
        if resume:
            run.restore()
        else:
            begin(folder, config)
        return run.go(minutes)


class _Pretraining:
    """The state that the loop's steps share."""

    def __init__(self, folder: RunFolder, config: PretrainConfig, materials: Materials) -> None:
        self.folder, self.config, self.materials = folder, config, materials
        self.model = MiniT5(materials.features, materials.vocabulary.own, config.seed)
        self.mixture = Mixture(materials.corpora, materials.vocabulary, materials.tokenizer, config.seed)
        self.trained = Trained.of(self.model, lambda name, _: name.endswith(_MATRICES))
        # The place in the mixture: the chunk, the step at which it began, and the batches of it that are done.
        self.step, self.chunk, self.chunk_step, self.done = 0, 0, 0, 0
        self.elapsed, self.examples = 0.0, 0
        self.console = Console(stderr=True)

    def go(self, minutes: float | None) -> dict[str, float] | None:
        started = time.monotonic()
        before = self.elapsed
        pending = self._batches()[self.done :]
        losses: list[float] = []
        scores: dict[str, float] = {}
        while self.step < self.config.total_steps:
            if not pending:
                self.chunk, self.chunk_step, self.done = self.chunk + 1, self.step, 0
                pending = self._batches()
            losses.append(self._train(pending.pop(0)))
            self.step, self.done = self.step + 1, self.done + 1
            self.elapsed = before + time.monotonic() - started
            last = self.step == self.config.total_steps
            if self.step % _LOG_EVERY == 0 or last:
                log_losses(self.folder, self.console, self.step, losses, self.elapsed)
                losses.clear()
            if self.step % self.config.evaluate_every == 0 or last:
                rows = self.config.evaluation_rows
                self.model.noise = None
                scores = skill_scores(self.model, self.mixture, 4 * rows if last else rows)
                self.folder.append_metrics({"step": self.step, "split": "validation", "metrics": scores})
                shown = "  ".join(f"{name} {score:.0f}" for name, score in scores.items())
                self.console.print(shown, soft_wrap=True)
            over = minutes is not None and time.monotonic() - started > 60 * minutes
            if self.step % self.config.checkpoint_every == 0 or last or over:
                self._save()
            if over and not last:
                self.console.print("the minutes are over; --resume goes on")
                return None
        self._write_model(scores)
        return scores

    def _batches(self) -> list[list[list[Example]]]:
        examples = self.mixture.chunk(self.chunk, self.chunk_step / self.config.steps)
        return batches(examples, self.config.tokens, stable_seed("order", self.config.seed, self.chunk))

    def _train(self, parts: list[list[Example]]) -> float:
        if self.step >= self.config.steps:
            self.model.draw_noise(self.materials.noise, stable_seed("noise", self.config.seed, self.step))
        self.examples += sum(map(len, parts))
        loss = self.model.loss([collate(part) for part in parts])
        return self.trained.descend(loss, self.config.rate_at(self.step), self.step)

    def _write_model(self, scores: dict[str, float]) -> None:
        """Write model/: weights (float16), config and tokenizer for transformers, training.json and the card."""
        made = {
            "seed": self.config.seed,
            "steps": self.config.steps,
            "examples": self.examples,
            "minutes": round(self.elapsed / 60, 1),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "commit": (checkout() or {}).get("id"),
            "scores": scores,
        }
        self.model.noise = None
        t5 = self.model.as_t5().half()
        with whole_folder(self.folder.path / "model") as temporary:
            t5.save_pretrained(temporary)
            self.materials.tokenizer.save_pretrained(temporary)
            write_json(temporary / "training.json", made)
            card = model_card(made, t5, texts=len(self.materials.corpora.texts), rows=4 * self.config.evaluation_rows)
            write_text(temporary / "README.md", card)

    def _save(self) -> None:
        self.trained.save(self.folder, self.step, {name: getattr(self, name) for name in _PLACE})

    def restore(self) -> None:
        """Restore the last checkpoint; without one, training starts from the beginning."""
        for name, value in (self.trained.restore(self.folder) or {}).items():
            setattr(self, name, value)


@torch.no_grad()
def skill_scores(model: MiniT5, mixture: Mixture, rows: int, split: str = "validation") -> dict[str, float]:
    """Name -> per cent of its targets that are predicted right in every token.

    Tasks are scored on rows of the split's own words and templates, which training never shows; skills on new examples
    of words that training does show.
    """
    scores = {}
    for name in (*SKILLS, *TASKS, *PICTURES):
        seed = stable_seed("scores", split, name)
        if name in PICTURES:
            encoded = mixture.pictures(name, rows, seed, split)
        elif name in SKILLS:
            encoded = mixture.encoded(name, mixture.pairs(name, rows, seed))
        else:
            encoded = mixture.encoded(name, task_pairs(name, split, rows, 1_000, own_only=True)[:rows])
        right = 0
        for start in range(0, rows, 32):
            examples = encoded[start : start + 32]
            batch = collate(examples)
            is_label = batch.labels != IGNORED_LABEL
            wrong = torch.zeros_like(is_label)
            logits, labels = model([batch])
            wrong[is_label] = logits.argmax(-1) != labels
            right += int((~wrong.any(1)).sum())
        scores[name] = round(100 * right / rows, 1)
    return scores
