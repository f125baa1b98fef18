"""Ours beside the paper's: for the terminal, and as HTML, Markdown, CSV and LaTeX.

A row that is no reproduction carries its marks everywhere, and its difference stands in parentheses.
"""

import csv
import io
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go
from rich.table import Table

from lab import html_page, paper
from lab.html_page import Cell
from lab.report import short
from lab.results import LeftOut, Mean, Results, Row, Spread, varying_settings

BENCHMARK_NAMES = {
    "glue": "GLUE",
    "super_glue": "SuperGLUE",
    "mrqa": "MRQA",
    "other": "Other data sets",
    "vision_language": "Vision and language",
    None: "Tasks without a number in the paper's tables",
}
MARK_SEPARATOR = "; "  # a mark may have commas
HEADS = ("task", "method", "setting", "ours", "seeds", "paper", "difference", "marks")
LEGEND = (
    "Scores are test scores of the best adapter by validation, in per cent of the named metric: mean and standard "
    "deviation over seeds. A row without marks has the paper's data, backbone and settings. Rows with marks are no "
    "reproduction: their differences stand in parentheses, and they are in no mean without the same marks. A mean is "
    "over all tasks of its benchmark, each with the setting that is best on validation."
)
_CSV = (
    *("benchmark", "task", "method", "backbone", "backbone_source", "data_source", "metric", "seeds"),
    *("validation_mean", "validation_deviation", "test_mean", "test_deviation"),
    *("paper", "paper_deviation", "paper_table", "difference", "reproduces", "marks"),
    *("num_virtual_tokens", "rank", "prompt_lr", "low_rank_lr", "steps", "batch_size", "trainable_parameters", "runs"),
)


def spread(value: Spread | None) -> str:
    """73.2 ± 0.1; the mean alone for one seed; a dash for none."""
    if value is None:
        return "-"
    return f"{value.mean:.1f}" if value.deviation is None else f"{value.mean:.1f} ± {value.deviation:.1f}"


def paper_value(score: paper.Score | None) -> str:
    """As the paper prints it, with two digits where it has two."""
    if score is None:
        return "-"
    digits = max(1, len(str(score.value).partition(".")[2]))
    return f"{score.value:.{digits}f}" + ("" if score.deviation is None else f" ± {score.deviation:.1f}")


def difference(row: Row | Mean) -> str:
    """Signed; in parentheses where the two numbers are not comparable."""
    if row.difference is None:
        return "-"
    text = f"{row.difference:+.1f}"
    return text if row.reproduces else f"({text})"


def method_name(method: str) -> str:
    return paper.methods().get(method, method)


def lines(results: Results) -> list[tuple[str | None, list[tuple[str, ...]]]]:
    """By benchmark, in the paper's order: each row's and then each mean's cells, the columns of `HEADS`."""
    found = []
    for benchmark in (*paper.benchmarks(), None):
        rows = [row for row in results.rows if row.benchmark == benchmark]
        cells = [_row_cells(row, results.rows) for row in rows]
        cells += [_mean_cells(mean) for mean in results.means if mean.benchmark == benchmark]
        if cells:
            found.append((benchmark, cells))
    return found


def _row_cells(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    return (
        f"{row.task} ({row.metric})",
        method_name(row.method),
        setting(row, rows),
        spread(row.test),
        str(len(row.test.values if row.test is not None else row.seeds)),
        paper_value(row.paper),
        difference(row),
        MARK_SEPARATOR.join(row.marks),
    )


def _mean_cells(mean: Mean) -> tuple[str, ...]:
    return (
        "mean",
        method_name(mean.method),
        mean.backbone,
        spread(mean.test),
        str(len(mean.seeds)) if mean.seeds else "-",
        paper_value(mean.paper),
        difference(mean),
        MARK_SEPARATOR.join(mean.marks),
    )


def setting(row: Row, rows: Sequence[Row]) -> str:
    """Backbone, m and r, and what else tells a row from the others of its task and method."""
    result = row.result
    rank = f", r = {result['rank']}" if result["rank"] else ""
    others = [f"{name} {short(value)}" for name, value in varying_settings(row, rows).items()]
    return ", ".join((f"{result['backbone']['name']}, m = {result['num_virtual_tokens']}{rank}", *others))


def as_rich(results: Results) -> Table:
    """For a terminal: without the settings, which the files have."""
    table = Table(title="Ours beside the paper's, test scores in per cent", title_justify="left")
    shown = [name for name in HEADS if name != "setting"]
    for name in shown:
        table.add_column(name, justify="left" if name in ("task", "method", "marks") else "right")
    for benchmark, rows in lines(results):
        table.add_section()
        table.add_row(f"[bold]{BENCHMARK_NAMES[benchmark]}[/bold]")
        for cells in rows:
            named = dict(zip(HEADS, cells, strict=True))
            table.add_row(*(named[name] for name in shown), style="bold" if named["task"] == "mean" else None)
    return table


def as_markdown(results: Results) -> str:
    """One table, with what was left out below it."""
    text = ["# Ours beside the paper's", "", LEGEND, ""]
    for benchmark, rows in lines(results):
        text += [f"## {BENCHMARK_NAMES[benchmark]}", "", f"| {' | '.join(HEADS)} |", f"|{' --- |' * len(HEADS)}"]
        text += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in rows]
        text.append("")
    if results.left_out:
        text += ["## Left out", "", *(f"- {line}" for line in left_out_lines(results.left_out)), ""]
    return "\n".join(text)


