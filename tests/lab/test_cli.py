"""`dept-lab` as a whole: bad input is refused before anything heavy is imported, a missing extra in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "accelerate", "datasets", "gradio", "plotly", "papermill")
ASKED_FOR_HELP = [[name, "--help"] for name in ("sweep", "reproduce", "results", "runs", "bench", "app", "demo")]
REFUSED = [
    ["sweep", "table8", "--tasks", "rtee"],
    ["sweep", "nowhere"],
    ["sweep", "table8", "--set", "learning=1"],
    ["sweep", "table8", "--flops-per-s", "0"],
    ["reproduce", "--tasks", "rtee"],
    ["reproduce", "--methods", "dpt"],
    ["reproduce", "--preset", "nowhere"],
    ["reproduce", "--data", "nowhere"],
    ["results", "nowhere"],
    ["results", "."],
    ["runs", "list", "nowhere"],
    ["runs", "list", ".", "--status", "nothing"],
    ["runs", "show", "nowhere"],
    ["runs", "compare", "nowhere", "nowhere"],
    ["runs", "prune", "nowhere"],
    ["bench", "--what", "nothing"],
    ["bench", "--task", "rtee"],
    ["app", "--limits", "nowhere"],
]


def in_a_fresh_process(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


def test_help_and_refusals_import_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom lab.cli import main\n"
        f"for command in {ASKED_FOR_HELP!r}:\n"
        "    assert main(command) == 0, command\n"
        f"for command in {REFUSED!r}:\n"
        "    assert main(command) == 2, command\n"
        f"    heavy = sys.modules.keys() & set({HEAVY!r})\n"
        "    assert not heavy, (command, heavy)\n"
    )
    done = in_a_fresh_process(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("error: ") == len(REFUSED)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [["demo"], ["sweep", "table8"], ["runs", "list"], ["app"]])
def test_without_its_extra_it_says_what_to_install(command: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules.update(dict.fromkeys(['gradio', 'plotly', 'papermill', 'nbformat']))\n"
        f"from lab.cli import main\nsys.exit(main({command!r}))"
    )
    done = in_a_fresh_process(code, tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "error: dept-lab needs gradio, nbformat, papermill, plotly: pip install 'dept-lab[lab]'\n",
    )
    assert not list(tmp_path.iterdir())


def test_help_needs_no_extra(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules.update(dict.fromkeys(['gradio', 'plotly', 'papermill', 'nbformat']))\n"
        "from lab.cli import main\nsys.exit(main(['--help']))"
    )
    done = in_a_fresh_process(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "reproduce" in done.stdout
