"""`dept-lab`: demo, bench, reproduce, sweep, results, runs, app, and how the embedded models are made."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dept.basics.extras import check_extra
from dept.flags import run_app
from lab.bench.cli import bench
from lab.pretrain.cli import pretrain_mini, pretrain_mini_clip
from lab.reproduce.cli import reproduce
from lab.results.cli import results
from lab.runs.cli import app as runs_app
from lab.sweep.cli import sweep
from lab.ui.cli import serve

app = typer.Typer(
    help="The lab around DePT: runs, measurements, figures.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def lab() -> None:
    """The lab around DePT: runs, measurements, figures."""
    check_extra("lab", "dept-lab")


@app.command()
def demo(
    data: Annotated[
        str | None,
        typer.Option(help="Data folder, hub or sample [mini-t5: sample; else the hub if it answers, or the sample]."),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Alias (smollm2-135m: a real language model), hub id, local folder.")
    ] = "mini-t5",
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps of each method [mini-t5: 250, else 40].", min=1)
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Where the two runs and the report go.")] = Path("runs/demo"),
) -> None:
    """Train PT and DePT at the same number of parameters on SST-2, compare them, write a report."""
    from lab.demo import run_demo

    run_demo(output_dir, data=data, backbone=backbone, steps=steps)


app.command()(bench)
app.command("pretrain-mini")(pretrain_mini)
app.command("pretrain-mini-clip")(pretrain_mini_clip)
app.command()(reproduce)
app.command()(results)
app.command("app")(serve)
app.command()(sweep)
app.add_typer(runs_app, name="runs")


def main(argv: Sequence[str] | None = None) -> int:
    """The `dept-lab` command; returns the exit code."""
    return run_app(app, argv)


if __name__ == "__main__":
    sys.exit(main())
