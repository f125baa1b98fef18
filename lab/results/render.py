"""Our results beside the paper's: for the terminal, and as HTML, Markdown, CSV and LaTeX.

A row that is no reproduction has its marks in every format, and its difference is in parentheses.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from dept.methods.registry import groups, title_of
from lab.basics import html_page
from lab.basics.html_page import Cell
from lab.paper import numbers as paper
from lab.results.rows import LeftOut, Mean, Results, Row, Spread, backbone_name, varying_settings
from lab.runs.compare import short

if TYPE_CHECKING:
    import plotly.graph_objects as go

BENCHMARK_NAMES = {
    "glue": "GLUE",
    "super_glue": "SuperGLUE",
    "mrqa": "MRQA",
    "other": "Other data sets",
    "vision_language": "Vision and language",
    None: "Tasks without a number in the paper's tables",
}
HEADS = ("task", "method", "setting", "ours", "seeds", "paper", "difference", "marks")
LEGEND = (
    "Scores are test scores of the best adapter by validation, in per cent of the named metric: mean and standard "
    "deviation over seeds. A row without marks has the paper's data, backbone and settings. Rows with marks are no "
    "reproduction: their differences stand in parentheses, and they are in no mean without the same marks. A mean is "
    "over all tasks of its benchmark, each with the setting that is best on validation."
)
_CSV = (
    *("benchmark", "task", "method", "backbone", "backbone_source", "vision_backbone"),
    *("data_source", "metric", "seeds"),
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
    """The score as the paper prints it, with two digits where it has two."""
    if score is None:
        return "-"
    digits = max(1, len(str(score.value).partition(".")[2]))
    return f"{score.value:.{digits}f}" + ("" if score.deviation is None else f" ± {score.deviation:.1f}")


def difference(row: Row | Mean) -> str:
    """Our score less the paper's, with a sign; in parentheses where the two are not comparable."""
    if row.difference is None:
        return "-"
    text = f"{row.difference:+.1f}"
    return text if row.reproduces else f"({text})"


def method_name(method: str) -> str:
    return paper.methods().get(method) or title_of(method)


def grouped(results: Results) -> list[tuple[str | None, list[Row | Mean]]]:
    """Each benchmark, in the paper's order, with its rows followed by its means."""
    by_benchmark: list[tuple[str | None, list[Row | Mean]]] = []
    for benchmark in (*paper.benchmarks(), None):
        rows = [row for row in results.rows if row.benchmark == benchmark]
        means = [mean for mean in results.means if mean.benchmark == benchmark]
        if rows:
            by_benchmark.append((benchmark, [*rows, *means]))
    return by_benchmark


def cells(one: Row | Mean, results: Results) -> dict[str, str]:
    """The texts of a row or a mean, by the names of `HEADS`."""
    if isinstance(one, Row):
        what = f"{one.task} ({one.metric})"
        tower = f" with {backbone_name(one.tower)}" if one.tower is not None else ""
        where = f"{backbone_name(one.backbone)}{tower}, {split_and_rates(one, results.rows)}"
        seeds = str(len(one.test.values if one.test is not None else one.seeds))
    else:
        what, where, seeds = "mean", backbone_name(one.backbone), str(len(one.seeds)) if one.seeds else "-"
    values = (
        what,
        method_name(one.method),
        where,
        spread(one.test),
        seeds,
        paper_value(one.paper),
        difference(one),
        ", ".join(one.marks),
    )
    return dict(zip(HEADS, values, strict=True))


def split_and_rates(row: Row, rows: Sequence[Row]) -> str:
    """The sizes, and the settings that tell a row from the others of its task and method, all rates as one."""
    parts = [row.summary] if row.summary else []
    differing = varying_settings(row, rows)
    if row.rates.keys() & differing.keys():
        parts.append(f"{'rates' if len(row.rates) > 1 else 'rate'} {' / '.join(map(short, row.rates.values()))}")
    others = {name: value for name, value in differing.items() if name not in row.rates}
    return ", ".join((*parts, *(f"{name} {short(value)}" for name, value in others.items()))) or "-"


