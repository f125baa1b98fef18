"""Render words, numbers and tables as escaped HTML, and make files to download."""

import html
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.processing_utils import save_bytes_to_cache
from gradio.utils import get_upload_folder


def text(value: object) -> str:
    """A value as text within HTML."""
    return html.escape(str(value))


def notice(message: str, kind: str = "note") -> str:
    """A message in a box, as HTML; kinds: note, wrong, good. An empty message gives an empty text."""
    return f'<p class="notice {kind}" role="status">{text(message)}</p>' if message else ""


def facts(pairs: Sequence[tuple[str, str, str]]) -> str:
    """Numbers, each with its name and an explanation, as HTML."""
    cells = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}<small>{text(note)}</small></dd></div>"
        for name, value, note in pairs
    )
    return f'<dl class="facts">{cells}</dl>'


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1, words: Sequence[str] = (), caption: str = ""
) -> str:
    """A table as HTML, which scrolls by itself on a narrow screen.

    Args:
        left: the number of columns at the left that hold text.
        words: the heads of further columns that hold text.
    """

    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=text' if index < left or heads[index] in words else ''}>{text(value)}</{tag.split()[0]}>"
            for index, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{text(caption or "table")}"><table>{title}'
        f"<thead><tr>{cells('th scope=col', heads)}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def download_on_click(button: gr.Button, makes: Callable[..., Any], inputs: Sequence[Any]) -> None:
    """Make a file when a button is clicked, and download it at once: gradio's own button needs a second click.

    Args:
        makes: returns the path of the file (`to_download`).
    """
    name = f"file-of-{button._id}"
    file = gr.DownloadButton(visible="hidden", elem_id=name)
    button.click(makes, list(inputs), file, api_visibility="private").success(
        None, None, None, js=f"() => setTimeout(() => document.getElementById('{name}').click(), 150)"
    )


def to_download(content: str | bytes, name: str) -> str:
    """Write a file for a download button; gradio deletes it after a while."""
    data = content.encode() if isinstance(content, str) else content
    path: str = save_bytes_to_cache(data, name, get_upload_folder())
    return path
