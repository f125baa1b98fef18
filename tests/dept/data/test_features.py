"""Cached features equal fresh ones; a tower looks at an image once, whoever asks; damage costs time only."""

from __future__ import annotations

import logging
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from dept.data.collate import Collator
from dept.data.features import FeatureStore, with_features
from dept.data.images import decode, digest
from dept.data.sources import load_rows
from dept.data.tokenised import tokenise
from dept.errors import DataError
from dept.tasks import load_task
from dept.tasks.task import ImageValue
from tests.backbones import tiny_tokenizer
from tests.dept.data.test_images import png
from tests.dept.vision_helpers import POSITIONS, WIDTH, CountingTower, save_tower, tower_of

COLOURS = ("red", "green", "blue", "yellow")


def images(*colours: str) -> dict[str, bytes]:
    return {digest(png(colour)): png(colour) for colour in colours}


def fill(store: FeatureStore, known: dict[str, bytes]) -> None:
    def find(wanted: str) -> tuple[ImageValue, str]:
        return known[wanted], wanted[:6]

    store.add(known, find)


def test_features_from_the_cache_equal_fresh_ones(tmp_path: Path) -> None:
    tower = tower_of(save_tower(tmp_path / "clip"))
    known = images(*COLOURS)
    fill(FeatureStore(tower, tmp_path / "cache"), known)
    read = FeatureStore(tower, tmp_path / "cache")
    fill(read, known)
    fresh = tower.features([decode(data) for data in known.values()])
    for place, wanted in enumerate(known):
        assert read[wanted].shape == (POSITIONS, WIDTH)
        np.testing.assert_array_equal(read[wanted], fresh[place])
    assert len(list((tmp_path / "cache").glob("*/*.safetensors"))) == 1
    assert len(read) == len(list(read)) == 4


def test_each_image_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dept.data.features.IMAGES_A_FILE", 2)
    tower = CountingTower()
    store = FeatureStore(tower, tmp_path)
    fill(store, images("red", "green", "blue"))
    fill(store, images("red", "green", "blue", "yellow"))
    fill(FeatureStore(tower, tmp_path), images(*COLOURS))
    assert tower.seen == 4
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 3
    other = CountingTower()
    other.fingerprint = "d" * 64
    fill(FeatureStore(other, tmp_path), images("red"))
    assert other.seen == 1, "another tower's features are no substitute"


@pytest.mark.parametrize("damage", ["cut", "noise", "other"])
def test_a_damaged_file_is_computed_anew(tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    tower = CountingTower()
    fill(FeatureStore(tower, tmp_path), images("red", "blue"))
    [file] = tmp_path.glob("*/*.safetensors")
    whole = file.read_bytes()
    if damage == "other":
        file.write_bytes(whole.replace(b"c" * 64, b"d" * 64))
    else:
        file.write_bytes(whole[:-1] if damage == "cut" else b"\xff" * len(whole))
    store = FeatureStore(tower, tmp_path)
    with caplog.at_level(logging.WARNING):
        fill(store, images("red", "blue"))
    assert tower.seen == 4 and "looking at the images again" in caplog.text
    np.testing.assert_array_equal(store[digest(png("red"))][0], np.array([255, 0, 0], np.float16))
    again = CountingTower()
    fill(FeatureStore(again, tmp_path), images("red", "blue"))
    assert again.seen == 0, "the file was mended"


def test_a_disk_that_refuses_costs_memory_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    store = FeatureStore(CountingTower(), tmp_path / "file")
    fill(store, images("red"))
    assert digest(png("red")) in store and "stay in memory" in caplog.text


def _work(folder: str, barrier: object) -> None:
    tower = CountingTower()
    barrier.wait()  # type: ignore[attr-defined]
    fill(FeatureStore(tower, folder), images(*COLOURS))
    Path(folder, f"{multiprocessing.current_process().name}.seen").write_text(str(tower.seen))


@pytest.mark.slow
def test_processes_share_the_work(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    workers = [context.Process(target=_work, args=(str(tmp_path), barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert sorted(int(file.read_text()) for file in tmp_path.glob("*.seen")) == [0, 4], "one looked, the other waited"
    store = FeatureStore(CountingTower(), tmp_path)
    fill(store, images(*COLOURS))
    assert store.tower.seen == 0  # type: ignore[attr-defined]


def test_items_and_batches_carry_their_images_features(tmp_path: Path) -> None:
    task = load_task("vqa")
    rows = load_rows(task, "sample", sample_sizes={"train": 6, "validation": 2, "test": 2})
    tokenizer = tiny_tokenizer(ends_with_eos=True)
    split = tokenise(
        rows, "train", task, tokenizer, max_seq_length=64, verbalizer="digits", is_encoder_decoder=True,
        cache_dir=tmp_path / "tokens",
    )  # fmt: skip
    tower = CountingTower()
    seen = with_features(split, rows, "train", FeatureStore(tower, tmp_path / "features"))
    assert tower.seen == len(set(split.images)) == 3, "two questions a picture"
    for number, item in enumerate(seen):
        picture = decode(rows.splits["train"][number]["image"]["bytes"])
        expected = np.asarray(picture, dtype=np.float32).mean((0, 1)).astype(np.float16)
        np.testing.assert_array_equal(item["visual_features"], np.stack([expected] * 2))
    batch = Collator(0, True)([seen[0], seen[3]])
    assert batch["visual_features"].shape == (2, 2, 3) and batch["visual_features"].dtype.is_floating_point
    assert "visual_features" not in Collator(0, True)([split[0]])


def test_a_broken_image_is_named_with_its_row(tmp_path: Path) -> None:
    from tests.dept.data.test_images import folder_of

    task = load_task("coco_captions")
    rows = load_rows(task, folder_of(tmp_path / "data", {"1.png": png(), "2.png": b"no image"}))
    tokenizer = tiny_tokenizer(ends_with_eos=True)
    split = tokenise(
        rows, "test", task, tokenizer, max_seq_length=64, verbalizer="digits", is_encoder_decoder=True,
        cache_dir=tmp_path / "tokens",
    )  # fmt: skip
    with pytest.raises(DataError, match=r"test row 2: .*2.png is no image"):
        with_features(split, rows, "test", FeatureStore(CountingTower(), tmp_path / "features"))
