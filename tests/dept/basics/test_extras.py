"""What images need is asked for in one line; a text task needs none of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dept.backbones.towers import load_tower
from dept.basics.extras import check_extra
from dept.data.sources import check_installed, load_rows
from dept.errors import ConfigError
from dept.tasks import load_task

OF_THE_EXTRAS = ("PIL", "pycocoevalcap", "gradio", "plotly", "papermill", "nbformat", "IPython", "ipywidgets")


@pytest.fixture
def without_vision(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("PIL", "pycocoevalcap"):
        monkeypatch.setitem(sys.modules, module, None)


def test_what_is_installed_passes() -> None:
    check_extra("lab", "this")
    check_extra("vision", "this")


@pytest.mark.usefixtures("without_vision")
@pytest.mark.parametrize("task", ["vqa", "coco_captions"])
def test_a_task_with_images_says_what_to_install(task: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_rows(load_task(task), "sample")
    assert str(caught.value) == f"task {task} needs pillow, pycocoevalcap: pip install 'dept-lab[vision]'"


@pytest.mark.usefixtures("without_vision")
def test_an_image_encoder_says_what_to_install() -> None:
    with pytest.raises(ConfigError, match=r"image encoder mini-clip needs .*dept-lab\[vision\]"):
        load_tower("mini-clip")


@pytest.mark.usefixtures("without_vision")
def test_a_text_task_needs_nothing_more() -> None:
    check_installed(load_task("rte"))


@pytest.mark.slow
def test_text_trains_without_any_extra(tmp_path: Path) -> None:
    """tests/test_packaging.py does the same in an environment that really lacks them."""
    train = ["train", "--quiet", "--backbone", "mini-t5", "--data", "sample", "--max-steps", "2"]
    code = (
        f"import sys\nsys.modules.update(dict.fromkeys({OF_THE_EXTRAS!r}))\nfrom dept.cli import main\n"
        f"assert main({[*train, '--task', 'sst2', '--output-dir', 'text']!r}) == 0\n"
        f"assert main({[*train, '--task', 'vqa', '--output-dir', 'images']!r}) == 2\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "error: task vqa needs pillow, pycocoevalcap: pip install 'dept-lab[vision]'\n"
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
