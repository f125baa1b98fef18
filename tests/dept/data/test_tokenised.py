"""Tokenised rows and their cache, and the tensors made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from dept.basics.labels import IGNORED_LABEL
from dept.data.collate import Collator
from dept.data.sources import Rows, load_rows
from dept.data.tokenised import TokenisedSplit, tokenise
from dept.errors import ConfigError, DataError
from dept.tasks import load_task


@pytest.fixture(scope="module")
def t5(shared: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(shared / "t5_tokenizer")


@pytest.fixture(scope="module")
def sst2(shared: Path) -> Rows:
    return load_rows(load_task("sst2"), shared / "data").limited({"train": 40, "validation": 16, "test": 16})


def tokenised(rows: Rows, tokenizer: PreTrainedTokenizerBase, cache: Path | None, **changed: Any) -> TokenisedSplit:
    settings: dict[str, Any] = {"max_seq_length": 64, "verbalizer": "digits", "is_encoder_decoder": True} | changed
    return tokenise(rows, "train", load_task("sst2"), tokenizer, cache_dir=cache, progress=False, **settings)


def test_what_a_split_holds(sst2: Rows, t5: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    split = tokenised(sst2, t5, tmp_path)
    examples = [task_example for row in sst2.splits["train"] for task_example in load_task("sst2").examples(row)]
    assert split.sources == [example.source for example in examples]
    assert split.targets == [example.target for example in examples]
    assert split.answers == [example.answers for example in examples]
    assert split.labels == [example.label for example in examples]
    assert split.rows == list(range(40)) and len(split) == 40
    assert split[3]["source_ids"] == t5(examples[3].source)["input_ids"]
    assert split[-1] == split[39]
    assert split[:40:20] == [split[0], split[20]]
    assert split.source_lengths.tolist() == [len(item["source_ids"]) for item in split]
    assert split.lengths.tolist() == split.source_lengths.tolist()
    with pytest.raises(IndexError):
        split[40]


def test_decoder_only_lengths_count_the_target(sst2: Rows, t5: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    split = tokenised(sst2, t5, tmp_path, is_encoder_decoder=False)
    assert np.array_equal(split.lengths, split.source_lengths + split.target_lengths)


def test_a_row_may_give_several_examples(shared: Path, t5: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    task = load_task("record")
    split = tokenise(
        load_rows(task, shared / "data"),
        "train",
        task,
        t5,
        max_seq_length=128,
        verbalizer="digits",
        is_encoder_decoder=True,
        cache_dir=tmp_path,
        progress=False,
    )
    assert len(split) > 32 and sorted(set(split.rows)) == list(range(32))
    assert split.labels == [None] * len(split) and max(split.source_lengths) == 128


def test_cache_is_by_content(sst2: Rows, t5: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    first = tokenised(sst2, t5, tmp_path)
    files = list(tmp_path.iterdir())
    assert len(files) == 1 and files[0].suffix == ".parquet"
    stamp = files[0].stat().st_mtime_ns
    assert tokenised(sst2, t5, tmp_path).table.equals(first.table)
    assert list(tmp_path.iterdir()) == files and files[0].stat().st_mtime_ns == stamp
    for changed in ({"max_seq_length": 32}, {"verbalizer": "words"}, {"is_encoder_decoder": False}):
        tokenised(sst2, t5, tmp_path, **changed)
    tokenised(sst2.limited({"train": 39}), t5, tmp_path)
    assert len(list(tmp_path.iterdir())) == 5


def test_a_hit_does_not_tokenise(
    sst2: Rows, t5: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenised(sst2, t5, tmp_path)
    monkeypatch.setattr("dept.data.tokenised._encode_rows", lambda *args: pytest.fail("tokenised again"))
    assert len(tokenised(sst2, t5, tmp_path)) == 40


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "text", "other"])
def test_a_damaged_cache_is_rebuilt(
    sst2: Rows, t5: PreTrainedTokenizerBase, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = tokenised(sst2, t5, tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "other":  # whole, but another split's
        tokenised(sst2, t5, tmp_path / "other", max_seq_length=32)
        (other,) = (tmp_path / "other").iterdir()
        content = bytearray(other.read_bytes())
    elif damage == "flipped":
        content[200] ^= 0xFF
    else:
        content = {"cut": content[:-100], "empty": bytearray(), "text": bytearray(b"hello")}[damage]
    path.write_bytes(content)
    assert tokenised(sst2, t5, tmp_path).table.equals(first.table)
    assert "tokenising again" in caplog.text
    caplog.clear()
    assert tokenised(sst2, t5, tmp_path).table.equals(first.table) and not caplog.text


def test_where_the_cache_is(sst2: Rows, t5: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEPT_CACHE", str(tmp_path / "cache"))
        tokenised(sst2, t5, None)
    assert len(list((tmp_path / "cache" / "tokenised").iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="a file where the folder should be is another error there")
def test_a_cache_that_cannot_be_written_only_warns(
    sst2: Rows, t5: PreTrainedTokenizerBase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    assert len(tokenised(sst2, t5, tmp_path / "file" / "cache")) == 40
    assert "could not be cached" in caplog.text


def test_unknown_split(sst2: Rows, t5: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    rows = Rows({"train": sst2.splits["train"]}, "folder", "x", "y")
    with pytest.raises(DataError, match="no test split; it has train"):
        tokenise(rows, "test", load_task("sst2"), t5, max_seq_length=9, verbalizer="digits", is_encoder_decoder=True)


ITEMS = [
    {"source_ids": [11, 12, 13], "target_ids": [5, 1]},
    {"source_ids": [21], "target_ids": [6, 7, 1]},
]


def test_encoder_decoder_batch() -> None:
    batch = Collator(0, is_encoder_decoder=True)(ITEMS)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[11, 12, 13], [21, 0, 0]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "labels": [[5, 1, IGNORED_LABEL], [6, 7, 1]],
    }
    assert all(tensor.dtype == torch.long for tensor in batch.values())
    assert set(Collator(0, True, with_targets=False)(ITEMS)) == {"input_ids", "attention_mask"}
    padded = Collator(0, True, pad_to=6)(ITEMS)
    assert padded["input_ids"].shape == (2, 6) and padded["labels"].shape == (2, 3)
    with pytest.raises(ConfigError, match="pad_to 2"):
        Collator(0, True, pad_to=2)(ITEMS)


def test_decoder_only_batch() -> None:
    batch = Collator(9, is_encoder_decoder=False)(ITEMS)
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        "input_ids": [[11, 12, 13, 5, 1], [9, 21, 6, 7, 1]],
        "attention_mask": [[1, 1, 1, 1, 1], [0, 1, 1, 1, 1]],
        "labels": [[IGNORED_LABEL, IGNORED_LABEL, IGNORED_LABEL, 5, 1], [IGNORED_LABEL, IGNORED_LABEL, 6, 7, 1]],
        "source_mask": [[1, 1, 1, 0, 0], [0, 1, 0, 0, 0]],
    }
    sources = Collator(9, is_encoder_decoder=False, with_targets=False)(ITEMS)
    assert sources["input_ids"].tolist() == [[11, 12, 13], [9, 9, 21]]
    assert sources["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    padded = Collator(9, is_encoder_decoder=False, pad_to=6)(ITEMS)
    assert padded["input_ids"].shape == (2, 9) and padded["source_mask"].sum(1).tolist() == [3, 1]
    assert Collator(9, False, with_targets=False, pad_to=6)(ITEMS)["input_ids"].shape == (2, 6)


def test_items_without_targets_will_do_for_prediction() -> None:
    batch = Collator(0, True, with_targets=False)([{"source_ids": [1, 2]}])
    assert batch["input_ids"].tolist() == [[1, 2]]


def test_padding_token(t5: PreTrainedTokenizerBase) -> None:
    assert Collator.for_tokenizer(t5, is_encoder_decoder=True).pad_token_id == t5.pad_token_id
