"""`dept-lab reproduce`."""

from pathlib import Path
from typing import Annotated

import typer

from dept.errors import ConfigError
from dept.flags import STOPPED

FAILED = 1  # the exit code of a batch some of whose jobs did not come through


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
    workers: Annotated[
        int | None,
        typer.Option(help="Runs at a time.", min=1, show_default="GPUs, else cores; with Ray what the cluster has"),
    ] = None,
    cpus_per_job: Annotated[
        int | None, typer.Option(help="Threads of a run.", min=1, show_default="cores / workers; with Ray 1")
    ] = None,
    gpus_per_job: Annotated[
        float | None,
        typer.Option(help="With Ray: GPUs of a run, parts too.", min=0.0, show_default="1 where there are any"),
    ] = None,
    engine: Annotated[str, typer.Option(help="local (processes of this machine) or ray (a cluster).")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster.", show_default="one is started here")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds after which a run is ended.", show_default="none")
    ] = None,
    track: Annotated[
        str | None, typer.Option(help="Mirror the runs: trackio, tensorboard or wandb.", show_default=False)
    ] = None,
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
    from lab.basics.machine import cores
    from lab.jobs.check import check_backbones, unfinished
    from lab.jobs.choose_engine import engine_named
    from lab.jobs.local import visible_gpus
    from lab.reproduce.batch import Batch
    from lab.reproduce.plan import Request, plan
    from lab.reproduce.run import run_batch

    if tasks and not words(tasks):
        raise ConfigError("--tasks is empty")
    if gpus_per_job is not None and engine == "local":
        raise ConfigError("--gpus-per-job is of a Ray cluster: add --engine ray (a local run has one GPU to itself)")
    request = Request(
        preset=preset,
        tasks=words(tasks),
        methods=words(methods),
        seeds=numbers(seeds, "--seeds"),
        backbone=backbone,
        data=data,
        settings=read_config(config) if config is not None else {},
        track=track,
    )
    folder = output_dir or Path("runs") / f"reproduce-{preset}"
    local = engine == "local"
    at_once = workers or (len(visible_gpus()) or cores() if local else None)
    cpus = cpus_per_job or (max(1, cores() // at_once) if local and at_once else 1)
    planned = plan(request, folder, cpus=cpus, gpus=gpus_per_job, timeout_s=timeout)
    check_backbones(unfinished(planned.jobs))
    runs_on = engine_named(engine, address)
    console = Console(stderr=True)
    for task, reason in planned.left_out:
        console.print(f"{task}: {reason}", markup=False, highlight=False, soft_wrap=True)
    batch = Batch(
        folder,
        f"Reproduction, preset {preset}",
        {**vars(request), "engine": engine, "workers": at_once, "cpus_per_job": cpus},
        planned.left_out,
    )
    outcomes = run_batch(batch, planned.jobs, runs_on, at_once or len(planned.jobs), console)
    before = sum(outcome.status == "completed" and not outcome.attempts for outcome in outcomes)
    done = sum(outcome.status == "completed" for outcome in outcomes)
    earlier = f" ({before} of them before)" if before else ""
    print(f"{done} of {len(outcomes)} runs completed{earlier}, {batch.elapsed_s:.0f} s. Index: {batch.index}")
    if batch.status == "stopped":
        print("Stopped; the same command goes on.")
        return STOPPED
    return 0 if batch.status == "completed" else FAILED
