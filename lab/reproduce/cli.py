"""`dept-lab reproduce`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dept.errors import ConfigError
from dept.flags import STOPPED, with_flags
from lab.jobs.where import Where

FAILED = 1  # the exit code of a batch some of whose jobs did not come through


@with_flags(Where, "where", file=False)
def reproduce(
    preset: Annotated[
        str,
        typer.Option(
            help="smoke (that everything works: seconds a run), sample (that the methods learn) or paper (Table 8)."
        ),
    ] = "smoke",
    tasks: Annotated[
        str, typer.Option(help="Names, or paths of your own; by commas.", show_default="all of the paper's")
    ] = "",
    methods: Annotated[
        str, typer.Option(help="Any that `dept train` has, those joined by + too; by commas.")
    ] = "dept,prompt_tuning",
    seeds: Annotated[str, typer.Option(help="By commas.")] = "42",
    backbone: Annotated[
        str | None, typer.Option(help="Alias, hub id or folder.", show_default="paper: t5-base; else one at hand")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="hub, sample, easy-vqa or a data folder, of which the tasks with rows run.",
            show_default="the preset's",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML or JSON file of further settings of dept train, over the preset's."),
    ] = None,
    *,
    where: dict[str, Any],
    output_dir: Annotated[
        Path | None,
        typer.Option(
            help="Notebooks, runs, index.html; the same again goes on.", show_default="runs/reproduce-PRESET"
        ),
    ] = None,
) -> int:
    """Run the paper's tasks, each as a notebook and a run, with an index page; goes on where it stopped."""
    from rich.console import Console

    from dept.basics.settings_file import read_config
    from lab.basics.commas import numbers, words
    from lab.jobs.check import check_backbones, unfinished
    from lab.reproduce.batch import Batch
    from lab.reproduce.plan import Request, plan
    from lab.reproduce.run import run_batch

    if tasks and not words(tasks):
        raise ConfigError("--tasks is empty")
    runs_in = Where.from_dict(where)
    request = Request(
        preset=preset,
        tasks=words(tasks),
        methods=words(methods),
        seeds=numbers(seeds, "--seeds"),
        backbone=backbone,
        data=data,
        settings=read_config(config) if config is not None else {},
        track=runs_in.track,
    )
    folder = output_dir or Path("runs") / f"reproduce-{preset}"
    at_once, resources = runs_in.at_once, runs_in.resources
    planned = plan(request, folder, cpus=resources.cpus, gpus=resources.gpus, timeout_s=runs_in.timeout)
    check_backbones(unfinished(planned.jobs))
    engine = runs_in.connect()
    console = Console(stderr=True)
    for task, reason in planned.left_out:
        console.print(f"{task}: {reason}", markup=False, highlight=False, soft_wrap=True)
    batch = Batch(
        folder,
        f"Reproduction, preset {preset}",
        {**vars(request), "engine": runs_in.engine, "workers": at_once, "cpus_per_job": resources.cpus},
        planned.left_out,
    )
    outcomes = run_batch(batch, planned.jobs, engine, at_once or len(planned.jobs), console)
    before = sum(outcome.status == "completed" and not outcome.attempts for outcome in outcomes)
    done = sum(outcome.status == "completed" for outcome in outcomes)
    earlier = f" ({before} of them before)" if before else ""
    print(f"{done} of {len(outcomes)} runs completed{earlier}, {batch.elapsed_s:.0f} s. Index: {batch.index}")
    if batch.status == "stopped":
        print("Stopped; the same command goes on.")
        return STOPPED
    return 0 if batch.status == "completed" else FAILED
