"""`dept-lab`: demo, bench, reproduce, sweep, results, runs, app, and how the embedded models are made."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dept.errors import ConfigError
from dept.flags import STOPPED, run_app
from lab.page_cli import serve
from lab.reproduce_cli import reproduce
from lab.results_cli import results
from lab.runs_cli import app as runs_app
from lab.sweep_cli import sweep

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


@app.command()
def bench(
    what: Annotated[
        str,
        typer.Option(help="train, inference, memory, decoding (label scoring beside the release's way); by commas."),
    ] = "train,inference",
    backbones: Annotated[
        str, typer.Option(help="Aliases, folders, random:<alias> for the shape alone; by commas.")
    ] = "random:t5-small",
    virtual_tokens: Annotated[str, typer.Option(help="DePT's m, each beside PT; by commas.")] = "0,20,40,60,80",
    lengths: Annotated[
        str | None,
        typer.Option(
            help="padded:256 (the paper's), fixed:N, task:NAME (a task's own lengths); by commas [padded:256]."
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="The same as --lengths task:NAME; vqa and coco_captions bring images.")
    ] = None,
    vision_backbone: Annotated[
        str | None, typer.Option(help="Image encoder of a task with images [the backbone's default].")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Examples a step, and a batch of inference.")] = 16,
    budget_tokens: Annotated[int, typer.Option(help="l, length of the PT prompt to match.")] = 100,
    max_seq_length: Annotated[int, typer.Option(help="s, rows of the update.")] = 256,
    repeats: Annotated[int, typer.Option(help="Pairs A B of each comparison, every measurement a process.")] = 3,
    passes: Annotated[int, typer.Option(help="Timed passes of a measurement, after one that warms up.")] = 3,
    data: Annotated[str, typer.Option(help="Rows of task:NAME: a data folder, hub, sample or easy-vqa.")] = "sample",
    tokenizer: Annotated[str | None, typer.Option(help="For task:NAME: a folder [the backbone's own].")] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16, of the frozen weights.")] = "float32",
    threads: Annotated[int | None, typer.Option(help="Threads of a measurement [torch's default].")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Under 3 minutes: m = 20, few repeats.")] = False,
    output_dir: Annotated[
        Path | None, typer.Option(help="Where bench.json and bench.html go [runs/bench-<time>].", show_default=False)
    ] = None,
) -> int:
    """Measure time and memory of DePT beside PT, each measurement in a fresh process."""
    from datetime import datetime

    from lab.bench import run_bench
    from lab.bench_plan import BenchConfig, numbers, words
    from lab.bench_report import print_table, write_report

    if task is not None and lengths is not None:
        raise ConfigError(f"--task {task} is --lengths task:{task}: give one of the two")
    config = BenchConfig(
        what=words(what),
        backbones=words(backbones),
        virtual_tokens=numbers(virtual_tokens, "--virtual-tokens"),
        lengths=(f"task:{task}",) if task is not None else words(lengths or "padded:256"),
        vision_backbone=vision_backbone,
        batch_size=batch_size,
        budget_tokens=budget_tokens,
        max_seq_length=max_seq_length,
        repeats=repeats,
        passes=passes,
        threads=threads,
        data=data,
        tokenizer=tokenizer,
        dtype=dtype,
    )
    folder = output_dir or Path("runs") / f"bench-{datetime.now():%Y%m%d-%H%M%S}"
    found = run_bench(config.as_quick() if quick else config, folder)
    report = write_report(found, folder)
    print_table(found)
    print(f"Report: {report}; every measurement: {folder / 'bench.json'}")
    return STOPPED if found.status == "stopped" else 0


@app.command(name="pretrain-mini")
def pretrain_mini(
    steps: Annotated[int, typer.Option(help="Optimiser steps before the last, noisy ones.", min=1)] = 8_600,
    minutes: Annotated[
        float | None, typer.Option(help="Stop after so many; --resume goes on.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the weights and the examples.", min=0)] = 0,
    output_dir: Annotated[Path, typer.Option(help="Where checkpoints and model/ go.")] = Path("runs/mini-t5"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> int:
    """Make the embedded backbone mini-t5 anew, from installed packages and the project's own generators."""
    from lab.pretrain.loop import PretrainConfig, pretrain

    config = PretrainConfig(steps=steps, seed=seed)
    if pretrain(output_dir, config, resume=resume, minutes=minutes) is None:
        return STOPPED
    print(f"Model: {output_dir / 'model'}")
    return 0


@app.command(name="pretrain-mini-clip")
def pretrain_mini_clip(
    steps: Annotated[int, typer.Option(help="Optimiser steps.", min=1)] = 2_000,
    seed: Annotated[int, typer.Option(help="Of the weights and the pictures.", min=0)] = 0,
    output_dir: Annotated[Path, typer.Option(help="Where checkpoints and model/ go.")] = Path("runs/mini-clip"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
) -> None:
    """Make the embedded image tower mini-clip anew, from pictures that are drawn on the spot."""
    from lab.pretrain.clip_loop import ClipConfig, pretrain_clip

    pretrain_clip(output_dir, ClipConfig(steps=steps, seed=seed), resume=resume)
    print(f"Model: {output_dir / 'model'}")


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
