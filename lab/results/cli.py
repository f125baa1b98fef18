"""`dept-lab results`."""

from pathlib import Path
from typing import Annotated

import typer


def results(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Runs and benchmarks, folders within folders too.")
    ] = Path("runs"),
    output_dir: Annotated[
        Path | None, typer.Option(help="Where the files go [FOLDER/results].", show_default=False)
    ] = None,
) -> None:
    """Set our runs beside the paper's numbers; write HTML, Markdown, CSV and LaTeX, with the paper's figures."""
    from lab.results.write import report_results

    report_results(folder, output_dir or folder / "results")
