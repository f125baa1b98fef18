"""Images before the text: where they stand, that they change nothing else, that only the adapter's parts learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dept import PromptedModel, build_optimizer
from dept.backbones.embeddings import word_embeddings
from dept.errors import AdapterError
from dept.evaluation.label_scoring import LabelTrie, score_labels
from tests.dept.adapters.helpers import edit
from tests.dept.tiny_models import (
    ADAPTER_KEYS,
    EOS,
    KINDS,
    assert_bit_identical,
    backbone,
    generate,
    labels_for,
    padded,
    snapshot,
    tokens,
)
from tests.dept.vision_helpers import POSITIONS, WIDTH, features, pictures, save_tower, seeing, tower_of

KEYS = [*ADAPTER_KEYS, "visual_projection.projection_weight", "visual_projection.projection_bias"]


def test_prompt_image_and_updated_text_stand_in_that_order() -> None:
    model = seeing("t5")
    rows = [tokens(5, 1), tokens(3, 2)]
    batch = padded(rows, "left")  # put last for T5 all the same
    seen = features(2)
    with torch.no_grad():
        inputs = model.embed(**batch, source_mask=None, visual_features=seen)
        update = model.low_rank_update(5)
        projection = model.visual_projection
        for row, ids in enumerate(rows):
            m, p = 3, POSITIONS
            got = inputs.inputs_embeds[row]
            assert torch.equal(got[:m], model.soft_prompt.prompt_embeddings)
            expected = seen[row] @ projection.projection_weight.T + projection.projection_bias
            torch.testing.assert_close(got[m : m + p], expected)
            text = word_embeddings(model.backbone)[torch.tensor(ids)] + update[: len(ids)]
            torch.testing.assert_close(got[m + p : m + p + len(ids)], text)
            assert inputs.attention_mask[row].tolist() == [1] * (m + p + len(ids)) + [0] * (5 - len(ids))
    assert inputs.before_tokens == 3 + POSITIONS


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: str) -> None:
    model = seeing(kind)
    rows, seen = [tokens(6, 1), tokens(3, 2)], features(2)
    together, alone = padded(rows, "left"), padded(rows[1:])
    labels = labels_for(model, together)
    with torch.no_grad():
        both = model(**together, labels=labels, visual_features=seen).logits
        one_labels = labels[1:] if model.is_encoder_decoder else labels_for(model, alone)
        one = model(**alone, labels=one_labels, visual_features=seen[1:]).logits
    if model.is_encoder_decoder:
        torch.testing.assert_close(both[1:], one, atol=1e-4, rtol=1e-4)
    else:
        torch.testing.assert_close(both[1:, -3:], one[:, -3:], atol=1e-4, rtol=1e-4)
    ids = generate(model, **together, visual_features=seen, max_new_tokens=3, do_sample=False)
    again = generate(model, **alone, visual_features=seen[1:], max_new_tokens=3, do_sample=False)
    assert torch.equal(ids[1:, : again.shape[1]], again)


@pytest.mark.parametrize("kind", KINDS)
def test_the_image_matters_to_loss_generation_and_labels(kind: str) -> None:
    model = seeing(kind)
    batch = padded([tokens(6, 1)])
    labels = labels_for(model, batch)
    trie = LabelTrie([[5, EOS], [6, EOS], [5, 7, EOS]])
    with torch.no_grad():
        losses = [model(**batch, labels=labels, visual_features=20 * features(1, seed)).loss for seed in (0, 1)]
    assert losses[0] != losses[1]
    first, second = (score_labels(model, trie, **batch, visual_features=20 * features(1, seed))[1] for seed in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_cached_prompt_gives_the_same_labels(kind: str) -> None:
    model = seeing(kind)
    trie = LabelTrie([[5, EOS], [6, EOS], [5, 7, EOS]])
    batch, seen = padded([tokens(6, 1), tokens(4, 2)], "left"), features(2)
    cached = score_labels(model, trie, **batch, visual_features=seen)[1]
    model.cache_prompt = False
    torch.testing.assert_close(
        score_labels(model, trie, **batch, visual_features=seen)[1], cached, atol=1e-5, rtol=1e-4
    )


def test_features_are_asked_for_and_refused() -> None:
    batch = padded([tokens(4)])
    with pytest.raises(ValueError, match="pass visual_features"):
        seeing("t5").generate(**batch)
    from tests.dept.tiny_models import prompted

    with pytest.raises(ValueError, match="reads no images"):
        prompted("t5").generate(**batch, visual_features=features(1))
    with pytest.raises(ValueError, match=f"features of width 5; this model reads {WIDTH}"):
        seeing("t5").generate(**batch, visual_features=torch.zeros(1, 2, 5))


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
def test_towers_stay_bit_identical_and_only_prompt_update_and_projection_learn(kind: str, tmp_path: Path) -> None:
    tower = tower_of(save_tower(tmp_path / "clip"))
    raw = backbone(kind)
    before, seen_before = snapshot(raw), snapshot(tower.model)
    model = seeing(kind)
    model.backbone = raw.requires_grad_(False)
    start = snapshot(model)
    assert sorted(start) == sorted(KEYS)
    optimizer = build_optimizer(model, 0.1, 0.05, projection_lr=0.02)
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {
        "prompt": 0.1,
        "low_rank": 0.05,
        "projection": 0.02,
    }
    model.train()
    batch = padded([tokens(6, 1), tokens(4, 2)], "left")
    seen = torch.from_numpy(tower.features(pictures(2))).float()
    for _ in range(3):
        optimizer.zero_grad()
        model(**batch, labels=labels_for(model, batch), visual_features=seen).loss.backward()
        optimizer.step()
    assert_bit_identical(raw, before)
    assert_bit_identical(tower.model, seen_before)
    assert not any(parameter.requires_grad for module in (raw, tower.model) for parameter in module.parameters())
    for name, tensor in snapshot(model).items():
        assert not torch.equal(tensor, start[name]), name
        assert tensor.isfinite().all()


def test_prompt_and_update_start_as_they_do_without_images() -> None:
    from dept import DeptConfig, get_prompted_model

    config = DeptConfig(num_virtual_tokens=3, rank=2, max_seq_length=12)
    starts: list[dict[str, Tensor]] = []
    for width in (None, WIDTH):
        torch.manual_seed(5)
        starts.append(snapshot(get_prompted_model(backbone("t5"), config, visual_width=width)))
    for name in ADAPTER_KEYS:
        assert torch.equal(starts[0][name], starts[1][name])
    spread = starts[1]["visual_projection.projection_weight"].std() * WIDTH**0.5
    rms = word_embeddings(backbone("t5")).square().mean().sqrt()
    assert spread == pytest.approx(float(rms), rel=0.15), "images start as large as words"


def test_the_projection_is_counted_apart(capsys: pytest.CaptureFixture[str]) -> None:
    model = seeing("t5")
    own = 3 * 16 + 2 * (12 + 16)
    assert model.trainable_parts() == {"prompt": 48, "low_rank": 56, "projection": 16 * WIDTH + 16}
    assert model.trainable_parameters() == own + 16 * WIDTH + 16
    model.print_trainable_parameters()
    assert f"|| visual projection: {16 * WIDTH + 16}" in capsys.readouterr().out


def test_table_3s_share_is_that_of_a_2048_wide_tower() -> None:
    """0.74% (Table 3): a projection of 2,048 channels beside the budget of 100 x 768, over T5-base and both."""
    projection, budget, t5 = 2048 * 768 + 768, 76_800, 222_903_552
    assert round(100 * (projection + budget) / (t5 + projection + budget), 2) in (0.73, 0.74)


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_saved_and_loaded_model_gives_the_same(kind: str, tmp_path: Path) -> None:
    model = seeing(kind)
    tower = tower_of(save_tower(tmp_path / "clip"))
    model.save_pretrained(tmp_path / "adapter", tower=tower)
    loaded = PromptedModel.from_pretrained(backbone(kind), tmp_path / "adapter").eval()
    batch = padded([tokens(6)])
    labels = labels_for(model, batch)
    expected = model(**batch, labels=labels, visual_features=features(1)).logits
    assert torch.equal(loaded(**batch, labels=labels, visual_features=features(1)).logits, expected)
    card = (tmp_path / "adapter" / "README.md").read_text()
    assert f"| of these, the visual projection | {16 * WIDTH + 16:,} |" in card
    assert f"load_tower('{tmp_path / 'clip'}')" in card
    from dept.adapters.store import read_adapter_config

    vision = read_adapter_config(tmp_path / "adapter").vision
    assert vision is not None
    assert (vision.name, vision.fingerprint, vision.width) == (str(tmp_path / "clip"), tower.fingerprint, WIDTH)


@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"name": "a", "fingerprint": None, "width": 5}, "projection_weight is [16, 24]"),
        ({"name": "a", "fingerprint": None, "width": "5"}, "width must be a whole number"),
        ({"name": "../a", "fingerprint": None, "width": 24}, "name must be a hub id"),
        ({"name": "a", "fingerprint": "x", "width": 24}, "fingerprint must be a sha256"),
        ({"name": "a", "fingerprint": None, "width": 24, "code": "x"}, "has an unknown key 'code'"),
        (None, "has an unknown tensor 'projection_"),
    ],
)
def test_a_damaged_vision_entry_is_refused(vision: object, message: str, tmp_path: Path) -> None:
    seeing("t5").save_pretrained(tmp_path / "adapter")
    edit(tmp_path / "adapter", vision=vision)
    with pytest.raises(AdapterError) as error:
        PromptedModel.from_pretrained(backbone("t5"), tmp_path / "adapter")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_bfloat16_backbones_read_images_too() -> None:
    model = seeing("t5")
    nn.Module.to(model.backbone, torch.bfloat16)
    batch = padded([tokens(6)])
    output = model(**batch, labels=labels_for(model, batch), visual_features=features(1))
    assert output.logits.dtype == torch.bfloat16 and output.loss.isfinite()
