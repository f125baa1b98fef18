"""mini-clip as it is shipped: small, quick to load, whole, and what its card and its registry entry say."""

from __future__ import annotations

import io
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

import dept
from dept.backbones.known import DEFAULT_TOWER, default_tower
from dept.backbones.load import backbone_info
from dept.backbones.tower_sizes import tower_info
from dept.backbones.towers import ClipTower, check_tower, load_tower
from dept.basics.files import read_json
from dept.runs.settings import TrainConfig
from dept.tasks.samples import scenes
from dept.training.loop import train
from tests.acceptance import mini_clip_t5

FOLDER = Path(dept.__file__).parent / "backbones" / "embedded" / "mini_clip"
MOST_BYTES = 4_000_000


def test_small_and_whole() -> None:
    files = {file.name: file.stat().st_size for file in FOLDER.iterdir()}
    assert files.keys() == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "training.json",
        "README.md",
    }
    assert sum(files.values()) <= MOST_BYTES
    check_tower("mini-clip")
    tower = load_tower("mini-clip")
    info = tower_info("mini-clip")
    assert (tower.source, tower.width, tower.positions) == ("embedded", info.width, info.positions)
    assert load_tower(str(FOLDER)).fingerprint == tower.fingerprint


def test_its_shape_alone_differs_in_the_weights_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FOLDER, tmp_path / "mini-clip")  # not read: the alias goes before it
    (tmp_path / "mini-clip" / "preprocessor_config.json").write_text("{}")
    tower, shape = load_tower("mini-clip"), load_tower("random:mini-clip")
    assert (shape.source, shape.width, shape.parameters) == ("random", tower.width, tower.parameters)
    assert isinstance(tower, ClipTower) and isinstance(shape, ClipTower)
    shape.model.load_state_dict(tower.model.state_dict())
    picture = [Image.effect_noise((100, 80), 60).convert("RGB")]
    assert np.array_equal(shape.features(picture), tower.features(picture))


def test_it_is_the_default_beside_mini_t5_alone() -> None:
    assert default_tower("mini-t5") == "mini-clip"
    assert default_tower("t5-base") == default_tower("some/where") == DEFAULT_TOWER


def test_a_linear_map_reads_colour_and_shape_of_unseen_pairs() -> None:
    """Fitted on a few training scenes; asked about pairs that neither the tower nor they showed."""
    tower = load_tower("mini-clip")
    found = {}
    for split, count in (("train", 300), ("test", 100)):
        draw = random.Random(split)
        drawn = [scenes.scene(draw, split) for _ in range(count)]
        images = [Image.open(io.BytesIO(scenes.draw(things, 245))).convert("RGB") for things in drawn]
        grid = tower.features(images).astype(np.float32)  # [count, 9, W]
        own = set(scenes.pairs(split))
        found[split] = [
            (grid[number, 3 * thing.row + thing.column], thing)
            for number, things in enumerate(drawn)
            for thing in things
            if split == "train" or (thing.colour, thing.shape) in own
        ]
    for fact in ("colour", "shape", "column"):
        (inputs, facts), (asked, answers) = (
            ([vector for vector, _ in each], [getattr(thing, fact) for _, thing in each])
            for each in (found["train"], found["test"])
        )
        assert LogisticRegression(max_iter=300).fit(inputs, facts).score(asked, answers) > 0.9, fact


def test_the_card_says_what_it_is() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    made = read_json(FOLDER / "training.json")
    for said in ("No number on it is comparable with the paper's", f"--steps {made['steps']} --seed {made['seed']}"):
        assert said in card
    assert " | ".join(str(score) for score in made["scores"].values()) in card


def test_a_run_says_where_its_tower_is_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mini-clip").mkdir()  # a folder of the alias's name is not it
    result = train(
        TrainConfig(
            task="vqa", backbone="mini-t5", data="sample", output_dir=str(tmp_path / "run"),
            num_virtual_tokens=2, rank=2,
            max_steps=1, batch_size=2, max_train_rows=4, max_validation_rows=2, max_test_rows=2,
        )
    )  # fmt: skip
    assert result["vision_backbone"]["name"] == result["config"]["vision_backbone"] == "mini-clip"
    assert result["vision_backbone"]["source"] == "embedded"
    assert (
        result["config"]["projection_lr"]
        == backbone_info("mini-t5").rates["projection"]
        != result["config"]["low_rank_lr"]
    )


@pytest.mark.slow
def test_it_answers_by_looking(tmp_path: Path, one_thread: None) -> None:
    """One claim of the acceptance report: above the most frequent answers, and above itself when it sees nothing."""
    job = mini_clip_t5.Job("vqa", "sample", "dept")
    score = mini_clip_t5.run(job, mini_clip_t5.blank)
    by_type = mini_clip_t5.most_frequent(mini_clip_t5.rows_of(job), lambda row: str(row["question_type"]))
    assert score.otherwise is not None
    assert score.test > max(by_type, score.otherwise) + 10
