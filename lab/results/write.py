"""`dept-lab results`: the results of a folder of runs and benchmarks, printed and written as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from dept.basics.files import write_text
from dept.errors import RunError
from lab.bench.read import find_benches
from lab.bench.summary import summarise
from lab.results.render import as_csv, as_html, as_latex, as_markdown, as_rich, left_out_lines
from lab.results.rows import LeftOut, Results, read_results

if TYPE_CHECKING:
    import plotly.graph_objects as go


def report_results(folder: Path, output_dir: Path) -> Results:
    """Print the table; write results.html, .md, .csv and .tex.

    Raises:
        RunError: no such folder, nothing in it, or files that cannot be written.
    """
    results = read_results(folder)
    benches, damaged = find_benches(folder)
    if not (results.rows or results.left_out or benches or damaged):
        raise RunError(f"{folder} holds no runs: `dept train`, `dept-lab reproduce` and `dept-lab sweep` make them")
    from lab.bench import report as bench_report  # these two import plotly
    from lab.results import paper_figures

    broken = tuple(LeftOut(str(bad.path), bad.reason) for bad in damaged)
    results = Results(results.rows, results.means, (*results.left_out, *broken))
    figures: list[tuple[str, go.Figure]] = paper_figures.figures(results)
    notes = paper_figures.missing(results)
    for file, bench in benches:
        where = f" ({file.parent.name})" if len(benches) > 1 else ""
        figures += [(heading + where, figure) for heading, figure in bench_report.figures(summarise(bench.measured))]
        notes.append(f"{file}: {bench_report.provenance(bench)}")
    if not benches:
        notes.append("Figure 3's costs and Figure 4 are not drawn: they need a benchmark (`dept-lab bench`) in there.")
    files = _write(results, figures, notes, output_dir)
    console = Console()
    console.print(as_rich(results))
    for line in left_out_lines(results.left_out):
        console.print(f"left out: {line}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Files: {', '.join(map(str, files))}", markup=False, highlight=False, soft_wrap=True)
    return results


def _write(
    results: Results, figures: Sequence[tuple[str, go.Figure]], notes: Sequence[str], output_dir: Path
) -> list[Path]:
    contents = {
        "results.html": as_html(results, figures, notes),
        "results.md": as_markdown(results),
        "results.csv": as_csv(results),
        "results.tex": as_latex(results),
    }
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_text(output_dir / name, content)
    except OSError as fault:
        raise RunError(f"{output_dir} cannot be written ({fault.strerror}): choose another --output-dir") from fault
    return [output_dir / name for name in contents]
