"""Parts that gradio lacks: a figure that keeps its zoom while it grows, a logarithmic slider, a list of runs.

Values that stand in HTML are escaped in Python; the templates hold no visitor's words.
"""

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
import plotly.graph_objects as go
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder

_SCRIPTS = Path(__file__).with_name("scripts")


def _script(name: str) -> str:
    return (_SCRIPTS / name).read_text(encoding="utf-8")


class Figure(gr.HTML):
    """A plotly figure that is redrawn in place: zoom and hidden lines stay (plotly's uirevision), nothing jumps.

    gr.Plot makes a new drawing for each value. Colours of text and grid follow the page, dark or light.

    Args:
        label: what a screen reader says; the numbers themselves should stand in text beside it.
        height: in pixels, kept free before there is anything to draw.
    """

    def __init__(self, label: str, height: int = 280, **options: Any) -> None:
        super().__init__(
            value="",
            label=label,
            html_template=(
                f'<div class="figure" role="img" aria-label="{text(label)}" style="height: {height}px"></div>'
            ),
            js_on_load=_script("figure.js"),
            apply_default_css=False,
            **options,
        )

    def postprocess(self, value: go.Figure | str | None) -> str:
        """A figure as JSON; "" or None clears it."""
        if value is None or isinstance(value, str):
            return value or ""
        text: str = value.to_json()
        return text


class LogSlider(gr.HTML):
    """A positive number on a logarithmic scale, or nothing: the number's field is empty then.

    Args:
        info: one sentence of help.
        exponents: of ten, least and greatest.
        empty: what an empty field means.
    """

    def __init__(self, label: str, info: str, exponents: tuple[float, float], empty: str, **options: Any) -> None:
        # Written into the template: gradio forgets a template's own values while its tab is not shown.
        words = {"LABEL": label, "INFO": info, "EMPTY": empty, "LEAST": exponents[0], "MOST": exponents[1]}
        template = _script("log_slider.html")
        for name, value in words.items():
            template = template.replace(name, text(value))
        super().__init__(
            label=label,
            html_template=template,
            js_on_load=_script("log_slider.js"),
            apply_default_css=False,
            container=True,
            **options,
        )

    def preprocess(self, payload: Any) -> Any:
        """The number, None, or whatever else was typed: the settings' own check says what is wrong with it."""
        return payload if isinstance(payload, int | float | None) else str(payload)[:40]


class RunList(gr.HTML):
    """Rows of runs, as HTML of `lab.ui.runs_view`; `select` tells which run was opened or ticked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            html_template='<div class="run-list">${value}</div>',
            js_on_load=_script("run_list.js"),
            apply_default_css=False,
            **options,
        )


class Choice(gr.Dropdown):
    """A dropdown whose choices differ between visitors and outlive the server.

    gradio compares a value with the choices that it remembers for a session, which a restarted server has forgotten.
    Whoever reads the value checks it.
    """

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload if isinstance(payload, str) else None


class Choices(gr.Dropdown):
    """As `Choice`, for several values; it wants `multiselect=True`."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return [value for value in payload if isinstance(value, str)] if isinstance(payload, list) else []


def text(value: object) -> str:
    """A value as text within HTML."""
    return html.escape(str(value))


def notice(message: str, kind: str = "note") -> str:
    """A line in a box, as HTML; kinds: note, wrong, good. Nothing for an empty message."""
    return f'<p class="notice {kind}" role="status">{text(message)}</p>' if message else ""


def facts(pairs: Sequence[tuple[str, str, str]]) -> str:
    """Numbers with their names and a word on each, as HTML."""
    cells = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}<small>{text(note)}</small></dd></div>"
        for name, value, note in pairs
    )
    return f'<dl class="facts">{cells}</dl>'


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, caption: str = "") -> str:
    """A table that scrolls by itself on a narrow screen, as HTML; the first `left` columns hold text."""

    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=text' if index < left else ''}>{text(value)}</{tag}>"
            for index, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(caption or "table")}"><table>{title}'
        f"<thead><tr>{cells('th', heads)}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def download_on_click(button: gr.Button, makes: Callable[..., Any], inputs: Sequence[Any]) -> None:
    """Make a file when a button is clicked, and download it at once: gradio's own button wants a second click.

    Args:
        makes: gives the path of the file (`to_download`).
    """
    name = f"file-of-{button._id}"
    file = gr.DownloadButton(visible="hidden", elem_id=name)
    button.click(makes, list(inputs), file, api_visibility="private").success(
        None, None, None, js=f"() => setTimeout(() => document.getElementById('{name}').click(), 150)"
    )


def to_download(content: str | bytes, name: str) -> str:
    """A file that a download button may give; gradio deletes it after a while."""
    data = content.encode() if isinstance(content, str) else content
    path: str = save_bytes_to_cache(data, name, get_upload_folder())
    return path
