"""Images of rows: read from folders and from the hub's schema, told apart by content, refused when unusable."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from dept.data import karpathy
from dept.data.images import content, decode, digest
from dept.data.sources import load_rows
from dept.errors import DataError
from dept.tasks import load_task

CAPTIONS, VQA = load_task("coco_captions"), load_task("vqa")


def png(colour: Any = "red", size: tuple[int, int] = (8, 8), mode: str = "RGB", **details: Any) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG", **details)
    return file.getvalue()


def folder_of(path: Path, images: dict[str, bytes], row: dict[str, Any] | None = None) -> Path:
    """A data folder with a row for each image file."""
    for name, data in images.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    lines = [json.dumps({"captions": [f"picture {name}"], "image": name, **(row or {})}) for name in images]
    for split in ("train", "validation", "test"):
        (path / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_files_lie_beside_their_rows_and_count_by_content(tmp_path: Path) -> None:
    first = folder_of(tmp_path / "a", {"images/1.png": png("red"), "images/2.png": png("blue")})
    rows = load_rows(CAPTIONS, first)
    assert content(rows.splits["train"][1]["image"]) == png("blue")
    shutil.copytree(first, tmp_path / "b")
    assert load_rows(CAPTIONS, tmp_path / "b").fingerprint == rows.fingerprint, "wherever the folder is"
    (tmp_path / "b" / "images" / "2.png").write_bytes(png("green"))
    assert load_rows(CAPTIONS, tmp_path / "b").fingerprint != rows.fingerprint
    assert rows.limited({"train": 1}).image_column == "image"


def test_parquet_with_image_bytes_gives_the_same_rows(tmp_path: Path) -> None:
    images = {"1.png": png("red"), "2.png": png("blue")}
    files = load_rows(CAPTIONS, folder_of(tmp_path / "files", images))
    table = pa.table(
        {
            "image": [{"bytes": data, "path": name} for name, data in images.items()],
            "captions": [[f"picture {name}"] for name in images],
        }
    )
    (tmp_path / "parquet").mkdir()
    for split in ("train", "validation", "test"):
        pq.write_table(table, tmp_path / "parquet" / f"{split}.parquet")
    found = load_rows(CAPTIONS, tmp_path / "parquet")
    assert found.fingerprint == files.fingerprint
    assert [digest(row["image"]) for row in found.splits["test"]] == [digest(data) for data in images.values()]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.png", "line 1: there is no image 'nowhere.png'"),
        ("../outside.png", "lies outside"),
        ("/etc/passwd", "lies outside"),
        ("a\0b", "cannot be used as a path"),
        (7, "column 'image': expected image, found 7"),
        ("", "expected an image"),
    ],
)
def test_an_image_that_is_not_there_is_named_with_its_row(tmp_path: Path, name: Any, message: str) -> None:
    (tmp_path / "outside.png").write_bytes(png())
    folder = folder_of(tmp_path / "data", {"1.png": png()}, {"image": name})
    with pytest.raises(DataError) as error:
        load_rows(CAPTIONS, folder)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_pixels_are_rgb_whatever_the_file_holds() -> None:
    assert decode(png("red")).getpixel((0, 0)) == (255, 0, 0)
    assert decode(png((0, 0, 0, 0), mode="RGBA")).getpixel((0, 0)) == (255, 255, 255), "transparent lies on white"
    assert decode(png(0, mode="L")).mode == "RGB"


def turned(orientation: int) -> bytes:
    """A picture of eight pixels by four, and how the camera was held."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    picture = Image.frombytes("RGB", (8, 4), bytes(range(96)))
    picture.save(file, "PNG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(10))
def test_pictures_stand_as_the_camera_says(orientation: int) -> None:
    data = turned(orientation)
    with Image.open(io.BytesIO(data)) as opened:
        expected = ImageOps.exif_transpose(opened)
    assert (decode(data).size, decode(data).tobytes()) == (expected.size, expected.tobytes())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("whole", "damaged", "size"),
    [
        (b"\x01\x0f", b"\x01\x00", (4, 8)),  # the maker's name is called a width: it cannot be written back
        (b"MM\x00*", b"no\x00*", (8, 4)),  # no EXIF block at all
        (b"\x01\x12\x00\x03\x00\x00\x00\x01", b"\x01\x12\x00\x03\x00\x00\xff\xff", (8, 4)),  # ends too early
    ],
)
def test_a_damaged_exif_block_spoils_no_picture(whole: bytes, damaged: bytes, size: tuple[int, int]) -> None:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x010F], exif[0x0112] = "maker", 6
    exif.endian = ">"
    block = exif.tobytes()
    assert whole in block
    Image.new("RGB", (8, 4)).save(file, "JPEG", exif=block.replace(whole, damaged))
    assert decode(file.getvalue()).size == size


