"""Visual features on disk, so that a frozen tower sees each image once, whatever the number of epochs and runs.

A tower's features lie in $DEPT_CACHE/features/<its fingerprint>/, in files of up to 512 images each: safetensors with
the images' digests beside the features, mapped into memory rather than read. A file appears whole or not at all; a
lock lets one process compute while the others wait for its files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from dept.backbones.towers import VisionTower
from dept.basics.files import default_cache_dir, whole_file
from dept.data.images import content, decode, named
from dept.data.sources import Rows
from dept.data.tokenised import TokenisedSplit
from dept.tasks.task import ImageValue

_log = logging.getLogger(__name__)

IMAGES_A_FILE = 512
_BATCH = 32  # images that the tower encodes together
_SHOW_FROM = 200  # fewer images show no progress bar

Features = npt.NDArray[np.float16]
Find = Callable[[str], tuple[ImageValue, str]]


class FeatureStore(Mapping[str, Features]):
    """The features of one tower, [P, V] each, by the digest of their image (`dept.data.images.digest`).

    Args:
        cache_dir: the folder of the towers' folders; by default `features` in $DEPT_CACHE or ~/.cache/dept-lab.
    """

    def __init__(self, tower: VisionTower, cache_dir: str | os.PathLike[str] | None = None) -> None:
        self.tower = tower
        root = Path(cache_dir) if cache_dir is not None else default_cache_dir() / "features"
        self.folder = root / tower.fingerprint
        self._places: dict[str, tuple[Any, int]] = {}  # digest -> a file's mapped features, and the index in them
        self._unsaved: dict[str, Features] = {}  # features that could not be written to the disk
        self._seen: set[str] = set()

    def __getitem__(self, digest: str) -> Features:
        if digest in self._places:
            mapped, place = self._places[digest]
            features: Features = mapped[place : place + 1][0]
            return features
        return self._unsaved[digest]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._places, **self._unsaved})

    def __len__(self) -> int:
        return len(self._places.keys() | self._unsaved.keys())

    def add(self, digests: Iterable[str], find: Find, *, progress: bool = True) -> None:
        """Compute the features of these images that are not in the store.

        Args:
            find: takes a digest, gives the image and its name for messages; called for missing images only.

        Raises:
            DataError: an image that cannot be read.
        """
        self._look()
        unique = list(dict.fromkeys(digests))
        if all(digest in self for digest in unique):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            lock.acquire()
        except OSError as fault:
            _log.warning("visual features cannot be kept in %s (%s): they stay in memory", self.folder, fault)
            self._unsaved |= self._computed([digest for digest in unique if digest not in self], find, progress)
            return
        try:
            self._look()  # another process may have computed them meanwhile
            missing = [digest for digest in unique if digest not in self]
            for start in range(0, len(missing), IMAGES_A_FILE):
                self._save(self._computed(missing[start : start + IMAGES_A_FILE], find, progress))
        finally:
            lock.release()

    def _computed(self, digests: Sequence[str], find: Find, progress: bool) -> dict[str, Features]:
        from rich.progress import track

        features: dict[str, Features] = {}
        starts: Iterable[int] = track(
            range(0, len(digests), _BATCH),
            description=f"Looking at {len(digests)} images",
            disable=not progress or len(digests) < _SHOW_FROM,
            transient=True,
        )
        for start in starts:
            batch = digests[start : start + _BATCH]
            decoded = [decode(content(image), called) for image, called in map(find, batch)]
            features |= dict(zip(batch, self.tower.features(decoded), strict=True))
        return features

    def _save(self, features: Mapping[str, Features]) -> None:
        """Write features under a temporary name, then rename. If the disk refuses, they stay in memory."""
        digests = list(features)
        name = hashlib.sha256("".join(digests).encode()).hexdigest()[:32]
        path = self.folder / f"{name}.safetensors"
        metadata = {"tower": self.tower.fingerprint, "digests": json.dumps(digests)}
        try:
            with whole_file(path) as temporary:
                save_file({"features": np.stack(list(features.values()))}, temporary, metadata=metadata)
        except (OSError, SafetensorError) as fault:
            _log.warning("visual features cannot be kept in %s (%s): they stay in memory", self.folder, fault)
            self._unsaved |= features
            return
        self._map(path)

    def _look(self) -> None:
        """Map the files that were added since the last call."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name not in self._seen:
                self._map(path)

    def _map(self, path: Path) -> None:
        self._seen.add(path.name)
        try:
            opened = safe_open(path, "np")
            metadata, mapped = opened.metadata(), opened.get_slice("features")
            digests = json.loads(metadata["digests"])
            expected = [len(digests), self.tower.positions, self.tower.width]
            fits = list(mapped.get_shape()) == expected and metadata["tower"] == self.tower.fingerprint
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as fault:
            _log.warning("the cached features %s are damaged (%s): looking at the images again", path, fault)
            return
        if not fits:
            _log.warning("the cached features %s are not what their name says: looking at the images again", path)
            return
        for place, digest in enumerate(digests):
            self._places[digest] = (mapped, place)


def with_features(
    split: TokenisedSplit, rows: Rows, name: str, store: FeatureStore, *, progress: bool = True
) -> TokenisedSplit:
    """The split with its images' features attached to its items; missing features are computed now.

    Args:
        rows: the rows that `split` was tokenised from.
        name: the split's name in `rows`.

    Raises:
        DataError: an image cannot be read; the message names its row.
    """
    column, table = rows.image_column, rows.splits[name]
    assert column is not None, "a task with images"
    first = dict(zip(reversed(split.images), reversed(split.rows), strict=True))

    def find(digest: str) -> tuple[ImageValue, str]:
        image = table[first[digest]][column]
        return image, f"{name} row {first[digest] + 1}: {named(image)}"

    store.add(reversed(first), find, progress=progress)
    return split.with_features(store)
