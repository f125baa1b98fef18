"""Parts that gradio lacks: a figure that keeps its zoom while it grows, a logarithmic slider, a list of runs; parts of
its own that leave it to the settings' check what a value may be.

Values that stand in HTML are escaped in Python; the templates hold no visitor's words.
"""

from pathlib import Path
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from lab.ui.components.html import text

_SCRIPTS = Path(__file__).parent.parent / "scripts"


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
    """Rows of runs, as HTML of `lab.ui.runs.view`; `select` tells which run was opened or ticked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            html_template='<div class="run-list">${value}</div>',
            js_on_load=_script("run_list.js"),
            apply_default_css=False,
            **options,
        )


class Amount(gr.Slider):
    """A slider whose range follows another field.

    gradio refuses a value beyond the range that it remembers for a session: all fields that are sent with it would
    then go unanswered, also the one that would make the range fit again. Whoever reads the value checks it.
    """

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload if isinstance(payload, int | float | None) else str(payload)[:40]


class Choice(gr.Dropdown):
    """A dropdown whose choices differ between visitors and outlive the server.

    gradio compares a value with the choices that it remembers for a session, which a restarted server has forgotten.
    Whoever reads the value checks it.
    """

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload if isinstance(payload, str) else None


class Picture(gr.Image):
    """An image that a visitor brings: the path of what this server has put into its own folder of uploads.

    gradio has looked that it lies there. Nothing is decoded on the way, as gr.Image would without bounds of ours:
    whoever reads the file checks it.
    """

    is_template = True

    def preprocess(self, payload: Any) -> str | None:
        return payload.path if payload is not None else None


class Choices(gr.Dropdown):
    """As `Choice`, for several values; it wants `multiselect=True`."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return [value for value in payload if isinstance(value, str)] if isinstance(payload, list) else []
