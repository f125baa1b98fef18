"""A sweep's outcome for people: sweep.html, sweep.md, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from dept.basics.files import write_text
from dept.methods.registry import groups
from dept.runs.settings import TrainConfig
from lab.basics import html_page
from lab.basics.html_page import Cell
from lab.results.render import spread
from lab.sweep.choice import Candidate, Choice
from lab.sweep.grid import Values

if TYPE_CHECKING:
    from lab.sweep.outcome import Swept

STATUSES = ("completed", "pruned", "failed", "unfinished")
_IN_FILES_ALONE = ("trained", "rates", "metric", "seeds", "marks")  # a terminal has no room for them
LEGEND = (
    "In each row the setting with the highest mean validation over the seeds is chosen (of equal ones the first of "
    "the grid); only its runs are scored on test. Scores are in per cent of the task's main metric, mean ± standard "
    "deviation over seeds, of each run's best adapter by validation."
)


def heads(choices: Sequence[Choice]) -> list[str]:
    """The outcome's columns: what is compared, then what came of it."""
    compared = dict.fromkeys(name for choice in choices for name in choice.group)
    return [
        *compared,
        "chosen",
        "trained",
        "rates",
        "metric",
        "validation",
        "test",
        "seeds",
        "settings tried",
        "marks",
    ]


def cells(choice: Choice, columns: Sequence[str]) -> list[str]:
    """One row of the outcome; a dash where there is nothing yet."""
    tried = ", ".join(f"{count} {status}" for status in STATUSES if (count := choice.count(status)))
    chosen = choice.chosen
    values = {name: shown(value) for name, value in choice.group.items()} | {"settings tried": tried}
    if chosen is not None:
        result = chosen.results[0]
        assert result is not None, "a chosen setting is completed"
        values |= {
            "chosen": point(chosen.point),
            "trained": _trained(chosen),
            "rates": _rates(chosen),
            "metric": result["main_metric"],
            "validation": spread(chosen.validation),
            "test": spread(chosen.test),
            "seeds": str(len(chosen.results)),
            "marks": "; ".join(chosen.marks),
        }
    return [values.get(name, "" if name == "marks" else "-") for name in columns]


def _config(candidate: Candidate) -> TrainConfig:
    """The settings of its runs, filled in where a run says how."""
    result = candidate.results[0]
    filled = None if result is None else result.get("config")
    return candidate.trials[0].job.config if filled is None else TrainConfig.from_dict(filled)


def _trained(candidate: Candidate) -> str:
    """The method and its sizes: "DePT: m = 40, r = 45"."""
    method = _config(candidate).method_config()
    return ": ".join(part for part in (method.title, method.summary()) if part)


def _rates(candidate: Candidate) -> str:
    """The learning rate of each group that has one."""
    rates = _config(candidate).rates().items()
    return ", ".join(f"{groups()[group].title} {shown(rate)}" for group, rate in rates if rate is not None) or "-"


def shown(value: object) -> str:
    """A setting for a table."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def point(values: Values) -> str:
    """A point of a grid in one line; a row without a search has but one."""
    return ", ".join(f"{name} {shown(value)}" for name, value in values.items()) or "(nothing to choose)"


def as_rich(swept: Swept) -> Table:
    """For a terminal: without what the files have for completeness; `all_marks` goes below it."""
    table = Table(title=_title(swept), title_justify="left")
    columns = heads(swept.choices)
    shown = [
        index for index, name in enumerate(columns) if name not in ("trained", "rates", "metric", "seeds", "marks")
    ]
    for index in shown:
        table.add_column(columns[index], justify="right" if columns[index] in ("validation", "test") else "left")
    for choice in swept.choices:
        row = cells(choice, columns)
        table.add_row(*(row[index] for index in shown))
    return table


def all_marks(swept: Swept) -> str:
    """One line: why any of the numbers is no reproduction of the paper's; empty where all of them are one."""
    found = dict.fromkeys(mark for choice in swept.choices if choice.chosen for mark in choice.chosen.marks)
    return f"Not comparable with the paper's numbers: {', '.join(found)}." if found else ""


