"""`dept-lab runs`: run folders as tables for the terminal and as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from dept.runs.settings import settings_of_method
from lab.paper.marks import marks
from lab.runs.compare import COLUMNS, comparison, differing_settings, provenance, short
from lab.runs.read import Run, labels


def facts(run: Run) -> dict[str, Any]:
    """A run's main values, for `runs list --json`; scores are in per cent of `main_metric`."""
    result = run.result
    return {
        "path": str(run.path),
        "status": run.status,
        "task": run.config["task"],
        "method": run.config["method"],
        "backbone": run.config.get("backbone"),
        "data": run.config.get("data"),
        "seed": run.config.get("seed"),
        "steps": run.steps,
        "max_steps": run.config.get("max_steps"),
        "main_metric": result["main_metric"] if result is not None else None,
        "validation": run.score("validation"),
        "test": run.score("test"),
        "marks": list(marks(result)) if result is not None else None,
    }


def list_table(runs: Sequence[Run], root: Path) -> Group:
    """A row for each run; paths are relative to `root`. Marks are numbers, explained below the table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("run", "task", "method", "status", "steps", "valid.", "test", "marks"):
        right = name in ("steps", "valid.", "test")
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=name != "run")
    numbers: dict[tuple[str, ...], int] = {}
    for run in runs:
        values = facts(run)
        inside = run.path.relative_to(root) if run.path.is_relative_to(root) else run.path
        cells = (
            str(inside) if inside != Path() else str(root),
            str(values["task"]),
            run.name,
            run.status,
            f"{run.steps:,}/{values['max_steps']:,}" if isinstance(values["max_steps"], int) else f"{run.steps:,}",
            _per_cent(values["validation"]),
            _per_cent(values["test"]),
            f"[{numbers.setdefault(kept, len(numbers) + 1)}]" if (kept := tuple(values["marks"] or ())) else "",
        )
        table.add_row(*map(escape, cells))
    notes = [f"[{number}] no reproduction: {', '.join(kept)}" for kept, number in numbers.items()]
    return Group(table, *map(escape, notes))


def _per_cent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def show_table(run: Run) -> Table:
    """All values of one run's folder, a line for each."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _shown(run).items():
        table.add_row(name, value)
    return table


def _shown(run: Run) -> dict[str, str]:
    lines = {"run": str(run.path), "status": run.status, "steps": f"{run.steps:,}"}
    error = (run.result or {}).get("error") or run.state.get("error")
    if error:
        lines["error"] = str(error)
    if (result := run.result) is not None:
        metrics = result["metrics"]
        for split in ("untrained_validation", "validation", "test"):
            scores = ", ".join(f"{name} {value:.2f}" for name, value in (metrics[split] or {}).items())
            lines[split.replace("_", " ")] = scores or "-"
        lines |= {
            "best step": str(result.get("best_step")),
            "trainable parameters": f"{result['trainable_parameters']:,}",
            "seconds": f"{result['time']['total_s']:,.0f}",
            "provenance": provenance(result),
            "key": result["key"],
            "commit": _commit(result.get("commit")),
            "versions": ", ".join(f"{name} {version}" for name, version in (result.get("versions") or {}).items()),
        }
    settings = settings_of_method(run.config["method"], run.settings.to_dict())
    lines["settings"] = ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None)
    return lines


def _commit(commit: dict[str, Any] | None) -> str:
    if not commit:
        return "- (installed package)"
    return f"{commit.get('id')}{' with uncommitted changes' if commit.get('dirty') else ''}"


def compare_table(runs: Sequence[Run]) -> Table:
    """A column for each run: the settings that differ, then the results."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in labels(runs):
        table.add_column(name, justify="right", overflow="fold")
    for name, values in differing_settings(runs).items():
        table.add_row(name, *map(short, values))
    table.add_section()
    table.add_row("status", *(run.status for run in runs))
    results = comparison(runs)
    for name in COLUMNS[1:]:
        table.add_row(name, *(row[name] for row in results))
    table.add_row("marks", *(", ".join(marks(run.result)) if run.result is not None else "-" for run in runs))
    return table
