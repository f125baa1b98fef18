"""Load rows from the hub, a data folder, a user's file, the embedded samples or the package easy-vqa.

All sources give train, validation and test rows in the task's schema, checked column by column. The hub's splits
follow the paper's rules (`Task.splits`); a folder's files are used as the splits that they are (`load_rows`).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dept.basics.extras import check_extra
from dept.data import easy_vqa
from dept.data.images import as_stored, found_in, without_content
from dept.data.karpathy import READERS
from dept.data.names import Source
from dept.data.tables import FORMATS, read_rows
from dept.errors import DataError
from dept.metrics.captions import CAPTION_METRICS
from dept.tasks.registry import TASK_NAMES
from dept.tasks.splits import Part, folder_parts, hub_parts

if TYPE_CHECKING:
    import datasets

    from dept.tasks import Task

SPLITS = ("train", "validation", "test")
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
_PROBE_SECONDS = 10.0
_ARROW_TYPES: dict[str, pa.DataType] = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "list[str]": pa.list_(pa.string()),
    "list[int]": pa.list_(pa.int64()),
    "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
}  # `list` and `mapping` are inferred from the values
_BAD_VALUES = (pa.ArrowException, ValueError, TypeError, OverflowError)


@dataclass(frozen=True)
class Rows:
    """Checked rows of one task.

    splits: "train", "validation", "test" (or the requested ones) -> rows with the task's columns.
    source: the kind of source, as a result names it. location: the hub id, folder or file.
    fingerprint: sha256 hex of the content; equal rows from different sources have the same.
    image_column: the column of images ({bytes, path}, see `dept.data.images`), None for text tasks.
    """

    splits: Mapping[str, datasets.Dataset] = field(repr=False)
    source: Source
    location: str
    fingerprint: str
    image_column: str | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """The number of rows of each split."""
        return {name: len(rows) for name, rows in self.splits.items()}

    def limited(self, sizes: Mapping[str, int]) -> Rows:
        """The first `sizes[split]` rows of each split (all rows if `sizes` lacks it), with their own fingerprint."""
        first_rows = {
            name: rows.select(range(min(sizes.get(name, len(rows)), len(rows)))) for name, rows in self.splits.items()
        }
        if all(len(first_rows[name]) == len(rows) for name, rows in self.splits.items()):
            return self
        fingerprint = _fingerprint(first_rows, self.image_column)
        return Rows(first_rows, self.source, self.location, fingerprint, self.image_column)


def load_rows(
    task: Task,
    data: str | Path,
    *,
    sample_sizes: Mapping[str, int] | None = None,
    seed: int = 0,
    splits: Sequence[str] | None = None,
) -> Rows:
    """Load the rows of a task.

    Args:
        task: decides which rows, and their schema.
        data: "hub"; "sample"; "easy-vqa"; a folder with FOLDER/<task>/{train,validation,test}.jsonl or .parquet (or
            with these files directly); one file (.csv, .tsv, .jsonl, .parquet); for an own task also a hub id. In
            a folder a test file with hidden labels counts as missing; without test, validation is halved;
            without validation, a tenth of train (at most 1,000 rows) is taken. One file is such a train file.
        sample_sizes: rows of each split for "sample"; None for the defaults.
        seed: decides the sample's rows.
        splits: load exactly these. None loads all three, without test where validation has a single row, which
            cannot be halved.

    Raises:
        DataError: the data is missing, unreachable or unreadable, has too few rows, or a row is not in the task's
            schema (the message names the first such row: file, line, column, what is wrong).
        ConfigError: the task needs the extra `vision`, which is not installed.
    """
    check_installed(task)
    for name in splits or ():
        if name not in SPLITS:
            raise DataError(f"no split is called {name!r}; use {', '.join(SPLITS)}")
    if data == "sample":
        return _from_sample(task, splits, sample_sizes or {}, seed)
    if data == "hub":
        return _from_hub(task, task.hub_id, splits)
    if data == easy_vqa.NAME:
        return _from_easy_vqa(task, splits)
    path = local_path(data)
    if path is not None:
        return _from_files(task, files_of(task, path), splits, str(path))
    if _is_own(task) and _HUB_ID.fullmatch(str(data)) and not str(data).lower().endswith(FORMATS):
        return _from_hub(task, str(data), splits)
    raise DataError(f"--data {data}: no such file or folder. {_choices(task)}")


def check_installed(task: Task) -> None:
    """Raise ConfigError if a task needs the extra `vision` and it is not installed."""
    if task.image_column is not None or set(CAPTION_METRICS) & set(task.metrics):
        check_extra("vision", f"task {task.name}")


def local_path(data: str | Path) -> Path | None:
    """`data` as the path of an existing file or folder, else None. Raises DataError if it can't be a path at all."""
    try:
        path = Path(data).expanduser()
        return path if path.is_dir() or path.is_file() else None
    except (ValueError, RuntimeError, OSError) as fault:  # a null byte, an unknown ~user, no permission
        raise DataError(f"--data {str(data)[:200]!r} cannot be used as a path: {fault}") from fault


