"""The numbered notebooks as a student runs them: their own parameters, a fresh folder, offline."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from lab.jobs.notebook import declared
from lab.teaching.docs import walkthroughs
from tests.acceptance.section import Outcome, Section, table
from tests.notebooks import execute

MOST_SECONDS = 180


def measure() -> Outcome:
    rows, passed = [], True
    with tempfile.TemporaryDirectory(prefix="dept-acceptance-") as folder:
        for notebook in walkthroughs():
            started = time.monotonic()
            runs = {"runs_dir": folder} if "runs_dir" in declared(notebook) else {}
            execute(notebook, Path(folder) / notebook.name, runs)
            seconds = time.monotonic() - started
            passed = passed and seconds < MOST_SECONDS
            rows.append([f"`{notebook.stem}`", f"{seconds:.0f}", "yes" if seconds < MOST_SECONDS else "NO"])
            print(rows[-1], flush=True)
    text = "Executed in a kernel of its own, with the notebook's own parameters; seconds in all.\n\n"
    return Outcome(passed, text + table(["notebook", "seconds", "met"], rows))


SECTION = Section(
    "walkthroughs",
    "The walkthroughs",
    f"each of the seven notebooks runs from top to bottom in under {MOST_SECONDS // 60} minutes, offline.",
    measure,
)
