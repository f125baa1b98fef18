"""The recipe's short form: the loss falls, a stopped run ends in the same weights, the model is a backbone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dept.backbones import load_backbone
from dept.errors import ConfigError, RunError
from dept.run import read_json, read_metrics
from lab.pretrain.loop import Materials, PretrainConfig, pretrain, skill_scores
from lab.pretrain.mixture import Example, Mixture
from lab.pretrain.model import MiniT5, collate


def test_the_rate_rises_stays_and_falls() -> None:
    config = PretrainConfig(steps=1_000, learning_rate=1.0, warmup=100, cooldown=0.4)
    assert [config.rate(step) for step in (0, 99, 500, 599)] == [0.01, 1.0, 1.0, 1.0]
    assert config.rate(800) == pytest.approx(0.5)
    assert 0 < config.rate(999) < 0.01
    with pytest.raises(ConfigError, match="steps"):
        PretrainConfig(steps=0)


def test_blurred_names_are_mixed_and_the_rest_is_not(materials: Materials) -> None:
    model = MiniT5(materials.features, materials.vocabulary.own, seed=0)
    seen: list[torch.Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["inputs_embeds"]),
                                            with_kwargs=True)  # fmt: skip
    example = Example("sst2", ((20, 0.25), (21, 1.0)), [30, 1], [31, 1])
    with torch.no_grad():
        model(collate([example], [40]))
        table = model.embeddings()
    expected = torch.stack([0.25 * table[20] + 0.75 * table[40], table[21], table[30], table[1]])
    torch.testing.assert_close(seen[0][0, :4], expected)


def test_the_saved_t5_is_the_trained_network(materials: Materials) -> None:
    """Teacher-forced logits of transformers' T5 are those of the network with its features."""
    model = MiniT5(materials.features, materials.vocabulary.own, seed=0)
    mixture = Mixture(materials.corpora, materials.vocabulary, materials.tokenizer, seed=0)
    batch = collate(mixture.encoded("cola", mixture.pairs("cola", 5, 0)), [0] * 5)
    t5 = model.as_t5()
    with torch.no_grad():
        logits, _ = model(batch)
        again = t5(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels).logits
    torch.testing.assert_close(again[batch.labels != -100], logits, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_short_form(materials: Materials, tmp_path: Path, one_thread: None) -> None:
    config = PretrainConfig(
        steps=60, tokens=1_024, warmup=10, evaluate_every=60, evaluation_rows=4, checkpoint_every=20
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
