"""Live curves, drawn once for everybody who looks at the same runs: twenty visitors cost what one does."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from lab.runs.curves import Curves
from lab.ui.runs.view import Drawn, curve_figures

REDRAW_SECONDS = 3.0  # a growing curve is drawn anew at most so often
_MOST = 64  # sets of runs remembered


class SharedCurves:
    """Figures by the runs in them, as JSON that `Figure` takes. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drawn: OrderedDict[tuple[object, ...], tuple[float, str, list[str]]] = OrderedDict()

    def of(self, there: Sequence[tuple[Drawn, Curves]]) -> tuple[str, list[str]]:
        """A version, which changes with the drawings, and a drawing each of `curve_figures`, "" for none."""
        key = tuple((each.run.run_id, each.name, each.color, each.run.max_steps, each.run.status) for each, _ in there)
        written = " ".join(found.version for _, found in there)
        with self._lock:
            at, version, figures = self._drawn.get(key, (0.0, "", []))
            now = time.monotonic()
            if not figures or (written != version and now - at >= REDRAW_SECONDS):
                figures = ["" if figure is None else figure.to_json() for figure in curve_figures(there)]
                version = written
                self._drawn[key] = (now, version, figures)
                if len(self._drawn) > _MOST:
                    self._drawn.popitem(last=False)
            self._drawn.move_to_end(key)
        return f"{key} {version}", figures
