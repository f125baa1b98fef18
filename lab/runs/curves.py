"""metrics.jsonl as curves, while the file grows: each look reads new lines only, and curves have a limited length."""

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_POINTS = 400  # of a curve; a chart could not show more of them apart
_MOST_BYTES = 2 * 2**20  # read at one look; the next look reads the rest
_MOST_RUNS = 64  # whose curves are kept in memory
_RATE = "_lr"  # ending of the key of a rate group's learning rate


@dataclass(frozen=True)
class Series:
    """One curve: values by step."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Curves:
    """The curves that a run has written so far.

    Attributes:
        version: changes when the run has written more.
        loss: the training loss; each point is the mean of `loss_mean_of` steps.
        rates: rate group -> its curve, each point the rate at that step; only groups that have a rate.
        validation: metric -> its curve, in per cent.
        step, elapsed_s: of the last line; `elapsed_s` is seconds of training, over all resumptions.
    """

    version: str
    loss: Series
    loss_mean_of: int
    rates: dict[str, Series]
    validation: dict[str, Series]
    step: int
    elapsed_s: float


class _Tail:
    """One metrics.jsonl, read incrementally as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self._start_anew(0)

    def _start_anew(self, inode: int) -> None:
        self._inode, self._offset = inode, 0
        self.loss = Series()
        self.rates: dict[str, Series] = {}
        self.validation: dict[str, Series] = {}
        self.step, self.elapsed_s = 0, 0.0

    @property
    def version(self) -> str:
        return f"{self._inode}-{self._offset}"

    def read(self) -> None:
        """Read the complete new lines; read all lines again where a resumed run has rewritten the file."""
        try:
            with self.path.open("rb") as file:
                stat = self.path.stat()
                if stat.st_ino != self._inode or stat.st_size < self._offset:
                    self._start_anew(stat.st_ino)
                file.seek(self._offset)
                new = file.read(_MOST_BYTES)
        except FileNotFoundError:
            self._start_anew(0)
            return
        complete = new[: new.rfind(b"\n") + 1]
        self._offset += len(complete)
        for text in complete.splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # a process was killed while it wrote
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        step = line["step"]
        self.step = max(self.step, step)
        if isinstance(line.get("elapsed_s"), int | float):
            self.elapsed_s = float(line["elapsed_s"])
        if line.get("split") == "train":
            _append(self.loss, step, line.get("loss"))
            for name, value in line.items():
                if name.endswith(_RATE) and value is not None:
                    _append(self.rates.setdefault(name.removesuffix(_RATE), Series()), step, value)
        elif line.get("split") == "validation" and isinstance(line.get("metrics"), dict):
            for name, value in line["metrics"].items():
                _append(self.validation.setdefault(name, Series()), step, value)


def _append(series: Series, step: int, value: object) -> None:
    if isinstance(value, int | float):
        series.steps.append(step)
        series.values.append(float(value))


class CurveReader:
    """Reads the curves of many runs; the most recently read ones stay in memory. Safe to share between threads."""

    def __init__(self) -> None:
        self._tails: OrderedDict[Path, _Tail] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, metrics_file: Path, since: str | None = None) -> Curves | None:
        """The curves, or None where nothing is new.

        Args:
            since: the `version` of the curves that the caller has already.
        """
        with self._lock:
            tail = self._tails.setdefault(metrics_file, _Tail(metrics_file))
            self._tails.move_to_end(metrics_file)
            while len(self._tails) > _MOST_RUNS:
                self._tails.popitem(last=False)
        with tail.lock:
            tail.read()
            if tail.version == since:
                return None
            loss, mean_of = thinned(tail.loss, mean=True)
            return Curves(
                version=tail.version,
                loss=loss,
                loss_mean_of=mean_of,
                rates={name: thinned(series)[0] for name, series in tail.rates.items()},
                validation={name: thinned(series)[0] for name, series in tail.validation.items()},
                step=tail.step,
                elapsed_s=tail.elapsed_s,
            )


def thinned(series: Series, *, mean: bool = False) -> tuple[Series, int]:
    """A curve with at most `MOST_POINTS` points, and how many of the original points each of them replaces.

    The points are grouped, and each group gives its last point, or its mean. Groups are counted from the first point
    and double in size as the curve grows, so points that have been drawn seldom move. The last group may be smaller.
    """
    size = 1
    while len(series.steps) > MOST_POINTS * size:
        size *= 2
    starts = range(0, len(series.steps), size)
    values = [series.values[start : start + size] for start in starts]
    steps = [series.steps[min(start + size, len(series.steps)) - 1] for start in starts]
    return Series(steps, [_mean(group) if mean else group[-1] for group in values]), size


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