def write_report(swept: Swept, folder: Path) -> None:
    """Write sweep.md and sweep.html."""
    write_text(folder / "sweep.md", _markdown(swept))
    write_text(folder / "sweep.html", _html(swept))


def _title(swept: Swept) -> str:
    about = swept.plan.sweep.about
    return f"Sweep {swept.plan.sweep.name}" + (f": {about}" if about else "")


def _note(swept: Swept) -> str:
    plan = swept.plan
    parts = [f"Status: {swept.status}."]
    if plan.draw is not None:
        parts.append(f"At most {plan.draw} settings of each grid were drawn at random (seed {plan.draw_seed}).")
    if plan.prune is not None:
        parts.append(f"Runs that were behind were ended early ({plan.prune}); such a setting cannot be chosen.")
    marked = any(cells(choice, ["marks"]) != [""] for choice in swept.choices)
    if marked:
        parts.append("Rows with marks are no reproduction of the paper's numbers; each mark is a reason.")
    return " ".join(parts)


def _tried(choices: Sequence[Choice]) -> list[tuple[str, list[tuple[str, str, str]]]]:
    """Each row's candidates, the best first: setting, status, validation."""

    def by_validation(candidate: Candidate) -> float:
        return -candidate.validation.mean if candidate.validation is not None else 1.0

    return [
        (
            ", ".join(shown(value) for value in choice.group.values()) or "all",
            [
                (point(candidate.point), _status(candidate, choice), spread(candidate.validation))
                for candidate in sorted(choice.candidates, key=by_validation)
            ],
        )
        for choice in choices
        if len(choice.candidates) > 1
    ]


def _status(candidate: Candidate, choice: Choice) -> str:
    return f"{candidate.status}, chosen" if candidate is choice.chosen else candidate.status


def _markdown(swept: Swept) -> str:
    columns = heads(swept.choices)
    parts = [f"# {_title(swept)}", _note(swept), _markdown_table(columns, [cells(c, columns) for c in swept.choices])]
    parts.append(LEGEND)
    for name, rows in _tried(swept.choices):
        parts += [f"## {name}", _markdown_table(("setting", "status", "validation"), rows)]
    if swept.failures:
        parts += ["## Failed runs", "\n".join(f"- {name}: {reason}" for name, reason in swept.failures.items())]
    return "\n\n".join(parts) + "\n"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _html(swept: Swept) -> str:
    columns = heads(swept.choices)
    numbers = ("validation", "test", "seeds")
    rows = []
    for choice in swept.choices:
        rows.append(
            html_page.row(
                [
                    Cell(html_page.marks_html(text.split("; ") if text else ()), "wrap")
                    if name == "marks"
                    else Cell(html_page.text(text), "" if name in numbers else "text")
                    for name, text in zip(columns, cells(choice, columns), strict=True)
                ]
            )
        )
    outcome = html_page.table([Cell(name, "" if name in numbers else "text") for name in columns], rows)
    tried = [
        f"<h2>{html_page.text(name)}</h2>"
        + html_page.table(
            [Cell("setting", "text"), Cell("status", "text"), Cell("validation")],
            [
                html_page.row(
                    [Cell(html_page.text(setting), "text"), Cell(status, "text"), Cell(validation)],
                    kind="mean" if status.endswith("chosen") else "",
                )
                for setting, status, validation in found
            ],
        )
        for name, found in _tried(swept.choices)
    ]
    failed = [f"{name}: {reason}" for name, reason in swept.failures.items()]
    failures = f"<h2>Failed runs</h2>{html_page.bullets(failed)}" if failed else ""
    legend = f'<p class="faint">{html_page.text(LEGEND)}</p>'
    return html_page.page(_title(swept), outcome, legend, *tried, failures, note=_note(swept))
