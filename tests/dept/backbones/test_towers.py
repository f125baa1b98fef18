"""Image encoders: CLIP's features and preprocessing, names, what tells one from another, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

from dept.backbones.towers import check_tower, load_tower
from dept.errors import BackboneError
from tests.dept.vision_helpers import POSITIONS, SHAPE, WIDTH, pictures, save_tower, tower_of


def test_features_are_clips_patch_grid_after_its_last_norm(tmp_path: Path) -> None:
    tower = tower_of(save_tower(tmp_path))
    square = pictures(1)[0].crop((0, 0, 32, 32))  # of the tower's size: nothing to resize or crop
    pixels = (np.asarray(square, dtype=np.float32) / 255 - [0.48145466, 0.4578275, 0.40821073]) / [
        0.26862954,
        0.26130258,
        0.27577711,
    ]
    batch = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        output = tower.model(pixel_values=batch)
        expected = tower.model.post_layernorm(output.last_hidden_state)[0]
    found = tower.features([square])
    assert found.shape == (1, POSITIONS, WIDTH) and found.dtype == np.float16
    np.testing.assert_allclose(found[0], expected[1:].numpy(), atol=2e-3)
    np.testing.assert_allclose(expected[0].numpy(), output.pooler_output[0].numpy(), atol=1e-6)
    assert (tower.width, tower.positions, tower.source) == (WIDTH, POSITIONS, "folder")


def test_images_of_any_size_share_a_batch(tmp_path: Path) -> None:
    tower = tower_of(save_tower(tmp_path))
    sizes = [Image.new("RGB", size, "red") for size in ((1, 1), (300, 20), (64, 64))]
    assert tower.features(sizes).shape == (3, POSITIONS, WIDTH)


def test_the_fingerprint_covers_weights_and_preprocessing(tmp_path: Path) -> None:
    first = save_tower(tmp_path / "first")
    shutil.copytree(first, tmp_path / "copy")
    assert tower_of(first).fingerprint == tower_of(tmp_path / "copy").fingerprint
    assert tower_of(save_tower(tmp_path / "other", seed=1)).fingerprint != tower_of(first).fingerprint
    settings = {"image_mean": [0.5, 0.5, 0.5], "size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    (tmp_path / "copy" / "preprocessor_config.json").write_text(json.dumps(settings))
    changed = tower_of(tmp_path / "copy")
    assert changed.fingerprint != tower_of(first).fingerprint
    picture = pictures(1)
    assert not np.array_equal(changed.features(picture), tower_of(first).features(picture))


def test_a_whole_clip_gives_the_same_tower_as_its_vision_part(tmp_path: Path) -> None:
    text = CLIPTextConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=99,
        bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    whole = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=CLIPVisionConfig(**SHAPE).to_dict()))
    whole.save_pretrained(tmp_path / "whole")
    whole.vision_model.save_pretrained(tmp_path / "part")
    assert tower_of(tmp_path / "whole").fingerprint == tower_of(tmp_path / "part").fingerprint


def test_random_towers_have_the_shape_and_are_the_same_each_time(tmp_path: Path) -> None:
    folder = save_tower(tmp_path)
    first, second = load_tower(f"random:{folder}"), load_tower(f"random:{folder}")
    assert first.fingerprint == second.fingerprint != load_tower(str(folder)).fingerprint
    assert (first.width, first.positions, first.source) == (WIDTH, POSITIONS, "random")
    assert first.features(pictures(1)).std() > 0.1


def test_what_is_no_tower_is_one_line(tmp_path: Path, tiny_t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    pickled = save_tower(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    cut = save_tower(tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-100])
    wider = save_tower(tmp_path / "wider")
    config = json.loads((wider / "config.json").read_text())
    (wider / "config.json").write_text(json.dumps({**config, "intermediate_size": 56}))
    for name, message in (
        (str(tiny_t5), "(t5) is no CLIP with a ViT"),
        (str(pickled), "a pickle, which is not read"),
        (str(cut), "is damaged"),
        (str(wider), "of another shape, the first is"),
        (str(tmp_path), "is not the config of a saved model"),
        ("random:nothing", "neither a folder nor one of clip-vit-base-patch32"),
        ("clip-vit-large-patch14", "openai/clip-vit-large-patch14"),
        ("clip-vit-large-patch14", "random:clip-vit-large-patch14 (untrained), or mini-clip"),
        ("mini-clop", "(did you mean mini-clip?)"),
        ("some/tower", "random:clip-vit-base-patch32 (untrained), or mini-clip"),
    ):
        for look in (load_tower, check_tower):
            if look is check_tower and name in (str(pickled), str(cut), str(wider)):
                continue  # it looks at the config alone
            with pytest.raises(BackboneError) as error:
                look(name)
            assert message in str(error.value) and str(error.value).count("\n") <= 1
