"""`dept-lab sweep`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from dept.errors import ConfigError
from dept.flags import STOPPED, with_flags
from lab.jobs.where import Where


@with_flags(Where, "where", file=False)
def sweep(
    grid: Annotated[
        str, typer.Argument(metavar="SWEEP", help="table8, figure3, figure5, or the path of your own .yaml file.")
    ],
    tasks: Annotated[str, typer.Option(help="By commas.", show_default="the file's")] = "",
    seeds: Annotated[str, typer.Option(help="By commas.", show_default="the file's")] = "",
    backbone: Annotated[str, typer.Option(help="By commas.", show_default="the file's")] = "",
    data: Annotated[
        str | None, typer.Option(help="hub, sample, easy-vqa or a data folder.", show_default="the file's, else hub")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of `dept train`, values by commas; repeatable."),
    ] = None,
    draw: Annotated[
        int | None,
        typer.Option("--random", help="Try so many points of each grid, drawn at random.", show_default="all"),
    ] = None,
    draw_seed: Annotated[int, typer.Option("--random-seed", help="Of --random.")] = 0,
    prune: Annotated[
        str | None,
        typer.Option(help="median or halving: end early what is behind (Optuna).", show_default="none"),
    ] = None,
    *,
    where: dict[str, Any],
    flops_per_s: Annotated[
        float | None, typer.Option(help="Pace of the machine, for the estimate.", show_default="measured")
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(help="Of the machine, for the estimate.", show_default="none")
    ] = None,
    estimate: Annotated[bool, typer.Option("--estimate", help="Only say what it would take.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Start without asking.")] = False,
    output_dir: Annotated[
        Path | None, typer.Option(help="The sweep's folder; the same again goes on.", show_default="runs/sweep-NAME")
    ] = None,
) -> int:
    """Search a grid of settings: choose by validation, test only what was chosen. Asked again, it goes on."""
    from lab.basics.commas import numbers, words
    from lab.sweep.grid import narrowed, read_sweep

    for flag, value in (("--flops-per-s", flops_per_s), ("--price-per-hour", price_per_hour)):
        if value is not None and not 0 < value < float("inf"):
            raise ConfigError(f"{flag} must be above 0, not {value:g}")
    runs_in = Where.from_dict(where)
    if prune is not None and runs_in.engine != "local":
        raise ConfigError("--prune reads the other runs' folders as they grow: it needs --engine local")
    for flag, text in (("--tasks", tasks), ("--backbone", backbone)):
        if text and not words(text):
            raise ConfigError(f"{flag} is empty")
    asked = narrowed(
        read_sweep(grid),
        tasks=words(tasks),
        backbones=words(backbone),
        data=data,
        seeds=numbers(seeds, "--seeds"),
        settings=settings or (),
    )

    from lab.estimate.pace import Pace
    from lab.jobs.check import check_backbones
    from lab.sweep.outcome import SweepPlan
    from lab.sweep.report import all_marks, as_rich
    from lab.sweep.run import preview, run_sweep, unique

    plan, folder = SweepPlan(asked, draw, draw_seed, prune), output_dir or Path("runs") / f"sweep-{asked.name}"
    engine = runs_in.connect()
    pace = None if flops_per_s is None else Pace(flops_per_s, "as given")
    at_once = runs_in.at_once
    lines = preview(plan, folder, workers=at_once or 1, pace=pace, price_per_hour=price_per_hour)
    print("\n".join(lines or [f"sweep {asked.name}: nothing is left to do"]), file=sys.stderr)
    if estimate:
        return 0
    check_backbones([trial.job for trial in unique(plan.trials(folder))])
    if lines and not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody is there to answer: add --yes to start")
        if not typer.confirm("Start?", err=True):
            return 0

    from rich.console import Console

    swept = run_sweep(
        plan,
        folder,
        engine,
        workers=at_once,
        track=runs_in.track,
        resources=runs_in.resources,
        timeout_s=runs_in.timeout,
    )
    Console().print(as_rich(swept))
    for line in (all_marks(swept), *(f"failed: {name}: {reason}" for name, reason in swept.failures.items())):
        if line:
            print(line)
    if swept.status == "stopped":
        print("Stopped; the same command goes on.")
    print(f"Report: {folder / 'sweep.html'}; the outcome as data: {folder / 'sweep.json'}")
    return {"completed": 0, "stopped": STOPPED}.get(swept.status, 1)
