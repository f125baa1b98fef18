"""Tokenise the rows of a split; the result is cached by content.

Encoder-decoder: right-padded sources, targets as labels. Decoder-only: source and target in one sequence, padded
on the left. `encoding.py` encodes texts, `batches.py` groups rows into batches, `collate.py` pads them.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dept.basics.digest import json_digest
from dept.basics.files import default_cache_dir, whole_file
from dept.data.encoding import TextEncoder, tokenizer_fingerprint
from dept.data.images import digest
from dept.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dept.data.sources import Rows
    from dept.tasks import Task


_log = logging.getLogger(__name__)

FORMAT_VERSION = 2  # of the cached files: raise it when their content or the encoding of texts changes
_CHUNK = 1000  # rows tokenised together
_SHOW_FROM = 5000  # fewer rows show no progress bar
_SCHEMA = pa.schema(
    [
        ("source_ids", pa.list_(pa.int32())),
        ("target_ids", pa.list_(pa.int32())),
        ("source", pa.string()),
        ("target", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("label", pa.int64()),
        ("row", pa.int64()),
        ("image", pa.string()),  # its digest
    ]
)


Item = dict[str, Any]


@dataclass(frozen=True, eq=False)
class TokenisedSplit(Sequence[Item]):
    """A split's examples as ids, with the answers that evaluation compares with; also a torch map-style data set.

    An item is {"source_ids": [L], "target_ids": [T]}, with "visual_features": [P, V] where the split has features; an
    example's row is `rows[i]` (a row may give several).
    """

    table: pa.Table = field(repr=False)
    is_encoder_decoder: bool
    features: Mapping[str, npt.NDArray[np.float16]] | None = field(default=None, repr=False)
    _ids: dict[str, tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ids = {}
        for name in ("source_ids", "target_ids"):
            column = self.table.column(name).combine_chunks()
            # A column without rows has no chunks to combine into one array.
            column = column if isinstance(column, pa.ListArray) else pa.array([], _SCHEMA.field(name).type)
            ids[name] = (column.values.to_numpy(), column.offsets.to_numpy().astype(np.int64))
        object.__setattr__(self, "_ids", ids)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...

    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        item: Item = {
            name: values[starts[index] : starts[index + 1]].tolist() for name, (values, starts) in self._ids.items()
        }
        if self.features is not None:
            item["visual_features"] = self.features[self.images[index]]
        return item

    def with_features(self, features: Mapping[str, npt.NDArray[np.float16]]) -> TokenisedSplit:
        """The same split with visual features in its items; `features` gives [P, V] for an image's digest."""
        return dataclasses.replace(self, features=features)

    @property
    def source_lengths(self) -> npt.NDArray[np.int64]:
        """The number of tokens of each source, [N]."""
        return np.diff(self._ids["source_ids"][1])

    @property
    def target_lengths(self) -> npt.NDArray[np.int64]:
        """The number of tokens of each target, end-of-text included, [N]."""
        return np.diff(self._ids["target_ids"][1])

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The lengths by which training batches are grouped, [N]: of the source, plus the target in one sequence."""
        return self.source_lengths + (0 if self.is_encoder_decoder else self.target_lengths)

    @property
    def sources(self) -> list[str]:
        return self.table.column("source").to_pylist()

    @property
    def targets(self) -> list[str]:
        return self.table.column("target").to_pylist()

    @property
    def answers(self) -> list[tuple[str, ...]]:
        return [tuple(answers) for answers in self.table.column("answers").to_pylist()]

    @property
    def labels(self) -> list[int | None]:
        return self.table.column("label").to_pylist()

    @property
    def rows(self) -> list[int]:
        return self.table.column("row").to_pylist()

    @functools.cached_property
    def images(self) -> list[str]:
        """The digest of each example's image; all None for a text task."""
        return self.table.column("image").to_pylist()


