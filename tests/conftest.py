"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real rows and golden files beside the repository; its tests are skipped without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "reference_facts.md").is_file():
        pytest.skip(f"needs the golden files and rows in {folder}")
    return folder
