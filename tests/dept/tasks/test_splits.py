from __future__ import annotations

import pytest
import torch

from dept.errors import DataError, TaskError
from dept.tasks import Task, list_tasks, load_task
from dept.tasks.splits import Part, counts_from_hub, folder_parts, hub_parts

# The paper's Table 7, as printed but for the three entries below. record: rows, before one example per answer
# (137,484 / 1,370 / 15,176 of them). squad is no task of the table.
TABLE_7 = {
    "mnli": (392_702, 9_832, 9_815),
    "qqp": (362_846, 1_000, 40_430),  # printed 40,431: the hub's validation has one row less
    "qnli": (103_743, 1_000, 5_463),
    "sst2": (66_349, 1_000, 872),
    "stsb": (5_749, 750, 750),
    "mrpc": (3_668, 204, 204),
    "rte": (2_490, 138, 139),
    "cola": (8_551, 521, 522),
    "multirc": (27_243, 2_424, 2_424),
    "boolq": (9_427, 1_635, 1_635),
    "wic": (5_428, 319, 319),
    "wsc": (554, 52, 52),
    "cb": (250, 28, 28),
    "nq": (103_071, 1_000, 12_836),
    "hotpotqa": (71_928, 1_000, 5_901),
    "searchqa": (116_384, 1_000, 16_980),
    "newsqa": (73_160, 1_000, 4_212),
    "winogrande": (39_398, 1_000, 1_267),
    "yelp_polarity": (100_000, 1_000, 38_000),
    "scitail": (23_596, 652, 652),
    "paws": (49_401, 8_000, 8_000),  # printed "4,9401"
    # Printed in thousands: 605.1, 26.7, 26.3 questions; 113.2, 5.0, 5.0 images with captions.
    "vqa": (605_102, 26_729, 26_280),
    "coco_captions": (113_287, 5_000, 5_000),
    "squad": (86_599, 1_000, 10_570),
    "record": (99_730, 1_000, 10_000),
}


def release_permutation(rows: int) -> list[int]:
    return torch.randperm(rows, generator=torch.Generator().manual_seed(42)).tolist()


@pytest.mark.parametrize("task", list_tasks(), ids=lambda task: task.name)
def test_counts_are_table_7s(task: Task) -> None:
    counts = counts_from_hub(task)
    assert (counts["train"], counts["validation"], counts["test"]) == TABLE_7[task.name]


def test_halves_come_from_the_permuted_validation() -> None:
    parts = hub_parts(load_task("rte"))
    order = release_permutation(277)
    assert parts["train"].indices(2490) is None
    assert {parts["validation"].source, parts["test"].source} == {"validation"}
    assert parts["validation"].indices(277) == order[:138]
    assert parts["test"].indices(277) == order[138:]


def test_carved_rows_are_the_first_of_the_permuted_train() -> None:
    parts = hub_parts(load_task("sst2"))
    order = release_permutation(67_349)
    assert parts["validation"].indices(67_349) == order[:1000]
    assert parts["train"].indices(67_349) == order[1000:]
    assert parts["test"] == Part("validation", 0, 872, permuted=False)


def test_yelp_keeps_the_next_100_000_and_its_own_test() -> None:
    parts = hub_parts(load_task("yelp_polarity"))
    order = release_permutation(560_000)
    assert parts["train"].indices(560_000) == order[1000:101_000]
    assert parts["validation"].indices(560_000) == order[:1000]
    assert parts["test"] == Part("test", 0, 38_000, permuted=False)


def test_mnli_validates_on_mismatched_and_paws_uses_its_own_splits() -> None:
    mnli = hub_parts(load_task("mnli"))
    assert [part.source for part in mnli.values()] == ["train", "validation_mismatched", "validation_matched"]
    paws = hub_parts(load_task("paws"))
    assert [(part.source, part.permuted) for part in paws.values()] == [
        ("train", False),
        ("validation", False),
        ("test", False),
    ]


def test_a_missing_hub_split_or_too_few_rows_are_named() -> None:
    with pytest.raises(TaskError, match="rte: the data has no split 'validation'; it has train"):
        hub_parts(load_task("rte"), {"train": 10})
    with pytest.raises(TaskError, match="sst2: 1000 training rows are too few"):
        hub_parts(load_task("sst2"), {"train": 1000, "validation": 10})


def test_a_folder_with_all_splits_is_used_as_it_is() -> None:
    parts = folder_parts({"train": 10, "validation": 5, "test": 4})
    assert {name: (part.source, part.rows, part.permuted) for name, part in parts.items()} == {
        "train": ("train", 10, False),
        "validation": ("validation", 5, False),
        "test": ("test", 4, False),
    }


def test_without_test_validation_is_halved() -> None:
    parts = folder_parts({"train": 10, "validation": 5})
    order = release_permutation(5)
    assert parts["validation"].indices(5) == order[:2]
    assert parts["test"].indices(5) == order[2:]


@pytest.mark.parametrize(("train", "taken"), [(200, 20), (9, 1), (50_000, 1000), (2, 1)])
def test_without_validation_a_tenth_of_train_is_taken(train: int, taken: int) -> None:
    parts = folder_parts({"train": train, "test": 4})
    assert (parts["validation"].rows, parts["train"].rows, parts["test"].rows) == (taken, train - taken, 4)
    assert parts["validation"].source == "train"


@pytest.mark.parametrize(("train", "counts"), [(200, (180, 10, 10)), (3, (1, 1, 1)), (50_000, (49_000, 500, 500))])
def test_train_alone_gives_all_three_without_overlap(train: int, counts: tuple[int, int, int]) -> None:
    parts = folder_parts({"train": train})
    assert tuple(parts[name].rows for name in ("train", "validation", "test")) == counts
    rows = [row for part in parts.values() for row in part.indices(train) or []]
    assert sorted(rows) == list(range(train))


def test_a_single_validation_row_cannot_be_halved() -> None:
    assert set(folder_parts({"train": 1, "validation": 1})) == {"train", "validation"}


def test_a_folder_to_evaluate_on_needs_no_train() -> None:
    assert folder_parts({"test": 3}) == {"test": Part("test", 0, 3, permuted=False)}


@pytest.mark.parametrize("rows", [{}, {"train": 0}, {"extra": 5}, {"train": 2}, {"train": 1, "test": 3}])
def test_too_few_rows_are_an_error(rows: dict[str, int]) -> None:
    with pytest.raises(DataError, match="no rows in|too few"):
        folder_parts(rows)
