"""The part of the Train tab for a visitor's own rows: drop a table, choose its columns, see the examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from dept.errors import DeptError
from lab.service.allowed import OWN_TASK, UPLOAD
from lab.service.uploads import SUFFIXES, Table
from lab.ui.components.html import notice, table, text
from lab.ui.components.inputs import Choice, Choices
from lab.ui.site import Site

_LABELS = ("label", "labels", "target", "class", "category", "answer", "sentiment")
_SHOWN_CHARACTERS = 160


class OwnRows:
    """The components and their listeners; construct it at the place in the layout where they should appear.

    Attributes:
        group: contains all components, to show and hide them.
    """

    def __init__(self, site: Site, identity: gr.BrowserState) -> None:
        self._site, self._identity = site, identity
        limits = site.config.limits
        with gr.Group(visible=False, elem_id="own-rows") as self.group:
            self._file = gr.File(
                label=f"A table ({', '.join(SUFFIXES)}; up to {limits.upload_bytes / 2**20:g} MiB and "
                f"{limits.upload_rows:,} rows)",
                file_types=list(SUFFIXES),
                height=150,
            )
            self._first = gr.HTML(apply_default_css=False)
            with gr.Row():
                self._texts = Choices(
                    [], multiselect=True, label="Text columns", info="What the model reads, in this order."
                )
                self._label = Choice([], label="Label column", info="What it should say.")
            self._use = gr.Button("Use these rows", size="sm")
            self._fed = gr.HTML(apply_default_css=False)
        self._upload_id = gr.Textbox(visible="hidden")

    def connect(self, data: gr.Dropdown, task: gr.Dropdown) -> None:
        """Connect the listeners, which set the form's data and task to the chosen table."""
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        self._file.upload(
            self._receive,
            [self._identity, self._file],
            [self._upload_id, self._first, self._texts, self._label, self._fed],
            **private,
        )
        self._use.click(
            self._choose,
            [self._identity, self._upload_id, self._texts, self._label],
            [self._fed, data, task],
            **private,
        )

    def _receive(self, identity: Any, file: Any, request: gr.Request) -> tuple[Any, ...]:
        nothing = gr.update(choices=[], value=None)
        try:
            upload = self._site.queue.uploads.receive(
                str(file), str(file).rpartition("/")[2], self._site.visitor(identity, request)
            )
        except DeptError as fault:
            return "", notice(str(fault), "wrong"), nothing, nothing, ""
        texts, label = guessed(upload)
        columns = list(upload.columns)
        return (
            upload.upload_id,
            _first_rows(upload),
            gr.update(choices=columns, value=texts),
            gr.update(choices=columns, value=label),
            "",
        )

    def _choose(self, identity: Any, upload_id: Any, texts: Any, label: Any, request: gr.Request) -> tuple[Any, ...]:
        try:
            check = self._site.queue.uploads.choose(
                upload_id, texts or [], str(label or ""), self._site.visitor(identity, request)
            )
        except DeptError as fault:
            return notice(str(fault), "wrong"), gr.skip(), gr.skip()
        if not check.ok:
            return notice("; ".join(check.problems), "wrong"), gr.skip(), gr.skip()
        sizes = ", ".join(f"{count:,} {name}" for name, count in check.sizes.items())
        shown = "".join(f"<pre>{text(example)}</pre>" for example in check.shown[:3])
        notes = "".join(notice(note) for note in check.notes)
        data = f"{UPLOAD}{upload_id}"
        return (
            f"<h3>As they will be fed: {text(sizes)} rows</h3>{shown}{notes}",
            gr.update(choices=[*self._site.data(), (f"{check.location}: {sizes} rows", data)], value=data),
            gr.update(choices=[*self._site.tasks(), ("Your own task", OWN_TASK)], value=OWN_TASK),
        )


def guessed(upload: Table) -> tuple[list[str], str | None]:
    """A guess at the text columns and the label column, from their names and first values."""
    by_name = {name.strip().lower(): name for name in reversed(upload.columns)}
    label = next(
        (by_name[name] for name in _LABELS if name in by_name), upload.columns[-1] if upload.columns else None
    )
    texts = [name for name in upload.columns if name != label and _is_text(upload.first, name)]
    return texts, label


def _is_text(rows: Sequence[Mapping[str, Any]], column: str) -> bool:
    values = [row.get(column) for row in rows]
    return any(isinstance(value, str) and not value.strip().isdigit() for value in values)


def _first_rows(upload: Table) -> str:
    rows = [
        [str(row.get(column, ""))[:_SHOWN_CHARACTERS] for column in upload.columns[:8]] for row in upload.first[:3]
    ]
    return table(upload.columns[:8], rows, left=8, caption=f"{upload.title}: {upload.rows:,} rows, the first of them")
