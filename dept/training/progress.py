"""The progress of a run in a terminal: loss, rates, time left; plain lines where stderr is no terminal."""

import time
from collections.abc import Mapping
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dept.training.prepare import Prepared

_LINE_SECONDS = 10.0  # the least time between two plain lines


def loss_and_rates(line: Mapping[str, Any]) -> list[str]:
    """A step's loss, and the rate of each group that is trained, in words."""
    rates = [f"{name} {rate:.2e}" for name, rate in line.items() if name.endswith("_lr") and rate is not None]
    return [f"loss {line['loss']:.4f}", *rates]


def scores_of(line: Mapping[str, Any]) -> str:
    """An evaluation's split and scores, in words."""
    return f"{line['split']}: " + ", ".join(f"{name} {value:.2f}" for name, value in line["metrics"].items())


class Bar:
    """A reporter for `dept.training.loop.train`: a progress bar on stderr."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._steps: TaskID | None = None
        self._rows: TaskID | None = None
        self._max_steps = 0
        self._main_metric = ""
        self._last_line = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._bar.stop()

    def started(self, prepared: Prepared, first_step: int) -> None:
        config, split, model = prepared.config, prepared.budget, prepared.model
        self._max_steps = config.max_steps or 0
        self._main_metric = prepared.task.main_metric
        rows = prepared.rows.sizes
        left = ""
        if split is not None and split.left_over:
            what = "over the budget" if split.over_budget else "of the budget left over"
            left = f", {abs(split.left_over):,} {what}"
        rates = " and ".join(f"{config.rates()[name]:g}" for name in model.grouped_tensors())
        sizes = model.method_config.summary()
        self._say(
            f"{config.method} on {prepared.task.name} ({prepared.rows.source} data: "
            f"{rows['train']:,}/{rows['validation']:,}/{rows['test']:,} rows), {config.backbone} "
            f"({prepared.backbone.source}): {f'{sizes}, ' if sizes else ''}"
            f"{model.trainable_parameters():,} parameters{left}; rates {rates}; "
            f"{config.verbalizer} labels, {config.decoding}"
        )
        self._steps = self._bar.add_task("training", total=self._max_steps, completed=first_step)

    def stepped(self, line: dict[str, Any]) -> None:
        text = "  ".join(loss_and_rates(line))
        if self._steps is not None:
            self._bar.update(self._steps, completed=line["step"], description=text)
        if self._bar.disable and time.monotonic() - self._last_line > _LINE_SECONDS:
            self._last_line = time.monotonic()
            self._say(f"step {line['step']}/{self._max_steps}  {text}  {line['elapsed_s']:.0f} s")

    def evaluating(self, split: str, done: int, rows: int) -> None:
        if self._rows is None:
            self._rows = self._bar.add_task(split, total=rows)
        self._bar.update(self._rows, completed=done, total=rows, description=f"evaluating {split}")

    def evaluated(self, line: dict[str, Any]) -> None:
        if self._rows is not None:
            self._bar.remove_task(self._rows)
            self._rows = None
        self._say(f"step {line['step']}  {scores_of(line)}")

    def _say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
