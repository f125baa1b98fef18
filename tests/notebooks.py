"""Notebooks executed as the lab does it, in processes of their own: it sets signal handlers and environment there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parent.parent
_PROGRAM = """
import json, sys
from pathlib import Path
from lab.jobs.job import Notebook
from lab.jobs.notebook import execute_notebook

source, output, parameters = sys.argv[1:]
status, error = execute_notebook(Notebook(Path(source), Path(output), json.loads(parameters)))
sys.exit(None if status == "completed" else f"{status}: {error}")
"""


def run_apart(program: str, *arguments: str) -> None:
    """Run a few lines of Python in a process of their own.

    Raises:
        AssertionError: they failed; the message has the end of stderr.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def execute(notebook: Path, output: Path, parameters: Mapping[str, Any]) -> Any:
    """The notebook with its outputs.

    Raises:
        AssertionError: it did not come to its end; the message says why.
    """
    run_apart(_PROGRAM, str(notebook), str(output), json.dumps(parameters))
    return nbformat.read(output, as_version=4)