def tokenise(
    rows: Rows,
    split: str,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_seq_length: int,
    verbalizer: str,
    is_encoder_decoder: bool,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> TokenisedSplit:
    """One split of `rows` as token ids, read from the cache if the same content was tokenised before.

    Args:
        cache_dir: the folder of the cached files; by default `tokenised` in $DEPT_CACHE or ~/.cache/dept-lab.
        progress: show a bar when there are many rows.

    Raises:
        DataError: `rows` has no such split, or a row cannot be converted (its column is named).
        ConfigError: max_seq_length leaves no room for text, or the tokenizer has no end-of-text token.
    """
    if split not in rows.splits:
        raise DataError(f"the data has no {split} split; it has {', '.join(rows.splits)}")
    encoder = TextEncoder(
        tokenizer,
        max_seq_length=max_seq_length,
        is_encoder_decoder=is_encoder_decoder,
        max_target_length=None if task.verbalizers else task.max_target_length,  # a label is never cut
    )
    key = json_digest(
        {
            "format": FORMAT_VERSION,
            "rows": [rows.fingerprint, split],
            "task": {**task.to_dict(), "answer_list": None},
            "tokenizer": tokenizer_fingerprint(tokenizer),
            "max_seq_length": max_seq_length,
            "verbalizer": verbalizer,
            "is_encoder_decoder": is_encoder_decoder,
        }
    )
    path = (Path(cache_dir) if cache_dir is not None else default_cache_dir() / "tokenised") / f"{key}.parquet"
    table = _read_cache(path, key)
    if table is None:
        batches = list(_encode_rows(rows.splits[split], task, encoder, verbalizer, split == "train", progress))
        table = pa.Table.from_batches(batches, schema=_SCHEMA)
        _write_cache(path, key, table)
    return TokenisedSplit(table, is_encoder_decoder)


def _encode_rows(
    rows: Any, task: Task, encoder: TextEncoder, verbalizer: str, training: bool, progress: bool
) -> Iterator[pa.RecordBatch]:
    from rich.progress import track

    starts = track(
        range(0, len(rows), _CHUNK),
        description=f"Tokenising {task.name}",
        disable=not progress or len(rows) < _SHOW_FROM,
        transient=True,
    )
    for start in starts:
        chunk = rows.select(range(start, min(start + _CHUNK, len(rows))))
        examples = [
            (start + offset, example)
            for offset, row in enumerate(chunk)
            for example in task.examples(row, verbalizer=verbalizer, training=training)
        ]
        columns = {
            "source_ids": encoder.sources([example.source for _, example in examples]),
            "target_ids": encoder.targets([example.target for _, example in examples]),
            "source": [example.source for _, example in examples],
            "target": [example.target for _, example in examples],
            "answers": [list(example.answers) for _, example in examples],
            "label": [example.label for _, example in examples],
            "row": [row for row, _ in examples],
            "image": [None if example.image is None else digest(example.image) for _, example in examples],
        }
        yield pa.RecordBatch.from_pydict(columns, schema=_SCHEMA)


def _read_cache(path: Path, key: str) -> pa.Table | None:
    """The cached table; None if there is none, or if its checksums show that it is damaged."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as fault:
        _log.warning("the cached file %s is damaged (%s): tokenising again", path, str(fault).splitlines()[0])
        return None
    if table.schema.equals(_SCHEMA) and (table.schema.metadata or {}).get(b"dept_key") == key.encode():
        return table
    _log.warning("the cached file %s is not what its name says: tokenising again", path)
    return None


def _write_cache(path: Path, key: str, table: pa.Table) -> None:
    """Write the table under a temporary name, then rename. A failed write only costs time on the next run."""
    marked = table.replace_schema_metadata({"dept_key": key})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as temporary:
            pq.write_table(marked, temporary, compression="zstd", write_page_checksum=True)
    except OSError as fault:
        _log.warning("the tokenised rows could not be cached in %s: %s", path.parent, fault)
