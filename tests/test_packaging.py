"""The wheel, installed as a newcomer installs it: into an empty environment, used from somewhere else.

First alone, which is enough to train on texts; then with the extras `lab` and `vision`.
"""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def started(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command that has ended, with nothing of this checkout on its path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that has to succeed."""
    done = started(*command, cwd=cwd)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def refusal(*command: str | Path, cwd: Path) -> str:
    """Standard error of a command that has to refuse."""
    done = started(*command, cwd=cwd)
    assert done.returncode == 2, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stderr


@pytest.mark.slow
def test_built_wheel_works_in_a_clean_environment(tmp_path: Path) -> None:
    # By way of the source archive, as a release is made.
    run(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", ROOT, cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        # gradio writes .pyi files beside components of ours as soon as they are imported
        names = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith(".pyi")}
    notebooks = {name for name in names if "/share/dept-lab/notebooks/" in name}
    assert {name.rpartition("/")[2] for name in notebooks} == {path.name for path in ROOT.glob("notebooks/*.ipynb")}
    assert names - notebooks == {
        file.relative_to(ROOT).as_posix()
        for package in ("dept", "lab")
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyi"
    }

    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python, dept, dept_lab = (environment / "bin" / name for name in ("python", "dept", "dept-lab"))
    pip = (python, "-m", "pip", "--disable-pip-version-check")
    install = (*pip, "install", "--quiet", "--constraint", ROOT / "constraints.txt")
    run(*install, wheel, cwd=tmp_path)
    run(*pip, "check", cwd=tmp_path)
    installed = {package["name"] for package in json.loads(run(*pip, "list", "--format", "json", cwd=tmp_path))}
    assert not installed & {"gradio", "plotly", "papermill", "jupyterlab", "ipywidgets", "pillow", "pycocoevalcap"}

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    tasks = json.loads(run(dept, "tasks", "--json", cwd=elsewhere))
    listed = {task["name"] for task in tasks}
    assert {"sst2", "multirc", "nq", "winogrande", "vqa", "squad", "record"} <= listed
    assert len(listed) == len(tasks) >= 25  # the paper's 23 tasks and the two source tasks
    assert "demo" in run(dept_lab, "--help", cwd=elsewhere)
    assert not list(elsewhere.iterdir()), "listing tasks wrote a file"

    train = (dept, "train", "--quiet", "--backbone", "mini-t5", "--data", "sample", "--max-steps", "5")
    assert "pip install 'dept-lab[lab]'" in refusal(dept_lab, "demo", cwd=elsewhere)
    assert "pip install 'dept-lab[vision]'" in refusal(*train, "--task", "vqa", cwd=elsewhere)
    assert not list(elsewhere.iterdir()), "a refusal wrote a file"
    run(*train, "--task", "sst2", "--output-dir", "text", cwd=elsewhere)

    run(*install, f"{wheel}[lab,vision]", cwd=tmp_path)
    run(*pip, "check", cwd=tmp_path)
    run(*train, "--task", "vqa", "--output-dir", "images", cwd=elsewhere)
    run(dept_lab, "demo", "--steps", "5", cwd=elsewhere)
    assert (elsewhere / "runs" / "demo").is_dir()
