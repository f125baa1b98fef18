"""`dept-lab runs list|show|compare|prune`."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from dept.errors import ConfigError

app = typer.Typer(help="Look after run folders.", no_args_is_help=True)

Root = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to look, folders within folders too.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_runs(
    folder: Root = Path("runs"),
    status: Annotated[str | None, typer.Option(help="Only these: completed, failed, running, ...; by commas.")] = None,
    task: Annotated[str | None, typer.Option(help="Only these tasks; by commas.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs of a folder."""
    from rich.console import Console

    from lab.runs.read import STATUSES, find_runs
    from lab.runs.tables import facts, list_table

    statuses = _choices(status, STATUSES, "--status")
    tasks = None if task is None else {name.strip() for name in task.split(",")}
    runs, damaged = find_runs(folder)
    runs = [run for run in runs if run.status in statuses and (tasks is None or run.config["task"] in tasks)]
    if as_json:
        print(json.dumps([facts(run) for run in runs], indent=2))
    elif runs:
        Console().print(list_table(runs, folder))
    else:
        print(f"no such runs in {folder}")
    for bad in damaged:
        print(f"damaged: {bad.path}: {bad.reason}", file=sys.stderr)


@app.command()
def show(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: AsJson = False,
) -> None:
    """Show all that one run's folder says."""
    from rich.console import Console

    from lab.runs.read import read_run
    from lab.runs.tables import show_table

    content = read_run(run)
    if as_json:
        values = {"path": str(content.path), "status": content.status}
        print(json.dumps({**values, "config": content.config, "result": content.result}, indent=2))
        return
    Console().print(show_table(content))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN ...", help="Two run folders or more.")],
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also an HTML file with curves, for runs of one task.")
    ] = None,
) -> None:
    """Set runs beside each other: the settings that differ, and the results."""
    from rich.console import Console

    from lab.runs.compare import write_html
    from lab.runs.read import read_run
    from lab.runs.tables import compare_table

    if len(runs) < 2:
        raise ConfigError("runs compare takes two run folders or more")
    compared = [read_run(run) for run in runs]
    tasks = {run.config["task"] for run in compared}
    if output is not None and (len(tasks) > 1 or all(run.result is None for run in compared)):
        raise ConfigError("--output takes runs of one task, one of them with a result at least")
    Console().print(compare_table(compared))
    if output is not None:
        write_html(compared, output, f"{len(compared)} runs of {tasks.pop()}")
        print(f"written: {output}")


@app.command("prune")
def prune_runs(
    folder: Root,
    status: Annotated[str, typer.Option(help="Which: failed, stopped, interrupted, completed; by commas.")] = "failed",
    older_than: Annotated[float, typer.Option(metavar="DAYS", help="Only runs silent for so long.", min=0)] = 0.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, delete nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete runs; never a running one, and only files that runs write."""
    from lab.runs.prune import PRUNABLE, prune, to_prune
    from lab.runs.read import find_runs

    statuses = _choices(status, PRUNABLE, "--status")
    runs, damaged = find_runs(folder)
    for bad in damaged:
        print(f"damaged, left alone: {bad.path}: {bad.reason}", file=sys.stderr)
    chosen = to_prune(runs, statuses, older_than)
    if not chosen:
        print(f"nothing to delete: no {' or '.join(statuses)} run in {folder}")
        return
    for run in chosen:
        print(f"{'would delete' if dry_run else 'to delete'}: {run.path} ({run.status}, {run.config['task']})")
    if dry_run:
        return
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody to ask here: add --yes to delete these runs, or --dry-run to look only")
        if not typer.confirm(f"Delete {len(chosen)} run{'s' if len(chosen) > 1 else ''}?"):
            print("nothing deleted")
            return
    for pruned in map(prune, chosen):
        what = "deleted" if pruned.deleted else "not deleted"
        print(f"{what}: {pruned.path}{f' ({pruned.kept})' if pruned.kept else ''}")


def _choices(text: str | None, known: tuple[str, ...], flag: str) -> tuple[str, ...]:
    """The words of a comma-separated text, each checked against the known ones; all known words for None."""
    if text is None:
        return known
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    for word in words:
        if word not in known:
            raise ConfigError(f"{flag}: {word!r} is none of {', '.join(known)}")
    return words
