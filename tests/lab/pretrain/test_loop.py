"""The recipe's short form: the loss falls, a stopped run ends in the same weights, the model is a backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dept.backbones.load import load_backbone
from dept.basics.files import read_json
from dept.basics.labels import IGNORED_LABEL
from dept.errors import ConfigError, RunError
from dept.runs.folder import read_metrics
from lab.pretrain.loop import Materials, PretrainConfig, pretrain, skill_scores
from lab.pretrain.mixture import Mixture
from lab.pretrain.model import HEAD_SIZE, MiniT5, collate


def test_the_rate_rises_stays_and_falls() -> None:
    config = PretrainConfig(steps=1_000, first_rate=3.0, rate=1.0, first_steps=200, warmup=100, cooldown=0.4)
    rates = [config.rate_at(step) for step in (0, 99, 199, 200, 599)]
    assert rates == [pytest.approx(0.03), 3.0, 3.0, 1.0, 1.0]
    assert config.rate_at(800) == pytest.approx(0.5)
    assert 0 < config.rate_at(999) < 0.01
    noisy = PretrainConfig(steps=1_000, noisy_steps=100, noisy_rate=0.5)
    assert [noisy.rate_at(step) for step in (1_000, 1_050)] == [0.5, 0.25]
    with pytest.raises(ConfigError, match="steps"):
        PretrainConfig(steps=0)


def test_a_word_that_stands_elsewhere_too_is_told_from_step_0(materials: Materials) -> None:
    """After the first layer's attention, the matched part of a word that occurs twice is nearly gone."""
    model = MiniT5(materials.features, materials.vocabulary.own, seed=0)
    words = torch.tensor(Mixture(materials.corpora, materials.vocabulary, materials.tokenizer, seed=0).words)
    chosen = words[torch.randperm(len(words), generator=torch.Generator().manual_seed(0))[:30]]
    ids = torch.cat([chosen[:20], chosen[:10], chosen[20:]])[None]  # the first 10 stand twice
    t5: Any = model.as_t5()
    with torch.no_grad():
        found = t5.encoder.block[0].layer[0](t5.shared(ids))[0]
    left = found[0, :, : 2 * HEAD_SIZE].square().mean(1)
    twice = torch.tensor([True] * 10 + [False] * 10 + [True] * 10 + [False] * 10)
    assert left[twice].max() < left[~twice].min()


def test_noise_blurs_words_alike_and_spares_what_has_its_own_embedding(materials: Materials) -> None:
    model = MiniT5(materials.features, materials.vocabulary.own, seed=0)
    with torch.no_grad():
        before = model.embeddings()
        model.draw_noise(torch.full((materials.features.shape[1],), 0.1), seed=1)
        once, again = model.embeddings(), model.embeddings()
        model.draw_noise(torch.full((materials.features.shape[1],), 0.1), seed=2)
        other = model.embeddings()
    own = torch.zeros(len(before), dtype=torch.bool).index_fill(0, torch.tensor(materials.vocabulary.own), True)
    assert torch.equal(once, again)
    assert torch.equal(once[own], before[own])
    assert (once[~own] - before[~own]).norm(dim=1).min() > 0.1
    assert not torch.equal(once[~own], other[~own])


def test_the_saved_t5_is_the_trained_network(materials: Materials) -> None:
    """Teacher-forced logits of transformers' T5 are those of the network with its features."""
    model = MiniT5(materials.features, materials.vocabulary.own, seed=0)
    mixture = Mixture(materials.corpora, materials.vocabulary, materials.tokenizer, seed=0)
    batches = [collate(mixture.encoded(name, mixture.pairs(name, 5, 0))) for name in ("cola", "nq", "copy")]
    t5 = model.as_t5()
    with torch.no_grad():
        logits, labels = model(batches)
        again = [t5(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels).logits
                 for batch in batches]  # fmt: skip
    there = [batch.labels != IGNORED_LABEL for batch in batches]
    theirs = torch.cat([scores[chosen] for scores, chosen in zip(again, there, strict=True)])
    torch.testing.assert_close(theirs, logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(labels, torch.cat([b.labels[chosen] for b, chosen in zip(batches, there, strict=True)]))


def test_a_picture_s_places_are_sums_of_words(materials: Materials) -> None:
    """transformers' T5, shown the same sums as embeddings, gives the same logits: so a projection can show it one."""
    model = MiniT5(materials.features, materials.vocabulary.own, seed=0)
    mixture = Mixture(materials.corpora, materials.vocabulary, materials.tokenizer, seed=0)
    (example,) = mixture.pictures("vqa", 1, 0)
    batch = collate([example])
    t5 = model.as_t5()
    with torch.no_grad():
        logits, _ = model([batch])
        shown = t5.shared(batch.input_ids)
        for place, bag in enumerate(example.places, start=len(example.prefix)):
            shown[0, place] = sum(weight * t5.shared.weight[token] for token, weight in bag)
        again = t5(inputs_embeds=shown, attention_mask=batch.attention_mask, labels=batch.labels).logits
    there = batch.labels != IGNORED_LABEL
    torch.testing.assert_close(again[there], logits, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_short_form(materials: Materials, tmp_path: Path, one_thread: None) -> None:
    config = PretrainConfig(
        steps=40, noisy_steps=20, tokens=1_024, warmup=10, evaluate_every=60, evaluation_rows=2, checkpoint_every=20
    )
    whole = tmp_path / "whole"
    scores = pretrain(whole, config, materials=materials)
    assert scores is not None
    assert scores.keys() == skill_scores_names(materials)
    losses = [line["loss"] for line in read_metrics(whole / "metrics.jsonl") if line["split"] == "train"]
    assert losses[-1] < losses[0] - 1.0

    stopped = tmp_path / "stopped"
    assert pretrain(stopped, config, materials=materials, minutes=0.0) is None
    assert not (stopped / "model").exists()
    with pytest.raises(RunError, match="--resume"):
        pretrain(stopped, config, materials=materials)
    with pytest.raises(RunError, match="settings differ"):
        pretrain(stopped, PretrainConfig(steps=61), materials=materials, resume=True)
    assert pretrain(stopped, config, materials=materials, resume=True) == scores
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (whole, stopped)]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())

    backbone, tokenizer = load_backbone(str(whole / "model"))
    assert tokenizer is not None
    assert backbone.get_input_embeddings().weight.shape == (len(tokenizer), 128)
    made = read_json(whole / "model" / "training.json")
    assert made["scores"] == scores
    assert "No number on it is comparable" in (whole / "model" / "README.md").read_text(encoding="utf-8")


def skill_scores_names(materials: Materials) -> set[str]:
    model = MiniT5(materials.features, materials.vocabulary.own, seed=0)
    mixture = Mixture(materials.corpora, materials.vocabulary, materials.tokenizer, seed=0)
    return set(skill_scores(model, mixture, 1))
