"""The Speed tab: DePT beside PT, measured on this machine, and the paper's Figure 4 and Table 6 beside it."""

from textwrap import wrap
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from dept.errors import ConfigError, DeptError
from dept.methods.registry import BASELINE, DEFAULT_METHOD
from lab.basics.units import duration
from lab.bench.config import BenchConfig
from lab.bench.figures import relative_cost, samples_per_second
from lab.bench.report import COLUMNS, left_out, paper_rows, provenance, rows
from lab.bench.summary import summarise
from lab.paper.numbers import FIGURE_4, HARDWARE, TABLE_6
from lab.service.allowed import FOLDER
from lab.service.benches import BenchState
from lab.ui.components.html import notice, table, text
from lab.ui.components.inputs import Choices, Figure
from lab.ui.site import QUIET, Site

POLL_SECONDS = 1.5
_WHATS = {"Inference": ("inference",), "Training time and memory": ("train",), "Both": ("inference", "train")}
_LENGTHS = {
    "Short texts, 45 tokens": "fixed:45",
    "128 tokens": "fixed:128",
    "Padded to 256 tokens, as in the paper": "padded:256",
}
_PAPER_COLUMNS = ("backbone", "paper PT", "paper DePT", "ratio", "our PT", "our DePT", "our ratio", "our inputs")
_REPEATS, _PASSES = 2, 2
NOTHING_YET = "Nothing measured yet. Measure: each number takes a fresh process, so that memory and caches are clean."


class _Speed:
    """The tab's listeners, a method each."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def start(
        self, identity: Any, what: Any, backbones: Any, lengths: Any, ms: Any, batch: Any, request: gr.Request
    ) -> tuple[Any, str]:
        """Start a benchmark; return its id and a line about it."""
        try:
            config = BenchConfig(
                what=_WHATS.get(str(what), ("inference",)),
                backbones=tuple(backbones),
                virtual_tokens=tuple(sorted({_whole(m) for m in ms})),
                lengths=tuple(_LENGTHS[name] for name in lengths if name in _LENGTHS),
                batch_size=_whole(batch),
                repeats=_REPEATS,
                passes=_PASSES,
            )
            return self.site.benches.start(config, self.site.config.allowed, self.site.visitor(identity, request)), ""
        except DeptError as fault:
            return gr.skip(), notice(str(fault).replace("--", ""), "wrong")

    def find(self, identity: Any, bench_id: Any, request: gr.Request) -> str:
        """The shown benchmark; if there is none, as after a reload, the visitor's newest."""
        return str(bench_id or self.site.benches.latest(self.site.visitor(identity, request)) or "")

    def cancel(self, identity: Any, bench_id: Any, request: gr.Request) -> str:
        try:
            self.site.benches.cancel(bench_id, self.site.visitor(identity, request))
        except DeptError as fault:
            return notice(str(fault), "wrong")
        return notice("It ends now; what it has measured stays.")

    def look(self, identity: Any, bench_id: Any, shown_state: Any, request: gr.Request) -> list[Any]:
        """The benchmark's line, table and figures, and the buttons; what the browser already shows is skipped."""
        if not bench_id:
            return [gr.skip()] * 7
        try:
            state = self.site.benches.state(bench_id, self.site.visitor(identity, request))
        except DeptError as fault:
            return [
                notice(str(fault)),
                *[gr.skip()] * 3,
                gr.update(interactive=True),
                gr.update(interactive=False),
                "",
            ]
        current_state = f"{bench_id} {state.status} {state.done}"
        runs = state.status == "running"
        line = self._line(state)
        if current_state == shown_state:
            return [line if runs else gr.skip(), *[gr.skip()] * 6]
        return [
            line,
            *_found(state),
            gr.update(interactive=not runs),
            gr.update(interactive=runs and state.may_change),
            current_state,
        ]

    def _line(self, state: BenchState) -> str:
        if state.status != "running":
            summary = (
                state.error or f"{state.status}: {state.done} of {state.planned} pairs in {duration(state.elapsed_s)}"
            )
            return notice(summary, "wrong" if state.status == "failed" else "good")
        left = f", about {duration(state.left_s)} left" if state.left_s is not None else ""
        training, _ = self.site.queue.load()
        beside = f" {training} training beside it: times are blurred by that." if training else ""
        return notice(f"measuring: {state.done} of {state.planned} pairs, {duration(state.elapsed_s)}{left}.{beside}")


def _found(state: BenchState) -> list[Any]:
    """The speed figure, the cost figure, and the tables."""
    if state.bench is None or not state.bench.measured:
        return [None, None, ""]
    summaries = summarise(state.bench.measured)
    names = COLUMNS[:5] + COLUMNS[6:]
    ours = table(
        names, [[row[name] for name in names] for row in rows(summaries)], left=2, caption="Measured on this machine"
    )
    missing = "".join(notice(line) for line in left_out(state.bench))
    return [
        _first(samples_per_second(summaries)),
        _first(relative_cost(summaries)),
        f'{ours}<p class="fine">{text(provenance(state.bench))}</p>{missing}{paper_tables(state)}',
    ]


