"""The folder as a Hugging Face Space builds it: an environment of requirements.txt, then `python app.py`."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import venv
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[3]
_START_SECONDS = 30.0  # of the page, on two cores
_SHIPPED = ("dept", "lab", "notebooks", "app.py", "requirements.txt")


def requirements() -> dict[str, str]:
    """Package -> the whole line."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return {re.split(r"[<>=!~\[ ]", line)[0]: line for line in lines if line and not line.startswith("#")}


def environment_of(folder: Path, lines: Iterable[str]) -> Path:
    """The Python of a new environment that sees what these requirements bring, and nothing else.

    What is installed here is linked rather than fetched once more: no download, and no torch made for CUDA.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    todo, seen = [Requirement(line) for line in lines], set()
    while todo:
        wanted = todo.pop()
        key = (wanted.name.lower(), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        found = importlib.metadata.distribution(wanted.name)
        for top in {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
        for needed in map(Requirement, found.requires or []):
            extras = ("", *wanted.extras)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(needed)
    return folder / "bin" / "python"


def test_the_spaces_ranges_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    declared = {Requirement(line) for line in [*project["dependencies"], *extras["lab"], *extras["vision"]]}
    assert {Requirement(line) for line in requirements().values()} <= declared


def test_a_space_has_what_the_commands_need_and_the_images() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["vision"]]
    assert {Requirement(line) for line in needed} <= {Requirement(line) for line in requirements().values()}


def test_no_range_shuts_out_an_older_torch() -> None:
    assert requirements()["torch"] == "torch>=2.6"
    assert not any("==" in line for line in requirements().values())


@pytest.mark.slow
def test_a_space_starts(tmp_path: Path) -> None:
    space = tmp_path / "space"
    space.mkdir()
    for name in _SHIPPED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, space / name)
    python = environment_of(tmp_path / "environment", requirements().values())
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    command = [*pip, "install", "--quiet", "--no-index", "--requirement", "requirements.txt"]
    done = subprocess.run(command, cwd=space, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    plain = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = str(listening.getsockname()[1])
    environ = {
        **plain,
        "GRADIO_SERVER_PORT": port,
        "HF_HUB_OFFLINE": "1",
        "GRADIO_TEMP_DIR": str(tmp_path / "temporary"),
    }
    started = time.monotonic()
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([str(python), "app.py"], cwd=space, env=environ, stdout=log, stderr=log)
    try:
        while True:
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() - started < _START_SECONDS, (tmp_path / "log").read_text()
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/", timeout=5)
                break
            except httpx.TransportError:
                time.sleep(0.2)
        assert answer.status_code == 200
        assert "DePT Lab" in answer.text
    finally:
        server.terminate()
        server.wait()