@pytest.mark.parametrize("data", [b"", b"not an image", png()[:40], b"\x89PNG\r\n\x1a\n" + b"\0" * 64])
def test_what_is_no_image_is_one_line(data: bytes) -> None:
    with pytest.raises(DataError, match=r"picture.png (is no image|is damaged)") as error:
        decode(data, "picture.png")
    assert "\n" not in str(error.value)


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 16)
    with pytest.raises(DataError, match="too many pixels"):
        decode(png(size=(8, 8)))


# The hub's data sets, in their schemas.


def hub_set(rows: list[dict[str, Any]]) -> datasets.Dataset:
    features = datasets.Dataset.from_list(rows).features
    if "image" in features:
        features["image"] = datasets.Image()
    return datasets.Dataset.from_list(rows, features=features)


def image(colour: str) -> dict[str, Any]:
    return {"bytes": png(colour), "path": f"{colour}.png"}


def test_captions_of_the_hub_become_a_row_per_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(cocoid: int, raw: str, colour: str) -> dict[str, Any]:
        sentence = {"tokens": raw.split(), "raw": raw, "imgid": cocoid, "sentid": 0}
        return {"image": image(colour), "cocoid": cocoid, "sentences": sentence, "split": "train", "filename": "a"}

    rows = [row(7, "a", "red"), row(9, "b", "blue"), row(7, "c", "red")]
    found = {name: hub_set(rows) for name in ("train", "validation", "test")}
    monkeypatch.setattr("dept.data.sources._download", lambda *args: found)
    made = load_rows(CAPTIONS, "hub")
    assert made.sizes == {"train": 2, "validation": 2, "test": 2}
    first = made.splits["train"][0]
    assert (first["captions"], first["image_id"]) == (["a", "c"], 7)
    assert first["image"]["bytes"] == png("red"), "never decoded"


def question(number: int, picture: int, **others: Any) -> dict[str, Any]:
    answers = [{"answer": "red", "answer_confidence": "yes", "answer_id": i} for i in range(1, 11)]
    return {
        **{"question_id": number, "id_image": picture, "question": f"What is {number}?", "question_type": "what"},
        **{"answer_type": "other", "multiple_choice_answer": "red", "answers": answers, "image": image("red")},
        **others,
    }


def test_questions_of_the_hub_go_to_the_split_of_their_image(monkeypatch: pytest.MonkeyPatch) -> None:
    downloads = {
        VQA.hub_id: {"train": hub_set([question(1, 10, clip_tags="x"), question(2, 20, clip_tags="x")])},
        karpathy.VQA_VALIDATION: {"validation": hub_set([question(3, 30), question(4, 40), question(5, 50)])},
        karpathy.SPLIT_OF_IMAGES: {
            "train": hub_set([{"cocoid": 10}, {"cocoid": 20}]),
            "restval": hub_set([{"cocoid": 30}]),
            "validation": hub_set([{"cocoid": 40}]),
            "test": hub_set([{"cocoid": 50}]),
        },
    }
    monkeypatch.setattr("dept.data.sources._download", lambda task, hub_id, *args: downloads[hub_id])
    made = load_rows(VQA, "hub")
    assert {name: list(rows["question_id"]) for name, rows in made.splits.items()} == {
        "train": [1, 2, 3],
        "validation": [4],
        "test": [5],
    }
    assert VQA.examples(made.splits["test"][0])[0].answers == ("red",) * 10
    downloads[karpathy.SPLIT_OF_IMAGES] = {"train": hub_set([{"id": 1}])}
    with pytest.raises(DataError, match="no column 'cocoid'"):
        load_rows(VQA, "hub")
