"""Fixtures shared by all tests: the golden files, and tiny backbones as folders on disk.

Heavy libraries are imported inside the fixtures, so that a file of plain tests starts at once.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

IMPORT_SECONDS = 0.01  # CPU time that a test is given for each module that it is the first to import


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--most-cpu",
        type=float,
        metavar="SECONDS",
        help="fail a test that is not marked slow and needs more CPU time, that of its processes included",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """The guard of `make check`: quick tests stay quick. CPU time hardly depends on what else the machine does."""
    most = item.config.getoption("--most-cpu")
    before, modules = _cpu_seconds(), len(sys.modules)
    yield
    if most is None or any(item.get_closest_marker(name) for name in ("slow", "acceptance")):
        return
    spent = _cpu_seconds() - before - IMPORT_SECONDS * (len(sys.modules) - modules)
    if spent > most:
        pytest.fail(f"it took {spent:.1f} s of CPU time: make it cheaper, or mark it slow", pytrace=False)


def _cpu_seconds() -> float:
    """CPU time of this process and of those that it started and that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 folder: 2 + 2 layers, d = 32, dropout 0.1 as T5 has it."""
    from tests import backbones

    return backbones.tiny_t5(tmp_path_factory.mktemp("tiny-t5"))


@pytest.fixture(scope="session")
def tiny_gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 folder: 2 layers, d = 32, 512 positions."""
    from tests import backbones

    return backbones.tiny_gpt2(tmp_path_factory.mktemp("tiny-gpt2"))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA folder: 2 layers, d = 32, grouped keys and values."""
    from tests import backbones

    return backbones.tiny_llama(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Bit-identical runs need the same number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tokenised rows are cached in a folder of the test session, not in the user's."""
    os.environ["DEPT_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real rows and golden files beside the repository; its tests are skipped without it."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "reference_facts.md").is_file():
        pytest.skip(f"needs the golden files and rows in {folder}")
    return folder


@pytest.fixture
def offline_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub that can't be reached, with nothing in its cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty-hub-cache"))
