"""The documentation's pages: a notebook executed, its figures static images."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lab.teaching import docs
from tests.browser import browser
from tests.notebooks import run_apart

_BUILD = """
import json, sys
from pathlib import Path
from lab.teaching.docs import build_page

notebook, output_dir, parameters = sys.argv[1:]
build_page(Path(notebook), Path(output_dir), json.loads(parameters))
"""


@pytest.mark.slow
def test_a_page_is_readable_without_running(tiny_t5: Path, tmp_path: Path) -> None:
    browser()
    notebook = docs.walkthroughs()[0]
    run_apart(_BUILD, str(notebook), str(tmp_path / "pages"), json.dumps({"backbone": str(tiny_t5)}))
    text = (tmp_path / "pages" / f"{notebook.stem}.md").read_text(encoding="utf-8")
    images = [tmp_path / "pages" / image for image in re.findall(r"!\[\w*\]\(([^)]+)\)", text)]
    assert len(images) == 2
    assert b"trainable parameters" in images[0].read_bytes()
    assert all(image.read_bytes().lstrip().startswith(b"<svg") for image in images)
    assert "| 40 | 45 | 76,800 | 0 | 296 |" in text
    assert "](02_train_one_task.md)" in text
    assert "DecompositionPanel(children" not in text
    assert text.count("Here a panel with sliders is live") == 1
    assert "injected" not in text and str(tiny_t5) not in text


def test_a_line_stands_for_the_panel_and_nothing_for_progress_bars() -> None:
    """The bars are widgets, too: a model that is loaded for the first time shows some."""
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
    bar = {"output_type": "display_data", "data": {**view, "text/plain": "Loading weights:   0%|          | 0/272"}}
    panel = {"output_type": "execute_result", "data": {**view, "text/plain": "DecompositionPanel(children=(...))"}}
    said = {"output_type": "stream", "name": "stdout", "text": "trainable params: 57,152"}
    assert docs.still([bar, said, panel, bar]) == [
        said,
        {**panel, "data": {"text/markdown": "*(Here a panel with sliders is live in JupyterLab.)*"}},
    ]


@pytest.mark.parametrize("arguments", [["99"], ["01_decomposition"]])
def test_an_unknown_notebook_is_named(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert docs.main(arguments) == 2
    assert "01, 02, 03, 04, 05, 06, 07" in capsys.readouterr().err