def as_latex(results: Results) -> str:
    """A table for a paper: needs the package booktabs. Marks are numbers, which the lines below it explain."""
    numbers: dict[str, int] = {}
    body = []
    for benchmark, rows in lines(results):
        body.append(rf"\midrule \multicolumn{{7}}{{l}}{{\emph{{{_latex(BENCHMARK_NAMES[benchmark])}}}}} \\")
        for cells in rows:
            named = dict(zip(HEADS, cells, strict=True))
            number = numbers.setdefault(named["marks"], len(numbers) + 1) if named["marks"] else ""
            ours = _latex(named["ours"]) + (rf"\textsuperscript{{{number}}}" if number else "")
            others = [_latex(named[name]) for name in ("seeds", "paper", "difference")]
            first = [_latex(named[name]) for name in ("task", "method", "setting")]
            body.append(" & ".join((*first, ours, *others)) + r" \\")
    notes = [rf"\textsuperscript{{{number}}} {_latex(marks)}." for marks, number in numbers.items()]
    return "\n".join(
        (
            r"% needs \usepackage{booktabs}",
            r"\begin{tabular}{lllrrrr}",
            r"\toprule",
            r"Task & Method & Setting & Ours & Seeds & Paper & Difference \\",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\footnotesize {note}" for note in notes),
            "",
        )
    )


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def as_csv(results: Results) -> str:
    """A line a row and a mean, numbers in full."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV, lineterminator="\n", restval="")
    writer.writeheader()
    for row in results.rows:
        result = row.result
        writer.writerow(
            {
                **_shared_fields(row),
                "task": row.task,
                "backbone_source": result["backbone"]["source"],
                "data_source": result["data"]["source"],
                "metric": row.metric,
                "seeds": " ".join(map(str, row.seeds)),
                **_spread_fields("validation", row.validation),
                "num_virtual_tokens": result["num_virtual_tokens"],
                "rank": result["rank"],
                "prompt_lr": result["config"].get("prompt_lr"),
                "low_rank_lr": result["config"].get("low_rank_lr"),
                "steps": result["steps"],
                "batch_size": result["config"].get("batch_size"),
                "trainable_parameters": result["trainable_parameters"],
                "runs": " ".join(str(run.path) for run in row.runs),
            }
        )
    for mean in results.means:
        sources = {row.result["data"]["source"] for row in mean.rows}
        writer.writerow(
            {
                **_shared_fields(mean),
                "task": "mean",
                "data_source": " ".join(sorted(sources)),
                "seeds": " ".join(map(str, mean.seeds)),
            }
        )
    return text.getvalue()


def _shared_fields(row: Row | Mean) -> dict[str, object]:
    printed = row.paper
    return {
        "benchmark": row.benchmark or "",
        "method": row.method,
        "backbone": row.backbone,
        **_spread_fields("test", row.test),
        "paper": printed.value if printed else "",
        "paper_deviation": printed.deviation if printed and printed.deviation is not None else "",
        "paper_table": printed.table if printed else "",
        "difference": "" if row.difference is None else round(row.difference, 4),
        "reproduces": row.reproduces,
        "marks": MARK_SEPARATOR.join(row.marks),
    }


def _spread_fields(name: str, value: Spread | None) -> dict[str, object]:
    if value is None:
        return {}
    found: dict[str, object] = {f"{name}_mean": round(value.mean, 4)}
    return found if value.deviation is None else {**found, f"{name}_deviation": round(value.deviation, 4)}


def as_html(results: Results, figures: Sequence[tuple[str, go.Figure]] = (), notes: Sequence[str] = ()) -> str:
    """The page: the table, the figures, what was left out.

    Args:
        figures: each under its heading.
        notes: plain texts below them: where measured times come from.
    """
    left = {"task", "method", "setting"}
    heads = [Cell(html_page.text(name), "text" if name in left or name == "marks" else "") for name in HEADS]
    rows: list[str] = []
    for benchmark, found in lines(results):
        rows.append(html_page.group_row(BENCHMARK_NAMES[benchmark], len(HEADS)))
        rows += [_html_row(cells) for cells in found]
    out = left_out_lines(results.left_out)
    return html_page.page(
        "Ours beside the paper's",
        html_page.table(heads, rows) if rows else "<p>No completed run here.</p>",
        html_page.drawings(figures),
        "".join(f'<p class="faint">{html_page.text(note)}</p>' for note in notes),
        f"<h2>Left out</h2>{html_page.bullets(out)}" if out else "",
        note=LEGEND,
    )


def _html_row(cells: tuple[str, ...]) -> str:
    named = dict(zip(HEADS, cells, strict=True))
    kinds = {"task": "text", "method": "text", "setting": "wrap", "paper": "paper", "marks": "wrap"}
    found = [Cell(html_page.text(named[name]), kinds.get(name, "")) for name in HEADS[:-1]]
    marks = html_page.marks_html(named["marks"].split(MARK_SEPARATOR)) if named["marks"] else ""
    return html_page.row([*found, Cell(marks, "wrap")], kind="mean" if named["task"] == "mean" else "")


def left_out_lines(left_out: Iterable[LeftOut]) -> list[str]:
    """One line for each."""
    return [f"{one.what}: {one.reason}" for one in left_out]
