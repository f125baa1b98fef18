"""A batch's index.html: every job with its status, its scores beside the paper's, and where its files are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dept.errors import RunError
from dept.methods.registry import title_of
from dept.runs.folder import LOG
from lab.basics.html_page import Cell, bullets, group_row, marks_html, page, row, table, text
from lab.paper.marks import marks, paper_score
from lab.paper.numbers import benchmarks
from lab.reproduce.batch import Batch
from lab.runs.read import Run, read_run

_HEADS = (
    Cell("task", "text"),
    Cell("method", "text"),
    Cell("seed"),
    Cell("status", "text"),
    Cell("untrained"),
    Cell("validation"),
    Cell("test"),
    Cell("the paper's", "paper"),
    Cell("metric", "text"),
    Cell("steps"),
    Cell("seconds"),
    Cell("not comparable: why", "text"),
)
_BENCHMARKS = {
    "glue": "GLUE",
    "super_glue": "SuperGLUE",
    "mrqa": "MRQA 2019",
    "other": "Other tasks",
    "vision_language": "Vision and language",
}


def batch_html(batch: Batch) -> str:
    """The page; runs are read from their folders, so that it shows what is there."""
    statuses = Counter(job["status"] for job in batch.jobs.values() if not job["earlier"])
    counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
    parts = [
        f'<p class="faint">Begun {text(batch.started)}, {batch.elapsed_s:,.0f} s; {text(batch.status)}: '
        f"{text(counts)}. Written anew after each job. {text(_asked(batch.asked))}</p>",
        table(_HEADS, _rows(batch)),
        "<p>A task leads to its notebook, a method to its run folder, a status to its log. Scores are in per cent of "
        "the metric: untrained and the best on validation, test with the best adapter. Seconds are of the run; a "
        "notebook takes longer.</p>",
    ]
    problems = [f"{job['name']}: {job['status']}: {job['error']}" for job in batch.jobs.values() if job["error"]]
    if problems:
        parts.append(f"<h2>Not completed</h2>{bullets(problems)}")
    if batch.left_out:
        parts.append(f"<h2>Not run</h2>{bullets([f'{task}: {reason}' for task, reason in batch.left_out])}")
    return page(batch.title, *parts, note=_note(batch))


def _asked(asked: Mapping[str, Any]) -> str:
    parts = []
    for name, value in asked.items():
        if value not in (None, {}, [], ()):
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            parts.append(f"{name.replace('_', ' ')}: {shown}")
    return f"Asked: {'; '.join(parts)}."


def _note(batch: Batch) -> str:
    found = [run.result for job in batch.jobs.values() if (run := _run(batch.folder, job)) and run.result]
    unmarked = sum(not marks(result) for result in found)
    if not found:
        return "No run has ended yet."
    if not unmarked:
        return "No number here is a reproduction of the paper's: each row says why."
    return f"{unmarked} of {len(found)} runs have the paper's data, backbone and settings; the others say what is not."


def _rows(batch: Batch) -> list[str]:
    groups = [(_BENCHMARKS.get(name, name), tasks) for name, tasks in benchmarks().items()]
    known = {task for _, tasks in groups for task in tasks}
    own = tuple(dict.fromkeys(job["task"] for job in batch.jobs.values() if job["task"] not in known))
    lines = []
    for title, tasks in [*groups, ("Tasks outside the paper's tables", own)]:
        jobs = sorted(
            (job for job in batch.jobs.values() if job["task"] in tasks),
            key=lambda job: (tasks.index(job["task"]), job["method"], job["seed"], job["earlier"]),
        )
        if jobs:
            lines.append(group_row(title, len(_HEADS)))
            lines += [_row(batch.folder, job) for job in jobs]
    return lines


def _row(folder: Path, job: Mapping[str, Any]) -> str:
    run = _run(folder, job)
    result = run.result if run is not None else None
    status = job["status"] + (" (earlier)" if job["earlier"] else "")
    cells = [
        Cell(_link(folder, job["notebook"], job["task"]), "text"),
        Cell(_link(folder, job["folder"], title_of(job["method"])), "text"),
        Cell(text(job["seed"])),
        Cell(_link(folder, f"{job['folder']}/{LOG}", status), "text"),
    ]
    if result is None:
        return row([*cells, *[Cell("")] * 3, Cell("", "paper"), *[Cell("")] * 4])
    printed = paper_score(result)
    same = printed is not None and printed.metric == result["main_metric"]
    cells += [
        *(Cell(_number(_score(result, split))) for split in ("untrained_validation", "validation", "test")),
        Cell(_number(printed.value if printed is not None and same else None), "paper"),
        Cell(text(result["main_metric"]), "text"),
        Cell(f"{result['steps']:,}"),
        Cell(f"{result['time']['total_s']:,.0f}"),
        Cell(marks_html(marks(result)), "marks"),
    ]
    return row(cells)


def _run(folder: Path, job: Mapping[str, Any]) -> Run | None:
    """The job's run, as far as it has come; None where there is none, or a damaged one: the job says so."""
    try:
        return read_run(folder / job["folder"])
    except RunError:
        return None


def _score(result: Mapping[str, Any], split: str) -> float | None:
    return (result["metrics"].get(split) or {}).get(result["main_metric"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _link(folder: Path, place: str | None, words: str) -> str:
    if place is None or not (folder / place).exists():
        return text(words)
    return f'<a href="{quote(place)}">{text(words)}</a>'