def files_of(task: Task, path: Path) -> dict[str, Path]:
    """The split files of a data folder, from FOLDER/<task>/ if it exists, else FOLDER/. A single file is train.

    Raises:
        DataError: there are no such files, or two for one split.
    """
    if path.is_file():
        return {"train": path}
    folder = path / task.name if (path / task.name).is_dir() else path
    files = {}
    for name in SPLITS:
        candidates = [file for suffix in FORMATS if (file := folder / f"{name}{suffix}").exists()]
        if len(candidates) > 1:
            raise DataError(f"{folder}: both {candidates[0].name} and {candidates[1].name} are there; keep one")
        if candidates:
            files[name] = candidates[0]
    if not files:
        raise DataError(f"{path}: no {task.name}/train.jsonl (or .parquet) there. {_choices(task)}")
    return files


def _is_own(task: Task) -> bool:
    return task.name not in TASK_NAMES


def _choices(task: Task) -> str:
    if _is_own(task):
        return "Give --data FILE (csv, tsv, jsonl, parquet), --data FOLDER or a hub id (owner/name)"
    return "Use --data hub, --data FOLDER (FOLDER/<task>/train.jsonl ...) or --data sample (embedded)"


def _from_sample(task: Task, requested: Sequence[str] | None, sizes: Mapping[str, int], seed: int) -> Rows:
    from dept.tasks.sample import SAMPLE_SIZES, sample_rows

    if _is_own(task):
        raise DataError(f"there is no embedded sample of your own task {task.name}. {_choices(task)}")
    splits = {}
    for name in requested or SPLITS:
        rows = sample_rows(task.name, name, sizes.get(name, SAMPLE_SIZES[name]), seed=seed)
        splits[name] = _checked(task, [(f"sample, {name} row {i}", row) for i, row in enumerate(rows, start=1)])
    return _rows(task, splits, "sample", f"embedded sample, seed {seed}")


def _from_easy_vqa(task: Task, requested: Sequence[str] | None) -> Rows:
    if task.name != easy_vqa.TASK:
        purpose = f"--data {easy_vqa.NAME} has questions about images: it is for --task {easy_vqa.TASK}"
        raise DataError(f"{purpose}, not {task.name}")
    splits = {}
    for name in requested or SPLITS:
        rows = easy_vqa.easy_vqa_rows(name)
        splits[name] = _checked(
            task, [(f"{easy_vqa.NAME}, {name} row {i}", row) for i, row in enumerate(rows, start=1)]
        )
    return _rows(task, splits, "package", easy_vqa.version())


def _rows(task: Task, splits: Mapping[str, datasets.Dataset], source: Source, location: str) -> Rows:
    return Rows(splits, source, location, _fingerprint(splits, task.image_column), task.image_column)


