"""The commit and the package versions that a result was made with."""

import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any


def checkout() -> dict[str, Any] | None:
    """The git checkout that the code runs from as {id, dirty}; None for an installed package."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True)
        changes = subprocess.run(
            ["git", "status", "--porcelain"], cwd=here, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return {"id": head.stdout.strip(), "dirty": bool(changes.stdout.strip())}


def version(package: str) -> str:
    """The installed version of a package, or "not installed": a Space runs this project without installing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
