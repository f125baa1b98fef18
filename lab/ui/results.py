"""The Results tab: the visitor's runs beside the paper's tables, the origin of each number, CSV and LaTeX."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gradio as gr

from dept.data import easy_vqa
from dept.errors import RunError
from dept.methods.registry import method_names, title_of
from lab.paper import numbers as paper
from lab.results.render import BENCHMARK_NAMES, HEADS, LEGEND, as_csv, as_latex, cells, grouped, paper_value
from lab.results.rows import Results, Row, results_of
from lab.runs.read import Run, read_run
from lab.service.owners import Visitor
from lab.service.summary import RunSummary
from lab.ui.components.html import download_on_click, notice, table, text, to_download
from lab.ui.components.inputs import Choice
from lab.ui.runs.view import backbone_name, tower_name
from lab.ui.site import QUIET, Site

ALL = "all"
NOTHING_YET = "No completed runs yet: they appear here beside the paper's numbers, each with where it comes from."
_SOURCES = {
    "sample": "sample rows",
    "hub": "the benchmark's rows",
    "package": easy_vqa.NAME,
    "folder": "rows of a folder, or your own",
}
_PAPER_TABLES = {
    "Table 1: GLUE": "glue",
    "Table 1: SuperGLUE": "super_glue",
    "Table 2: MRQA": "mrqa",
    "Table 2: other data sets": "other",
    "Table 3: vision and language": "vision_language",
}


class _Results:
    """The tab's listeners, a method each."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def look(
        self, identity: Any, method: Any, backbone: Any, source: Any, request: gr.Request
    ) -> tuple[str, Any, Any]:
        """The table of the filtered results, and the choices of methods and backbones."""
        results = self._all(self.site.visitor(identity, request))
        backbones = sorted({row.backbone for row in results.rows})
        choices = [("All", ALL), *((name.rpartition("/")[2], name) for name in backbones)]
        selected = filtered(results, method, backbone if backbone in backbones else ALL, source)
        methods = _methods(row.method for row in results.rows)
        return ours(selected), gr.update(choices=methods), gr.update(choices=choices)

    def as_csv(self, identity: Any, method: Any, backbone: Any, source: Any, request: gr.Request) -> str:
        """The filtered results as a CSV file."""
        selected = filtered(self._all(self.site.visitor(identity, request)), method, backbone, source)
        return to_download(as_csv(selected), "results.csv")

    def as_latex(self, identity: Any, method: Any, backbone: Any, source: Any, request: gr.Request) -> str:
        """The filtered results as a LaTeX table."""
        selected = filtered(self._all(self.site.visitor(identity, request)), method, backbone, source)
        return to_download(as_latex(selected), "results.tex")

    def _all(self, who: Visitor) -> Results:
        return results_of(self._runs(who))

    def _runs(self, who: Visitor) -> list[Run]:
        runs = []
        for run in self.site.queue.runs(who):
            if run.status != "completed":
                continue
            try:
                runs.append(without_places(read_run(self.site.queue.path(run.run_id, who)), run))
            except RunError:
                continue  # the run was deleted or damaged in the meantime
        return runs


def without_places(run: Run, summary: RunSummary) -> Run:
    """The run with the visitor's own names in place of paths of this machine."""
    known = ("task", "backbone", "vision_backbone", "data")
    names = {name: summary.request[name] for name in known if name in summary.request}
    result = dict(run.result or {})
    result["config"] = {**result.get("config", {}), **names}
    result["backbone"] = {**result.get("backbone", {}), "name": backbone_name(summary)}
    if result.get("vision_backbone") is not None and summary.vision_backbone:
        result["vision_backbone"] = {**result["vision_backbone"], "name": tower_name(summary)}
    return dataclasses.replace(run, path=Path(summary.run_id), config={**run.config, **names}, result=result)


def filtered(results: Results, method: Any, backbone: Any, source: Any) -> Results:
    """Rows and means of one method, backbone and source of rows; "all" or None keeps all."""

    def fits(row: Row) -> bool:
        filters = ((method, row.method), (backbone, row.backbone), (source, row.result["data"]["source"]))
        return all(chosen in (ALL, None, has) for chosen, has in filters)

    return Results(
        tuple(row for row in results.rows if fits(row)),
        tuple(mean for mean in results.means if all(fits(row) for row in mean.rows)),
        results.left_out,
    )


def ours(results: Results) -> str:
    """Our results beside the paper's, a table for each benchmark, as HTML."""
    if not results.rows:
        return notice(NOTHING_YET)
    tables = "".join(
        table(
            HEADS,
            [list(cells(one, results).values()) for one in rows],
            left=3,
            words=HEADS[-1:],
            caption=BENCHMARK_NAMES[benchmark],
        )
        for benchmark, rows in grouped(results)
    )
    return f'{tables}<p class="fine">{text(LEGEND)}</p>'


def paper_table(benchmark: str) -> str:
    """The paper's numbers for every method on a benchmark's tasks, as HTML."""
    tasks = paper.benchmarks()[benchmark]
    printed = [score for score in paper.scores() if score.benchmark == benchmark and score.shots is None]
    rows = []
    for method, name in paper.methods().items():
        own = {score.task: score for score in printed if score.method == method and score.backbone == paper.BACKBONE}
        if own:
            rows.append([name, *(paper_value(own.get(task)) for task in (*tasks, None))])
    return table(
        ["method", *tasks, "mean"], rows, caption=f"The paper's numbers with T5-base: {BENCHMARK_NAMES[benchmark]}"
    )


def _methods(seen: Iterable[str]) -> list[tuple[str, str]]:
    """(label, value) of all methods, and of those that are seen in runs: several as one."""
    return [("All", ALL), *((title_of(name), name) for name in dict.fromkeys((*method_names(), *seen)))]


def build(site: Site, identity: gr.BrowserState) -> dict[str, Any]:
    """Build the tab's content; return the listener that updates it."""
    does = _Results(site)
    with gr.Row():
        method = Choice(_methods(()), value=ALL, label="Method", min_width=140)
        backbone = Choice([("All", ALL)], value=ALL, label="Backbone", min_width=140)
        source = Choice(
            [("All", ALL), *((name, key) for key, name in _SOURCES.items())], value=ALL, label="Rows", min_width=140
        )
    comparison = gr.HTML(notice(NOTHING_YET), apply_default_css=False, min_height=120, elem_id="results")
    with gr.Row():
        as_table = gr.Button("CSV", size="sm", min_width=100)
        in_latex = gr.Button("LaTeX", size="sm", min_width=100)
    with gr.Accordion("The paper's tables", open=False):
        which = Choice(list(_PAPER_TABLES.items()), value="glue", label="Table")
        printed = gr.HTML(paper_table("glue"), apply_default_css=False)
    filters = [identity, method, backbone, source]
    look: dict[str, Any] = {"fn": does.look, "inputs": filters, "outputs": [comparison, method, backbone], **QUIET}
    for each in (method, backbone, source):
        each.input(**look)
    download_on_click(as_table, does.as_csv, filters)
    download_on_click(in_latex, does.as_latex, filters)
    which.input(
        lambda name: paper_table(name) if name in _PAPER_TABLES.values() else gr.skip(), which, printed, **QUIET
    )
    return look
