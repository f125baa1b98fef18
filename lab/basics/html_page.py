"""Build one HTML file that opens without a network, light or dark as the reader's system is."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import plotly.graph_objects as go

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #59636e; --page: #ffffff; --line: #d5dae0;
  --note: #fff7e0; --note-edge: #e0a800; --paper: #f3effa; --mark: #fbe9e0; --mark-ink: #8a3600; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --faint: #a0a9b3; --page: #15191e; --line: #39414a;
  --note: #332b12; --note-edge: #c99a1c; --paper: #2a2438; --mark: #45291a; --mark-ink: #ffc29f; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink);
  background: var(--page); }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.4rem; }
p, li { max-width: 62rem; } .faint { color: var(--faint); } code { font-size: .9em; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .92rem; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th.text, td.text { text-align: left; } td.wrap { text-align: left; white-space: normal; min-width: 15rem; }
td.marks { text-align: left; white-space: normal; min-width: 24rem; }
tr.group th { text-align: left; padding-top: 1.1rem; } tr.mean td { font-weight: 600; }
.paper { background: var(--paper); }
.note { background: var(--note); border-left: 4px solid var(--note-edge); padding: .6rem 1rem;
  white-space: pre-line; }
.mark { background: var(--mark); color: var(--mark-ink); border-radius: .6rem; padding: .05rem .5rem;
  font-size: .82rem; display: inline-block; margin: .05rem .2rem .05rem 0; font-weight: 400; }
/* plotly writes its colours into the drawing, for a white page */
.js-plotly-plot .main-svg { background: transparent !important; }
.js-plotly-plot .bglayer .bg, .js-plotly-plot .infolayer .bg { fill: transparent !important; }
.js-plotly-plot .cartesianlayer text, .js-plotly-plot .infolayer text { fill: var(--ink) !important; }
.js-plotly-plot .gridlayer path, .js-plotly-plot .zerolinelayer path { stroke: var(--line) !important; }
.js-plotly-plot .hoverlayer .legend .bg { fill: var(--page) !important; }
.js-plotly-plot .hoverlayer .legend text { fill: var(--ink) !important; }
"""


class Cell(NamedTuple):
    """The content of a table's cell.

    Attributes:
        content: HTML; texts go through `text`.
        kind: CSS classes: text (left), wrap (left, over several lines), marks, paper (shaded).
    """

    content: str
    kind: str = ""


def text(value: object) -> str:
    """A value as escaped HTML."""
    return html.escape(str(value))


def marks_html(marks: Sequence[str]) -> str:
    """Each mark as a small label."""
    return " ".join(f'<span class="mark">{text(mark)}</span>' for mark in marks)


def row(cells: Sequence[Cell], *, kind: str = "", tag: str = "td") -> str:
    """A table's row."""
    inside = "".join(f'<{tag} class="{cell.kind}">{cell.content}</{tag}>' for cell in cells)
    return f'<tr class="{kind}">{inside}</tr>'


def group_row(title: str, columns: int) -> str:
    """A row that names the group of the next rows."""
    return f'<tr class="group"><th colspan="{columns}">{text(title)}</th></tr>'


def table(heads: Sequence[Cell], rows: Sequence[str]) -> str:
    """A table of `row`s, which scrolls in its own box if it is wider than the page."""
    return (
        f'<div class="wide"><table><thead>{row(heads, tag="th")}</thead><tbody>{"".join(rows)}</tbody></table></div>'
    )


def bullets(lines: Sequence[str]) -> str:
    """Plain texts as a list."""
    return f"<ul>{''.join(f'<li>{text(line)}</li>' for line in lines)}</ul>"


def drawings(figures: Sequence[tuple[str, go.Figure]], *, first: bool = True) -> str:
    """Each figure under its heading.

    Args:
        first: whether these are the page's first figures, which include plotly's script.
    """
    return "".join(
        f"<h2>{text(heading)}</h2>"
        + figure.to_html(
            full_html=False,
            include_plotlyjs=first and index == 0,
            default_height=f"{figure.layout.height or 400}px",
            config={"displaylogo": False, "responsive": True},
        )
        for index, (heading, figure) in enumerate(figures)
    )


def page(title: str, *parts: str, note: str | None = None) -> str:
    """The whole file.

    Args:
        parts: HTML, one after the other.
        note: plain text at the top, of one line or more, that says where the numbers come from.
    """
    noted = f'<p class="note">{text(note)}</p>' if note else ""
    body = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>
<body><h1>{text(title)}</h1>
{noted}
{body}
</body></html>
"""
