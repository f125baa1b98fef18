"""Components that gradio lacks: a figure that keeps its zoom while it grows, a logarithmic slider, a list of runs; and
gradio's own components without their check of values, which the settings check instead.

Values in HTML are escaped in Python; the templates hold no visitor's words.
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

    gr.Plot draws each value anew. Colours of text and grid follow the page, dark or light.

    Args:
        label: the text for a screen reader; the numbers themselves should be in text beside the figure.
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
    """A positive number on a logarithmic scale, or None, for which the number's field is empty.

    Args:
        info: one sentence of help.
        exponents: the least and the greatest power of ten.
        empty: the meaning of an empty field.
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
        """The number, None, or any other text that was typed: the settings' own check says what is wrong with it."""
        return payload if isinstance(payload, int | float | None) else str(payload)[:40]


class RunList(gr.HTML):
    """Rows of runs, as HTML of `lab.ui.runs.view`; the event `select` says which run was opened or ticked."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            html_template='<div class="run-list">${value}</div>',
            js_on_load=_script("run_list.js"),
            apply_default_css=False,
            **options,
        )


class Amount(gr.Slider):
    """A slider whose range follows another field.

    gradio refuses a value beyond the range that it remembers for a session: every field sent with it would then go
    unanswered, even the one that would adjust the range. The code that reads the value checks it.
    """

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload if isinstance(payload, int | float | None) else str(payload)[:40]


class Choice(gr.Dropdown):
    """A dropdown whose choices differ between visitors and survive a restart of the server.

    gradio compares a value with the choices that it remembers for a session, which a restarted server has forgotten.
    The code that reads the value checks it.
    """

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload if isinstance(payload, str) else None


class Options(gr.Radio):
    """Radio buttons of which the same is true."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return payload if isinstance(payload, str) else None


class Picture(gr.Image):
    """An image that a visitor uploads, as its path in this server's folder of uploads.

    gradio checks that the path lies there. The image is not decoded here, as gr.Image would do without our limits: the
    code that reads the file checks it.
    """

    is_template = True

    def preprocess(self, payload: Any) -> str | None:
        return payload.path if payload is not None else None


class Choices(gr.Dropdown):
    """As `Choice`, for several values; it needs `multiselect=True`."""

    is_template = True

    def preprocess(self, payload: Any) -> Any:
        return [value for value in payload if isinstance(value, str)] if isinstance(payload, list) else []
