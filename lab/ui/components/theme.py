"""The page's look: one calm theme, dark and light, and its scripts and styles."""

from pathlib import Path

import gradio as gr
import plotly

HERE = Path(__file__).parent.parent  # lab/ui
# plotly's own copy: the page works without a network, and figures are drawn by the version that wrote them.
PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"

# The visitor's system fonts: nothing is fetched, and the layout does not shift when a font arrives.
_FONTS = (
    "ui-sans-serif",
    "-apple-system",
    "Segoe UI",
    "Roboto",
    "Helvetica Neue",
    "Arial",
    "Liberation Sans",
    "sans-serif",
)


def theme() -> gr.themes.Base:
    """Quiet greys, and one blue for controls."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.sky,
        secondary_hue=gr.themes.colors.sky,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=_FONTS,
        font_mono=("ui-monospace", "SFMono-Regular", "Consolas", "Liberation Mono", "monospace"),
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_800",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_600",  # contrast of 4.5 and more on every fill below
        body_text_color_subdued_dark="*neutral_400",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_border_color_dark="*neutral_800",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_400",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_text_weight="600",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        input_background_fill="*neutral_50",
        input_background_fill_dark="*neutral_800",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        color_accent="*primary_700",  # colours the chosen tab's name, among others
        link_text_color="*primary_700",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
    )


def css() -> str:
    return (HERE / "page.css").read_text(encoding="utf-8")


def head() -> str:
    """Scripts that every tab needs; `serve_scripts` has to be called before the page is launched."""
    return f'<script defer src="gradio_api/file={PLOTLY_JS}"></script>'


def serve_scripts() -> None:
    """Let the page's server serve plotly's script, and no other file."""
    gr.set_static_paths(PLOTLY_JS)
