"""`dept-lab`: the demo (and, as they come, bench, reproduce, sweep, results, app)."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dept.flags import run_app

app = typer.Typer(
    help="The lab around DePT: runs, measurements, figures.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def lab() -> None:
    """The lab around DePT: runs, measurements, figures."""


@app.command()
def demo(
    data: Annotated[
        str | None, typer.Option(help="Data folder, hub or sample [the hub where it answers, else the sample].")
    ] = None,
    backbone: Annotated[str, typer.Option(help="Alias, hub id, local folder.")] = "smollm2-135m",
    steps: Annotated[int, typer.Option(help="Optimiser steps of each method.", min=1)] = 40,
    output_dir: Annotated[Path, typer.Option(help="Where the two runs and the report go.")] = Path("runs/demo"),
) -> None:
    """Train PT and DePT at the same number of parameters on SST-2, compare them, write a report."""
    from lab.demo import run_demo

    run_demo(output_dir, data=data, backbone=backbone, steps=steps)


def main(argv: Sequence[str] | None = None) -> int:
    """The `dept-lab` command; returns the exit code."""
    return run_app(app, argv)


if __name__ == "__main__":
    sys.exit(main())
