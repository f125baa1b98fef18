"""The sizes of image encoders without torch, beside the encoders themselves; what their features cost a backbone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import CLIPConfig, CLIPVisionConfig, CLIPVisionModel

from dept import DeptConfig, get_prompted_model
from dept.backbones.known import registry as backbones
from dept.backbones.known_towers import known_towers
from dept.backbones.shape import Shape
from dept.backbones.tower_sizes import TowerInfo, tower_info
from dept.costs.flops import Cost, inference_cost, step_cost
from dept.errors import BackboneError
from dept.evaluation.label_scoring import LabelTrie, score_labels
from tests.dept.costs.counting import LiveBytes, count_flops, count_kept_bytes, prompted, sources, training_batch
from tests.dept.vision_helpers import POSITIONS, SHAPE, WIDTH, pictures, save_tower, tower_of


def test_a_folders_sizes_are_those_of_its_tower(tmp_path: Path) -> None:
    folder = save_tower(tmp_path / "part")
    tower = tower_of(folder)
    info = tower_info(str(folder))
    assert (info.width, info.positions) == (tower.width, tower.positions) == (WIDTH, POSITIONS)
    assert info.flops == pytest.approx(count_flops(lambda: tower.features(pictures(1))), rel=0.001)
    CLIPConfig(vision_config=CLIPVisionConfig(**SHAPE).to_dict()).save_pretrained(tmp_path / "whole")
    assert tower_info(f"random:{tmp_path / 'whole'}").flops == info.flops
    assert info.projection_parameters(512) == 512 * WIDTH + 512


@pytest.mark.parametrize(
    ("name", "width", "positions"),
    [("clip-vit-base-patch32", 768, 49), ("clip-vit-large-patch14", 1024, 256), ("mini-clip", 128, 9)],
)
def test_known_towers_have_the_sizes_of_their_models(name: str, width: int, positions: int) -> None:
    info = tower_info(name)
    with torch.device("meta"):
        model = CLIPVisionModel(CLIPVisionConfig(**known_towers()[name]["config"]))
    assert (info.width, info.positions) == (width, positions)
    assert (model.config.hidden_size, model.embeddings.num_patches) == (width, positions)


@pytest.mark.usefixtures("offline_hub")
def test_what_is_no_tower_is_named(tmp_path: Path, tiny_t5: Path) -> None:
    for name, part in (("zero", {"patch_size": 0}), ("list", [1])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": part}))
    for name, message in (
        ("some/tower", "cannot be fetched from the Hugging Face hub"),
        ("./tower", "there is no folder"),
        ("random:some/tower", "neither a folder nor one of clip-vit-base-patch32"),
        (str(tiny_t5), "not the config of a CLIP"),
        (str(tmp_path / "zero"), "patch_size: 0, not a size"),
        (str(tmp_path / "list"), "vision_config is no mapping"),
    ):
        with pytest.raises(BackboneError, match=message):
            tower_info(name)


def test_of_a_hub_id_only_the_config_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tower(tmp_path / "part")
    fetched = []

    def snapshot_download(hub_id: str, *, allow_patterns: list[str], **_: Any) -> str:
        fetched.append((hub_id, allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert (tower_info("made/up-tower").width, fetched) == (WIDTH, [("made/up-tower", ["config.json"])])
    (folder / "config.json").write_text("[]")
    with pytest.raises(BackboneError) as caught:
        tower_info("made/up-other")
    assert "made/up-other" in str(caught.value) and str(folder) not in str(caught.value)  # a page may show it


def test_sizes_are_known_without_torch() -> None:
    code = "import sys; from dept.backbones.tower_sizes import tower_info; tower_info('clip-vit-base-patch32');"
    subprocess.run([sys.executable, "-c", f"{code} assert 'torch' not in sys.modules"], check=True)


T5 = {**backbones()["t5-small"]["config"], "num_layers": 2, "num_decoder_layers": 2, "vocab_size": 2000}
GPT2 = {**backbones()["gpt2"]["config"], "n_layer": 2, "vocab_size": 2000, "bos_token_id": 1, "eos_token_id": 1}
TOWER = TowerInfo("counted", width=64, positions=49, flops=0)


@pytest.mark.parametrize("values", [T5, GPT2], ids=["t5", "gpt2"])
def test_an_image_costs_its_positions_and_the_projection(values: dict[str, Any]) -> None:
    backbone, sizes = prompted(values, 1, 0).backbone, (20, 53, 17, 4)
    method = DeptConfig(num_virtual_tokens=20, rank=53, max_seq_length=256, budget_tokens=1000, prompt_init="random")
    model = get_prompted_model(backbone, method, visual_width=TOWER.width).train()
    features = torch.randn(4, TOWER.positions, TOWER.width)
    batch = {**training_batch(model, 17, 4, 2, True), "visual_features": features}
    counted = Cost(
        count_flops(lambda: model(**batch).loss.backward()), count_kept_bytes(model, lambda: model(**batch))
    )
    shape = Shape.from_config(values)
    assert step_cost(shape, *sizes, tower=TOWER).flops == pytest.approx(counted.flops, rel=0.001)
    assert step_cost(shape, *sizes, tower=TOWER).activation_bytes == pytest.approx(counted.activation_bytes, rel=0.05)

    model.eval().requires_grad_(False)
    model.cache_prompt = False
    asked = {**sources(model, 17, 4, True), "visual_features": features}
    trie = LabelTrie([[5, 1], [6, 1]])
    score_labels(model, trie, **asked)  # makes what is kept between batches
    with LiveBytes() as live:
        score_labels(model, trie, **asked)
    cost = inference_cost(shape, *sizes, cached_prompt=False, tower=TOWER)
    assert cost.flops == pytest.approx(count_flops(lambda: score_labels(model, trie, **asked)), rel=0.001)
    assert cost.activation_bytes == pytest.approx(live.peak, rel=0.05)
