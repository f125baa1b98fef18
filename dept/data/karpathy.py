"""The hub's VQA v2 and MS COCO captions as the Karpathy split has them (Karpathy & Fei-Fei, 2015; paper, Table 3).

Validation has 5,000 of COCO's validation images, test another 5,000, and train all others (113,287).

- coco_captions: the hub has one row per caption, already split; we make one row per image with its captions.
- vqa: VQA v2's own train and validation rows lie in two data sets; a third one names each image's split.

The ids and columns are those of the hub in autumn 2026 as its pages show them; tests use folders of the same schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dept.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

VQA_VALIDATION = (
    "Multimodal-Fatima/VQAv2_validation"  # the validation rows; the train rows are in the task's own hub_id
)
SPLIT_OF_IMAGES = "yerevann/coco-karpathy"
_SPLITS = {"train": "train", "restval": "train", "validation": "validation", "val": "validation", "test": "test"}

Splits = Mapping[str, "Dataset"]
Download = Callable[[str], Splits]


def coco_captions(splits: Splits, download: Download) -> dict[str, Dataset]:
    """One row per image: {image, captions, image_id}, in the order of each image's first caption."""
    return {name: _by_image(splits[name], name) for name in ("train", "validation", "test") if name in splits}


def _by_image(rows: Dataset, name: str) -> Dataset:
    columns = _columns(rows, ("cocoid", "sentences"), f"captions, {name}")
    first: dict[int, int] = {}  # image -> its first row
    captions: dict[int, list[str]] = {}
    for index, (image, sentence) in enumerate(zip(columns["cocoid"], columns["sentences"], strict=True)):
        first.setdefault(image, index)
        captions.setdefault(image, []).append(sentence["raw"])
    images = rows.select(list(first.values())).select_columns(["image"])
    return images.add_column("captions", list(captions.values())).add_column("image_id", list(first))


def vqa(splits: Splits, download: Download) -> dict[str, Dataset]:
    """VQA v2's rows in the task's schema, assigned to the split of their image."""
    from datasets import concatenate_datasets

    split_of: dict[int, str] = {}
    for name, images in download(SPLIT_OF_IMAGES).items():
        split = _SPLITS.get(name)
        if split is not None:
            split_of |= dict.fromkeys(_columns(images, ("cocoid",), f"{SPLIT_OF_IMAGES}, {name}")["cocoid"], split)
    parts: dict[str, list[Dataset]] = {"train": [], "validation": [], "test": []}
    sources = [*splits.values(), *download(VQA_VALIDATION).values()]
    for rows in sources:
        if "image_id" not in rows.column_names and "id_image" in rows.column_names:
            rows = rows.rename_column("id_image", "image_id")
        images = _columns(rows, ("image_id",), "VQA v2")["image_id"]
        for split, selections in parts.items():
            indices = [index for index, image in enumerate(images) if split_of.get(image) == split]
            if indices:
                selections.append(rows.select(indices).select_columns(_shared_columns(sources)))
    missing = [name for name, selections in parts.items() if not selections]
    if missing:
        raise DataError(f"VQA v2: no question is about an image of the Karpathy split's {missing[0]} part")
    return {name: concatenate_datasets(selections) for name, selections in parts.items()}


def _shared_columns(sources: list[Dataset]) -> list[str]:
    """The task's columns that all parts have; the hub's data sets have many others."""
    columns = ("question_id", "image_id", "question", "question_type", "answer_type", "multiple_choice_answer")
    names = [set(rows.column_names) | ({"image_id"} if "id_image" in rows.column_names else set()) for rows in sources]
    return [column for column in (*columns, "answers", "image") if all(column in each for each in names)]


def _columns(rows: Dataset, names: tuple[str, ...], where: str) -> dict[str, list[Any]]:
    """Columns as lists, read without decoding the images in the same rows."""
    for name in names:
        if name not in rows.column_names:
            raise DataError(
                f"{where}: the hub's rows have no column {name!r}; they are {', '.join(rows.column_names)}"
            )
    chosen = rows.select_columns(list(names)).with_format("arrow")
    table = chosen[:]
    return {name: table.column(name).to_pylist() for name in names}


READERS: Mapping[str, Callable[[Splits, Download], dict[str, Dataset]]] = {"coco_captions": coco_captions, "vqa": vqa}
