"""metrics.jsonl as curves to draw while it grows: only what is new is read, as many points as a chart shows."""

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_POINTS = 400  # of a curve: more than a chart's pixels show apart
_MOST_BYTES = 2 * 2**20  # read at once; the rest at the next look
_MOST_RUNS = 64  # remembered
_RATE = "_lr"  # a column of a rate group


@dataclass(frozen=True)
class Series:
    """One curve: values by step."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Curves:
    """What a run has written so far.

    Attributes:
        version: changes when there is more.
        loss: of training; each point the mean of `loss_mean_of` steps.
        rates: rate group -> its curve, the rate of each point's last step; groups that have one alone.
        validation: metric -> its curve, in per cent.
        step, elapsed_s: of the last line; seconds of training, over all resumptions.
    """

    version: str
    loss: Series
    loss_mean_of: int
    rates: dict[str, Series]
    validation: dict[str, Series]
    step: int
    elapsed_s: float


class _Tail:
    """One metrics.jsonl, read once from its beginning to its end as that moves."""

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
        """Take in whole lines that are new; all again where a resumed run has written the file anew."""
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
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for text in whole.splitlines():
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
    """The curves of many runs, the most recently looked at remembered. Safe to share between threads."""

    def __init__(self) -> None:
        self._tails: OrderedDict[Path, _Tail] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, metrics_file: Path, since: str | None = None) -> Curves | None:
        """The curves, or None where nothing is new.

        Args:
            since: the `version` that the caller has.
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
    """At most `MOST_POINTS` of a curve, each the last of so many points (or their mean); and of how many.

    The groups count from the first point and double in size as the curve grows, so that points that have been drawn
    seldom move. The last group may be smaller than the others.
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