def _from_files(task: Task, files: Mapping[str, Path], requested: Sequence[str] | None, location: str) -> Rows:
    read = {name: [_with_image(task, path, *row) for row in read_rows(path, task.columns)]
            for name, path in files.items()}  # fmt: skip
    for name, path in files.items():
        if not read[name]:
            raise DataError(f"{path}: no rows in it")
    if "test" in read and _all_hidden(task, read["test"]):
        del read["test"]
    checked = {name: _checked(task, rows) for name, rows in read.items()}
    try:
        parts = folder_parts({name: len(rows) for name, rows in checked.items()})
    except DataError as fault:
        raise DataError(f"{location}: {fault}") from None
    splits = {name: _part(checked, parts, name, location) for name in _names(requested, parts)}
    return _rows(task, splits, "folder", location)


def _with_image(task: Task, file: Path, where: str, row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """A file's row with its image located relative to the file; a bad value is left for `check_row` to report."""
    column = task.image_column
    if column is not None and isinstance(row.get(column), str | bytes | Mapping):
        task.check_image(where, row)
        row = {**row, column: found_in(row[column], file.parent, where)}
    return where, row


def _from_hub(task: Task, hub_id: str | None, requested: Sequence[str] | None) -> Rows:
    if hub_id is None:
        raise DataError(f"task {task.name} has no hub_id. {_choices(task)}")
    config, revision = (task.hub_config, task.hub_revision) if hub_id == task.hub_id else (None, None)
    location = f"{hub_id}/{config}" if config else hub_id
    hub_splits = _download(task, hub_id, config, revision)
    if task.hub_reader is not None and hub_id == task.hub_id:
        hub_splits = READERS[task.hub_reader](hub_splits, lambda other: _download(task, other))
    if task.image_column is not None:
        hub_splits = {name: _undecoded(rows, task.image_column) for name, rows in hub_splits.items()}
    sizes = {name: len(rows) for name, rows in hub_splits.items()}
    hub_test = task.splits.test
    # The paper's rules name splits that have labels; the test split of a user's own data set may have none.
    if _is_own(task) and hub_test in hub_splits and _all_hidden(task, _placed(task, hub_splits[hub_test], "")):
        del sizes[hub_test]
    parts = hub_parts(task, sizes)
    splits = {}
    for name in _names(requested, parts):
        splits[name] = _part(hub_splits, parts, name, location)
        splits[name] = splits[name].select_columns([c for c in splits[name].column_names if c in task.columns])
        for where, row in _placed(task, splits[name], f"{location}, {name}"):
            _check(task, where, row)
    return _rows(task, splits, "hub", location)


def _undecoded(rows: datasets.Dataset, column: str) -> datasets.Dataset:
    """The rows with images left as file bytes: `datasets` would decode an image whenever its row is read."""
    from datasets import Image

    if isinstance(rows.features.get(column), Image):
        return rows.cast_column(column, Image(decode=False))
    return rows


def _names(requested: Sequence[str] | None, parts: Mapping[str, Part]) -> Sequence[str]:
    if requested is not None:
        return requested
    return SPLITS if "test" in parts else SPLITS[:2]


def _part(
    source_splits: Mapping[str, datasets.Dataset], parts: Mapping[str, Part], name: str, location: str
) -> datasets.Dataset:
    if name not in parts or not parts[name].rows:
        raise DataError(f"{location}: no {name} rows there, and too few others to take any from; add them")
    rows = source_splits[parts[name].source]
    indices = parts[name].indices(len(rows))
    return rows if indices is None else rows.select(indices)


def _placed(task: Task, rows: datasets.Dataset, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with its name for messages. Rows are converted in batches, ten times as fast as one by one."""
    task_columns = rows.select_columns([column for column in rows.column_names if column in task.columns])
    number = 0
    for table in task_columns.with_format("arrow").iter(batch_size=1000):
        for row in table.to_pylist():
            number += 1
            yield f"{where} row {number}", row


def _check(task: Task, where: str, row: Mapping[str, Any]) -> None:
    try:
        task.check_row(row)
    except DataError as fault:
        raise DataError(f"{where}: {fault}") from None


def _all_hidden(task: Task, placed: Iterable[tuple[str, Mapping[str, Any]]]) -> bool:
    """Whether none of the rows has a label: the split then counts as missing. Bad rows are not considered."""
    some_hidden = False
    for _, row in placed:
        try:
            if task.has_label(row):
                return False
        except DataError:
            continue
        some_hidden = True
    return some_hidden


def _checked(task: Task, placed: Sequence[tuple[str, Mapping[str, Any]]]) -> datasets.Dataset:
    """Check the rows and make them a data set with exactly the task's columns."""
    from datasets import Dataset

    for where, row in placed:
        _check(task, where, row)
    arrays = {}
    for column, kind in task.columns.items():
        values = [row.get(column) for _, row in placed]
        if kind == "image":
            values = [as_stored(row[column]) for _, row in placed]
        try:
            arrays[column] = pa.array(values, _ARROW_TYPES.get(kind))
        except _BAD_VALUES as fault:
            where = placed[_first_bad(values, _ARROW_TYPES.get(kind))][0]
            raise DataError(
                f"{where}: {task.name}: column {column!r}: does not fit the rows before ({_one_line(fault)})"
            ) from fault
    return Dataset(pa.table(arrays))


def _first_bad(values: Sequence[Any], kind: pa.DataType | None) -> int:
    """The index of the first value that Arrow cannot convert, found by bisection."""
    good, bad = 0, len(values)  # the first `good` values convert; the first `bad` do not
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            pa.array(values[:middle], kind)
            good = middle
        except _BAD_VALUES:
            bad = middle
    return bad - 1


def _fingerprint(splits: Mapping[str, datasets.Dataset], image_column: str | None) -> str:
    """sha256 of the rows' JSON: equal rows have the same, whatever file format or library they came from.

    An image counts by its content, wherever its file is.
    """
    digest = hashlib.sha256()
    for name, rows in splits.items():
        digest.update(f"{name} {len(rows)}\n".encode())
        for table in rows.with_format("arrow").iter(batch_size=1000):
            for row in table.to_pylist():
                plain = without_content(row, image_column)
                digest.update(json.dumps(plain, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _download(
    task: Task, hub_id: str, config: str | None = None, revision: str | None = None
) -> Mapping[str, datasets.Dataset]:
    """Download all splits of a data set from the hub, or take them from the local cache if the hub does not answer.

    Raises:
        DataError: the data set is unreachable, unknown or unusable; the message names the other choices.
    """
    import datasets
    from huggingface_hub.utils import httpx

    other_choices = _choices(task).replace("Use --data hub, ", "Use ")
    try:
        with _offline_unless_reachable(hub_id):
            if revision is None:
                hub_splits = datasets.load_dataset(hub_id, config)
            else:  # the converted branch has a folder for each config, but does not declare them as configs
                hub_splits = datasets.load_dataset(hub_id, data_dir=config, revision=revision)
    except ConnectionError as fault:
        raise DataError(f"the hub does not answer ({hub_id}: {_one_line(fault)}).\n{other_choices}") from fault
    except datasets.exceptions.DatasetNotFoundError as fault:
        raise DataError(f"the hub has no data set {hub_id}, or it needs a login.\n{other_choices}") from fault
    except (
        datasets.exceptions.DatasetsError,
        httpx.HTTPError,
        OSError,
        ValueError,
        RuntimeError,
        pa.ArrowException,
    ) as fault:
        raise DataError(f"{hub_id} could not be loaded from the hub ({_one_line(fault)}).\n{other_choices}") from fault
    if not isinstance(hub_splits, Mapping):
        raise DataError(f"{hub_id}: expected splits, found a {type(hub_splits).__name__}.\n{other_choices}")
    return hub_splits


@contextlib.contextmanager
def _offline_unless_reachable(hub_id: str) -> Iterator[None]:
    """Set `datasets` offline if the hub does not answer one short request: else it retries for half a minute."""
    import datasets
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils import httpx

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    try:
        HfApi().dataset_info(hub_id, timeout=_PROBE_SECONDS)
    except (httpx.TransportError, ConnectionError):
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    except (httpx.HTTPError, OSError, ValueError):
        pass  # the hub answers, and load_dataset will report what is wrong
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _one_line(fault: BaseException) -> str:
    return " ".join(str(fault).split())[:200]
