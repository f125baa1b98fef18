"""What several test files share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest


def cases(values: Iterable[tuple[Any, ...]], quick: Callable[..., bool]) -> list[Any]:
    """The parameters of a test: `make check` takes those for which `quick` holds, `make test` the others too."""
    return [pytest.param(*each, marks=() if quick(*each) else pytest.mark.slow) for each in values]


def without_dropout(folder: Path, copy: Path) -> Path:
    """A copy of a backbone folder whose dropouts are all 0."""
    shutil.copytree(folder, copy)
    values: dict[str, Any] = json.loads((copy / "config.json").read_text())
    values |= {name: 0.0 for name in values if name.endswith(("pdrop", "dropout_rate", "attention_dropout"))}
    (copy / "config.json").write_text(json.dumps(values))
    return copy
