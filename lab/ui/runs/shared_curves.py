"""Live curves, drawn once for all visitors who look at the same runs: twenty visitors cost as much as one."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from lab.runs.curves import Curves
from lab.ui.runs.view import Drawn, curve_figures

REDRAW_SECONDS = 3.0  # the least time between two drawings of a growing curve
_MOST = 64  # sets of runs whose figures are kept


class SharedCurves:
    """Keeps the figures of each set of runs, as JSON that `Figure` takes. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drawn: OrderedDict[tuple[object, ...], tuple[float, str, list[str]]] = OrderedDict()

    def of(self, drawn: Sequence[tuple[Drawn, Curves]]) -> tuple[str, list[str]]:
        """A version, which changes with the figures, and each of `curve_figures` as JSON, "" for None."""
        key = tuple((each.run.run_id, each.name, each.color, each.run.max_steps, each.run.status) for each, _ in drawn)
        written = " ".join(curves.version for _, curves in drawn)
        with self._lock:
            at, version, figures = self._drawn.get(key, (0.0, "", []))
            now = time.monotonic()
            if not figures or (written != version and now - at >= REDRAW_SECONDS):
                figures = ["" if figure is None else figure.to_json() for figure in curve_figures(drawn)]
                version = written
                self._drawn[key] = (now, version, figures)
                if len(self._drawn) > _MOST:
                    self._drawn.popitem(last=False)
            self._drawn.move_to_end(key)
        return f"{key} {version}", figures