def as_rich(results: Results) -> Group:
    """The table for a terminal of 80 columns: marks are numbers, explained below the table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("task", "method", "setting", "ours", "n", "paper", "diff.", "marks"):
        left = name in ("task", "method", "setting", "marks")
        table.add_column(name, justify="left" if left else "right", overflow="fold", no_wrap=name not in ("setting",))
    numbers: dict[tuple[str, ...], int] = {}
    for benchmark, lines in grouped(results):
        table.add_section()
        table.add_row(f"[bold]{BENCHMARK_NAMES[benchmark]}[/bold]")
        for one in lines:
            named = cells(one, results)
            if isinstance(one, Row):  # without the metric and the backbone, which take too much room here
                named |= {"task": one.task, "setting": split_and_rates(one, results.rows)}
            mark = f"[{numbers.setdefault(one.marks, len(numbers) + 1)}]" if one.marks else ""
            values = (*(named[name] for name in HEADS[:-1]), mark)
            table.add_row(*map(escape, values), style="bold" if isinstance(one, Mean) else None)
    notes = [f"[{number}] no reproduction: {', '.join(marks)}" for marks, number in numbers.items()]
    return Group("Ours beside the paper's: test scores in per cent, n seeds", table, *map(escape, notes))


def as_markdown(results: Results) -> str:
    """One table, with what was left out below it."""
    text = ["# Ours beside the paper's", "", LEGEND, ""]
    for benchmark, lines in grouped(results):
        text += [f"## {BENCHMARK_NAMES[benchmark]}", "", f"| {' | '.join(HEADS)} |", f"|{' --- |' * len(HEADS)}"]
        for one in lines:
            texts = (cell.replace("|", "\\|") for cell in cells(one, results).values())
            text.append(f"| {' | '.join(texts)} |")
        text.append("")
    if results.left_out:
        text += ["## Left out", "", *(f"- {line}" for line in left_out_lines(results.left_out)), ""]
    return "\n".join(text)


def as_latex(results: Results) -> str:
    """A table for a paper; it needs the package booktabs. Marks are numbers, explained below the table."""
    numbers: dict[str, int] = {}
    body = []
    for benchmark, lines in grouped(results):
        body.append(rf"\midrule \multicolumn{{7}}{{l}}{{\emph{{{_latex(BENCHMARK_NAMES[benchmark])}}}}} \\")
        for one in lines:
            named = cells(one, results)
            number = numbers.setdefault(named["marks"], len(numbers) + 1) if named["marks"] else ""
            ours = _latex_number(named["ours"]) + (rf"\textsuperscript{{{number}}}" if number else "")
            others = [_latex_number(named[name]) for name in ("seeds", "paper", "difference")]
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


def _latex_number(text: str) -> str:
    return _latex(text).replace("-", "$-$") if text != "-" else "--"


def as_csv(results: Results) -> str:
    """A line for each row and each mean, numbers in full; after `_CSV` the methods' other settings and rates."""
    text, own = io.StringIO(), [_method_fields(row) for row in results.rows]
    columns = dict.fromkeys((*_CSV, *(name for values in own for name in values)))
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    for row, of_method in zip(results.rows, own, strict=True):
        result = row.result
        writer.writerow(
            {
                **of_method,
                **_shared_fields(row),
                "task": row.task,
                "backbone_source": result["backbone"]["source"],
                "vision_backbone": row.tower or "",
                "data_source": result["data"]["source"],
                "metric": row.metric,
                "seeds": " ".join(map(str, row.seeds)),
                **_spread_fields("validation", row.validation),
                "num_virtual_tokens": result["num_virtual_tokens"],
                "rank": result["rank"],
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


def _method_fields(row: Row) -> dict[str, object]:
    """The method's own settings and all rates that have a value."""
    settings = row.runs[0].settings
    names = (*settings.method_class.own_settings(), *(groups()[name].setting_name for name in settings.rates()))
    return {name: value for name in names if (value := row.result["config"][name]) is not None}


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
        "marks": ", ".join(row.marks),
    }


def _spread_fields(name: str, value: Spread | None) -> dict[str, object]:
    if value is None:
        return {}
    fields: dict[str, object] = {f"{name}_mean": round(value.mean, 4)}
    return fields if value.deviation is None else {**fields, f"{name}_deviation": round(value.deviation, 4)}


def as_html(results: Results, figures: Sequence[tuple[str, go.Figure]] = (), notes: Sequence[str] = ()) -> str:
    """The HTML page: the table, the figures, and what was left out.

    Args:
        figures: (heading, figure) each.
        notes: plain texts below the figures, such as where measured times come from.
    """
    left = {"task", "method", "setting"}
    heads = [Cell(html_page.text(name), "text" if name in left or name == "marks" else "") for name in HEADS]
    rows: list[str] = []
    for benchmark, lines in grouped(results):
        rows.append(html_page.group_row(BENCHMARK_NAMES[benchmark], len(HEADS)))
        rows += [_html_row(one, results) for one in lines]
    out = left_out_lines(results.left_out)
    return html_page.page(
        "Ours beside the paper's",
        html_page.table(heads, rows) if rows else "<p>No completed run here.</p>",
        html_page.drawings(figures),
        "".join(f'<p class="faint">{html_page.text(note)}</p>' for note in notes),
        f"<h2>Left out</h2>{html_page.bullets(out)}" if out else "",
        note=LEGEND,
    )


def _html_row(one: Row | Mean, results: Results) -> str:
    named = cells(one, results)
    kinds = {"task": "text", "method": "text", "setting": "wrap", "paper": "paper"}
    texts = [Cell(html_page.text(named[name]), kinds.get(name, "")) for name in HEADS[:-1]]
    marks = Cell(html_page.marks_html(one.marks), "marks")
    return html_page.row([*texts, marks], kind="mean" if isinstance(one, Mean) else "")


def left_out_lines(left_out: Iterable[LeftOut]) -> list[str]:
    """One line for each run or mean that was left out: what it is, and why."""
    return [one.reason if one.reason.startswith(one.what) else f"{one.what}: {one.reason}" for one in left_out]
