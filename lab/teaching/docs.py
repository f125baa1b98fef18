"""`python -m lab.teaching.docs`: execute the walkthroughs and write them as Markdown pages with static figures.

kaleido and a Chrome or Chromium of this machine turn figures into SVG. Nothing is fetched.
"""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dept.basics.files import whole_folder, write_text
from dept.errors import ConfigError, RunError
from dept.flags import run_app

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_PANEL = "DecompositionPanel("  # the start of a panel's plain text in its cell's output
_INSTEAD = "*(Here a panel with sliders is live in JupyterLab.)*"

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def walkthroughs() -> list[Path]:
    """The numbered notebooks, in the order of reading.

    Raises:
        ConfigError: there are none, because this is an installed package and not a checkout.
    """
    notebooks = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise ConfigError(f"{NOTEBOOKS} has no walkthroughs: run this from a checkout of the project")
    return notebooks


@app.command()
def build(
    numbers: Annotated[list[str] | None, typer.Argument(help="Numbers of notebooks, such as 01 03 [all].")] = None,
    output_dir: Annotated[Path, typer.Option(help="Where the pages go.")] = Path("docs/notebooks"),
) -> None:
    """Execute the walkthroughs and write them as Markdown pages with static figures."""
    known = {notebook.stem[:2]: notebook for notebook in walkthroughs()}
    for number in numbers or known:
        if number not in known:
            raise ConfigError(f"there is no notebook {number}: {', '.join(known)}")
    check_figures()
    from lab.jobs.notebook import declared

    with tempfile.TemporaryDirectory() as folder:
        for number in numbers or known:
            parameters = {"runs_dir": folder} if "runs_dir" in declared(known[number]) else {}
            print(build_page(known[number], output_dir, parameters), flush=True)


def check_figures() -> None:
    """Check that this machine can draw static images.

    Raises:
        ConfigError: kaleido or a browser is missing.
    """
    import plotly.graph_objects as go

    try:
        go.Figure().to_image("svg")
    except (ValueError, RuntimeError) as fault:
        reason = str(fault).strip().splitlines()[0]
        raise ConfigError(
            f"static figures need kaleido and a Chrome or Chromium ({reason}): "
            "pip install 'dept-lab[docs]', and your system's chromium package"
        ) from fault


def build_page(notebook: Path, output_dir: Path, parameters: Mapping[str, Any]) -> Path:
    """Execute a notebook and write it as `<name>.md`, with its figures as `<name>_files/*.svg`.

    Args:
        parameters: values that replace the notebook's own parameters.

    Raises:
        RunError: a cell failed.
    """
    import nbformat
    from nbconvert import MarkdownExporter

    from lab.jobs.job import Notebook
    from lab.jobs.notebook import execute_notebook

    with tempfile.TemporaryDirectory() as folder:
        job = Notebook(notebook, Path(folder) / notebook.name, parameters)
        os.environ["PLOTLY_RENDERER"] = "svg"  # the notebook's kernel inherits it
        status, error = execute_notebook(job)
        if status != "completed":
            raise RunError(f"{notebook.name}: {status}, {error}")
        shown = nbformat.read(job.output, as_version=4)
    shown.cells = [cell for cell in shown.cells if "injected-parameters" not in cell.metadata.get("tags", ())]
    for cell in shown.cells:
        if "outputs" in cell:
            cell.outputs = still(cell.outputs)
    files = f"{notebook.stem}_files"
    names = {"unique_key": notebook.stem, "output_files_dir": files}
    text, resources = MarkdownExporter().from_notebook_node(shown, resources=names)
    output_dir.mkdir(parents=True, exist_ok=True)
    with whole_folder(output_dir / files) as figures:
        for name, content in resources["outputs"].items():
            (figures / Path(name).name).write_bytes(content)
    page = output_dir / f"{notebook.stem}.md"
    write_text(page, between_pages(text))
    return page


def still(outputs: Sequence[Any]) -> list[Any]:
    """A cell's outputs for a page: our panels become a line of text, libraries' progress bars are left out."""
    kept = []
    for output in outputs:
        data = output.get("data", {})
        if _WIDGET in data:
            if not data.get("text/plain", "").startswith(_PANEL):
                continue
            output["data"] = {"text/markdown": _INSTEAD}
        data.pop("text/html", None)  # a console's coloured text, which text/plain holds too
        kept.append(output)
    return kept


def between_pages(text: str) -> str:
    """The text with its links between notebooks turned into links between pages."""
    for notebook in walkthroughs():
        text = text.replace(f"]({notebook.name})", f"]({notebook.stem}.md)")
    return text


def main(argv: Sequence[str] | None = None) -> int:
    return run_app(app, argv)


if __name__ == "__main__":
    sys.exit(main())
