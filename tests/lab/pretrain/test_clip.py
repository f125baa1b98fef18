"""mini-clip's recipe: what its pictures show, what its loss asks, and its short form."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from dept.backbones.towers import ClipTower, load_tower
from dept.basics.files import read_json
from dept.errors import ConfigError, RunError
from dept.runs.folder import read_metrics
from dept.tasks.samples import scenes
from lab.cli import main
from lab.pretrain import clip_loop
from lab.pretrain.clip import CONFIG, PREPROCESSING, MiniClip, as_numbers, as_pixels
from lab.pretrain.clip_loop import ClipConfig, pretrain_clip
from lab.pretrain.drawings import COLUMNS, ROWS, Picture, altered, pairs, picture

_SYMMETRICAL = ("circle", "square", "diamond", "cross", "rectangle")


def drawn(count: int, seed: int = 0) -> list[Picture]:
    draw = random.Random(seed)
    return [picture(draw) for _ in range(count)]


def test_pictures_show_no_pair_of_the_validation_and_test_parts() -> None:
    shown = {phrase[:2] for one in drawn(2_000) for phrase in one.caption}
    held_out = {*scenes.pairs("validation"), *scenes.pairs("test")}
    assert shown.isdisjoint(held_out)
    assert {colour for colour, _ in shown} > set(scenes.COLOURS)
    assert {shape for _, shape in shown} > set(scenes.SHAPES)


def test_a_caption_says_where_each_shape_is() -> None:
    """The middle of what is not background lies in the ninth that the phrase names, if the shape has one."""
    singles = [one for one in drawn(800) if len(one.caption) == 1 and one.caption[0][1] in _SYMMETRICAL]
    assert len(singles) > 100
    for one in singles:
        background = np.median(one.pixels.reshape(-1, 3), axis=0)
        far = np.abs(one.pixels - background).sum(-1) > 60
        y, x = (int(np.median(places)) for places in np.nonzero(far))
        ((_, _, row, column),) = one.caption
        limits = [64 * place / 3 for place in range(4)]
        assert limits[ROWS.index(row)] - 2 <= y <= limits[ROWS.index(row) + 1] + 2
        assert limits[COLUMNS.index(column)] - 2 <= x <= limits[COLUMNS.index(column) + 1] + 2


def test_an_altered_caption_is_another_one() -> None:
    draw = random.Random(0)
    for one in drawn(500):
        found = altered(draw, one.caption)
        assert sorted(found) != sorted(one.caption)
        assert {phrase[:2] for phrase in found} <= set(pairs())


def test_pixels_are_what_the_saved_preprocessing_makes() -> None:
    pictures = [one.pixels for one in drawn(3)]
    seen = CLIPImageProcessorPil(**PREPROCESSING)(
        [Image.fromarray(pixels) for pixels in pictures], return_tensors="np"
    )
    np.testing.assert_allclose(as_pixels(pictures).numpy(), seen["pixel_values"], atol=1e-6)


def test_likeness_finds_the_phrase_in_one_patch() -> None:
    """Words at right angles, patches that are their phrase: the right caption wins over its words in other phrases."""
    model = MiniClip(seed=0)
    right = (("red", "circle", "top", "left"), ("blue", "star", "bottom", "right"))
    wrong = (("blue", "circle", "top", "left"), ("red", "star", "bottom", "right"))
    with torch.no_grad():
        model.words.copy_(torch.linalg.qr(torch.randn(CONFIG.hidden_size, len(model.words))).Q.T)
        vectors = model.words[as_numbers([right], 2)[0]].sum(1) / 2  # unit vectors, [2, W]
        patches = torch.cat([vectors, -vectors.sum(0, keepdim=True)])[None]  # the third is like neither
        scores = model.likeness(patches, as_numbers([right, wrong, right[:1]], 5))[0] / model.log_scale.exp()
    # Phrases: 2 each; 1.5 each (three words of four in the best patch). Patches: the third is like nothing (0).
    assert scores[:2].tolist() == pytest.approx([2 + 4 / 3, 1.5 + 3 / 3], abs=1e-5)
    assert scores[2].item() == pytest.approx(2 + 2 / 3, abs=1e-5), "a phrase too few leaves a patch without one"
    both = model.likeness(patches, as_numbers([right, wrong, right[:1]], 5)[None])
    torch.testing.assert_close(both[0] / model.log_scale.exp(), scores)


def test_equal_captions_are_no_wrong_answers() -> None:
    model = MiniClip(seed=0)
    first, *others = drawn(6)
    pixels = as_pixels([one.pixels for one in (first, first, *others)])
    captions = as_numbers([one.caption for one in (first, first, *others)], 5)
    wrong = as_numbers([altered(random.Random(0), one.caption) for one in (first, first, *others)], 5)[:, None]
    with torch.no_grad():
        patches = model.patches(pixels)
        scores = torch.cat([model.likeness(patches, captions), model.likeness(patches, wrong)], 1)
        scores[0, 1] = scores[1, 0] = -torch.inf
        ways = [torch.nn.functional.cross_entropy(each, torch.arange(7)) for each in (scores, scores[:, :7].T)]
        expected = torch.stack(ways).mean().item()
        assert model.loss(pixels, captions, wrong).item() == pytest.approx(expected, rel=1e-5)


def test_settings_and_rates() -> None:
    config = ClipConfig(steps=100, rate=1.0, warmup=10, cooldown=0.5)
    assert [config.rate_at(step) for step in (0, 9, 49)] == [0.1, 1.0, 1.0]
    assert config.rate_at(75) == pytest.approx(0.5)
    for settings in ({"steps": 0}, {"batch_size": 1}):
        with pytest.raises(ConfigError, match="at least"):
            ClipConfig(**settings)


def test_the_short_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    """The loss falls, a stopped run ends in the same weights, the folder is a tower, its features the trained ones."""
    monkeypatch.setattr(clip_loop, "_LOG_EVERY", 4)
    config = ClipConfig(steps=12, batch_size=32, warmup=2, probed_scenes=40, checkpoint_every=5)
    whole = tmp_path / "whole"
    scores = pretrain_clip(whole, config)
    assert scores.keys() == {"colour", "shape", "row", "column", "occupied", "captions"}
    losses = [line["loss"] for line in read_metrics(whole / "metrics.jsonl") if line["split"] == "train"]
    assert len(losses) == 3 and losses[-1] < losses[0]

    stopped = tmp_path / "stopped"
    train = clip_loop._Pretraining._train
    with monkeypatch.context() as patched:
        patched.setattr(clip_loop._Pretraining, "_train", lambda run: interrupt() if run.step == 7 else train(run))
        with pytest.raises(KeyboardInterrupt):
            pretrain_clip(stopped, config)
    with pytest.raises(RunError, match="--resume"):
        pretrain_clip(stopped, config)
    with pytest.raises(RunError, match="settings differ"):
        pretrain_clip(stopped, ClipConfig(steps=13), resume=True)
    assert pretrain_clip(stopped, config, resume=True) == scores
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (whole, stopped)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())

    tower = load_tower(str(whole / "model"))
    assert isinstance(tower, ClipTower) and (tower.width, tower.positions) == (CONFIG.hidden_size, 9)
    card = (whole / "model" / "README.md").read_text(encoding="utf-8")
    assert "No number on it is comparable" in card and read_json(whole / "model" / "training.json")["scores"] == scores


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def test_the_command_needs_a_free_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert main(["pretrain-mini-clip", "--output-dir", str(tmp_path)]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert main(["pretrain-mini-clip", "--output-dir", str(tmp_path / "new"), "--resume"]) == 2
    assert "holds no run to resume" in capsys.readouterr().err