def _first(figures: list[tuple[str, go.Figure]]) -> go.Figure | None:
    """The first figure with its heading as title; None if nothing of its kind was measured."""
    if not figures:
        return None
    heading, figure = figures[0]
    # A line of 45 characters fits a phone's width; the legend is below the axis' title at any height.
    lines = "<br>".join(wrap(heading, 45))
    figure.update_layout(
        title={"text": lines, "font": {"size": 13}, "x": 0, "xref": "paper"},
        legend={"y": -0.5},
        margin={"t": 90, "b": 90},
        uirevision=heading,
        height=None,
    )
    return figure


def paper_tables(state: BenchState | None = None) -> str:
    """The paper's Figure 4 and Table 6 as HTML, with our measurements beside them if there are any."""
    tables = ""
    for title, printed in (("The paper's Figure 4, in samples a second", FIGURE_4), ("The paper's Table 6", TABLE_6)):
        bench = state.bench if state is not None else None
        if bench is not None:
            lines = [list(line) for line in paper_rows(bench, printed)]
        else:
            lines = [[*line[:4], "-", "-", "-", "-"] for line in _printed(printed)]
        tables += table(_PAPER_COLUMNS, lines, caption=title)
    return (
        f'{tables}<p class="fine">The paper\'s speeds are those of {text(HARDWARE)}; of different machines the ratios '
        "can be compared, the speeds cannot.</p>"
    )


def _printed(printed: Any) -> list[list[str]]:
    by_key = {(one.backbone, one.method): one for one in printed}
    lines = []
    for (backbone, method), dept in by_key.items():
        pt = by_key.get((backbone, BASELINE))
        if method == DEFAULT_METHOD and pt is not None:
            values = pt.samples_per_s.value, dept.samples_per_s.value
            lines.append(
                [f"{backbone}, m = {dept.num_virtual_tokens}", *map(str, values), f"{values[1] / values[0]:.2f}"]
            )
    return lines


def _whole(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError("batch size and m must be whole numbers") from None


def build(site: Site, identity: gr.BrowserState) -> tuple[gr.Timer, dict[str, Any]]:
    """Build the tab's content; return its timer, and the listener that finds the visitor's benchmark again."""
    does = _Speed(site)
    named = [value for _, value in site.backbones() if not value.startswith(FOLDER)]
    shapes = [f"random:{name}" for name in ("t5-small", "t5-base", "gpt2") if name in named]
    first = [name for name in ("mini-t5", "random:t5-small") if name in (*named, *shapes)][:1] or named[:1]
    with gr.Row(equal_height=False, elem_classes="sides"):
        with gr.Column(scale=2, min_width=300):
            with gr.Group():
                what = gr.Radio(list(_WHATS), value="Inference", label="What", info="Section 3.3: both, on one GPU.")
                backbones = Choices(
                    [*named, *shapes], multiselect=True, value=first, label="Backbones",
                    info="random: is the shape with random weights; speed does not depend on them.",
                )  # fmt: skip
                lengths = Choices(
                    list(_LENGTHS),
                    multiselect=True,
                    value=[next(iter(_LENGTHS))],
                    label="Inputs",
                    info="Tokens of a source; the paper pads to 256 (Table 8).",
                )
                ms = gr.CheckboxGroup(
                    [0, 20, 40, 60, 80], value=[20, 60], label="m of DePT", info="PT has l = 100 (Figure 4)."
                )
                batch = gr.Number(16, precision=0, label="Batch size", info="16 in the paper (Table 8).")
            with gr.Row():
                start = gr.Button("Measure", variant="primary", elem_id="measure")
                cancel = gr.Button("Cancel", interactive=False)
            where = "on the Space's lent GPU" if site.config.zero_gpu else "on this machine"
            gr.HTML(f'<p class="fine">Measured {where}, one measurement at a time.</p>', apply_default_css=False)
        with gr.Column(scale=5, min_width=320):
            line = gr.HTML(notice(NOTHING_YET), min_height=44, apply_default_css=False, elem_id="speed-line")
            speed = Figure("Samples a second of DePT and prompt tuning", height=340, elem_classes="optional")
            cost = Figure(
                "Training time and memory of DePT relative to prompt tuning", height=340, elem_classes="optional"
            )
            tables = gr.HTML(paper_tables(), apply_default_css=False)
    bench_id = gr.Textbox(visible="hidden")
    shown_state = gr.Textbox(visible="hidden")
    timer = gr.Timer(POLL_SECONDS, active=False)
    look: dict[str, Any] = {
        "fn": does.look,
        "inputs": [identity, bench_id, shown_state],
        "outputs": [line, speed, cost, tables, start, cancel, shown_state],
        **QUIET,
    }
    timer.tick(**look)
    start.click(
        does.start, [identity, what, backbones, lengths, ms, batch], [bench_id, line],
        concurrency_limit=4, api_visibility="private",
    )  # fmt: skip
    bench_id.change(**look)
    cancel.click(does.cancel, [identity, bench_id], line, **QUIET).then(**look)
    return timer, {"fn": does.find, "inputs": [identity, bench_id], "outputs": bench_id, **QUIET}
