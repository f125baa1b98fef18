"""JupyterLab in a real browser: it opens every notebook, and the panel follows its slider, without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import nbformat
import pytest

from lab.teaching.docs import NOTEBOOKS
from tests.browser import browser

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

ROOT = NOTEBOOKS.parent
WAIT_MS = 60_000
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Lab:
    """A JupyterLab server with a copy of the notebooks."""

    url: str
    token: str
    folder: Path

    @property
    def address(self) -> str:
        return f"{self.url}lab?token={self.token}&reset"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    home = tmp_path_factory.mktemp("jupyter")
    folder = shutil.copytree(NOTEBOOKS, home / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        **{f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")},
        "JUPYTER_PLATFORM_DIRS": "1",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += ["--ServerApp.port=0", f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=walk"]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.news_url="]
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield Lab(_url(server, home / "runtime", home / "log"), "walk", folder)
    finally:
        server.terminate()  # ends its kernels, too
        server.wait(timeout=30)


def _url(server: subprocess.Popen[bytes], runtime: Path, log: Path) -> str:
    """Where the server listens, once it says so."""
    file = runtime / f"jpserver-{server.pid}.json"
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        if file.exists() and (text := file.read_text()):
            return str(json.loads(text)["url"])
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")


@pytest.fixture
def page(lab: Lab) -> Iterator[Page]:
    """A page that notes every request to somewhere else."""
    executable = browser()
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 1400})
        page.set_default_timeout(WAIT_MS)
        elsewhere: list[str] = []
        page.on("request", lambda request: elsewhere.append(request.url) if _leaves(request.url) else None)
        page.goto(lab.address)
        page.wait_for_function("window.jupyterapp?.restored")
        yield page
        chromium.close()
    assert not elsewhere


def _leaves(url: str) -> bool:
    address = urlsplit(url)
    return address.scheme in ("http", "https", "ws", "wss") and address.hostname not in ("localhost", "127.0.0.1")


def _open(page: Page, lab: Lab, notebook: Path) -> None:
    """In a tab of the running JupyterLab; waits for its title."""
    page.evaluate("path => window.jupyterapp.commands.execute('docmanager:open', {path})", notebook.name)
    title = next(cell.source for cell in nbformat.read(notebook, as_version=4).cells).splitlines()[0]
    _current(page).locator("h1", has_text=title.removeprefix("# ").replace("`", "")).wait_for()
    assert not page.locator(".jp-Dialog").count(), page.locator(".jp-Dialog").all_inner_texts()


def _current(page: Page) -> Locator:
    return page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")


def test_it_opens_every_notebook(lab: Lab, page: Page) -> None:
    notebooks = sorted(lab.folder.glob("*.ipynb"))
    assert len(notebooks) >= 6
    for notebook in notebooks:
        _open(page, lab, notebook)
    kernels = page.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']")
    kernels.nth(len(notebooks) - 1).wait_for(state="attached")


def test_the_panel_follows_its_slider(lab: Lab, page: Page, tiny_t5: Path, tmp_path: Path) -> None:
    notebook = lab.folder / "01_decomposition.ipynb"
    _with_backbone(notebook, str(tiny_t5))
    _open(page, lab, notebook)
    _current(page).locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for(state="attached")
    page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    slider = _current(page).locator(".noUi-handle").first
    slider.wait_for()
    panel = _current(page).locator(".widget-vbox", has=page.locator(".noUi-handle")).first
    numbers, drawing = panel.locator(".widget-html-content"), panel.locator(".js-plotly-plot").first
    drawing.get_by_text("positions read: 356 and 296").wait_for()
    assert _numbers(numbers)["rank r"][0] == "45"
    slider.focus()
    for _ in range(20):
        slider.press("ArrowLeft")
    drawing.get_by_text("positions read: 356 and 276").wait_for()
    assert _numbers(numbers)["rank r"][0] == "60"
    assert _numbers(numbers)["trainable parameters"] == ["76,800", "76,800", "100.0%"]
    panel.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "panel.png")


def _numbers(table: Locator) -> dict[str, list[str]]:
    """The panel's table by the names of its rows."""
    lines = [row.locator("td").all_inner_texts() for row in table.locator("tr").all()]
    return {name: values for name, *values in (line for line in lines if line)}


def _with_backbone(notebook: Path, backbone: str) -> None:
    """Another value in the parameters' cell, as a person would type it."""
    content: Any = nbformat.read(notebook, as_version=4)
    cell = next(cell for cell in content.cells if "parameters" in cell.metadata.get("tags", ()))
    cell.source = "\n".join(
        f"backbone = {backbone!r}" if line.startswith("backbone =") else line for line in cell.source.splitlines()
    )
    nbformat.write(content, notebook)
