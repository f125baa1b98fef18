"""What several test files share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any


def without_dropout(folder: Path, copy: Path) -> Path:
    """A copy of a backbone folder whose dropouts are all 0."""
    shutil.copytree(folder, copy)
    values: dict[str, Any] = json.loads((copy / "config.json").read_text())
    values |= {name: 0.0 for name in values if name.endswith(("pdrop", "dropout_rate", "attention_dropout"))}
    (copy / "config.json").write_text(json.dumps(values))
    return copy
