"""`dept-lab bench`."""

from pathlib import Path
from typing import Annotated

import typer

from dept.errors import ConfigError
from dept.flags import STOPPED


def bench(
    what: Annotated[
        str,
        typer.Option(help="train, inference, memory, decoding (label scoring beside the release's way); by commas."),
    ] = "train,inference",
    backbones: Annotated[
        str, typer.Option(help="Aliases, folders, random:<alias> for the shape alone; by commas.")
    ] = "random:t5-small",
    virtual_tokens: Annotated[str, typer.Option(help="DePT's m, each beside PT; by commas.")] = "0,20,40,60,80",
    methods: Annotated[
        str, typer.Option(help="Other methods beside PT, those joined by + too; by commas.", show_default="none")
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of those methods; repeatable."),
    ] = None,
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
    """Measure time and memory of DePT, and of other methods, beside PT, each measurement in a fresh process."""
    from datetime import datetime

    from lab.basics.commas import numbers, words
    from lab.bench.config import BenchConfig
    from lab.bench.run import run_bench

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
        methods=words(methods),
        method_settings=tuple(settings or ()),
    )
    folder = output_dir or Path("runs") / f"bench-{datetime.now():%Y%m%d-%H%M%S}"
    measured = run_bench(config.as_quick() if quick else config, folder)
    from lab.bench.report import print_table, write_report  # imports plotly

    report = write_report(measured, folder)
    print_table(measured)
    print(f"Report: {report}; every measurement: {folder / 'bench.json'}")
    return STOPPED if measured.status == "stopped" else 0
