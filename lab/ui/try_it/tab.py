"""The Try it tab: predict a text, an image or a file of rows by DePT, PT and the untrained prompt; get the adapter."""

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from dept.basics.files import read_json
from dept.data.images import content, thumbnail
from dept.data.tables import read_rows
from dept.errors import DataError, DeptError, RunError
from dept.tasks import Task, load_task
from dept.tasks.task import ImageValue
from lab.estimate.plan import LOADING
from lab.service.allowed import OWN_TASK
from lab.service.owners import Visitor
from lab.service.summary import RunSummary
from lab.service.uploads import in_plain_columns
from lab.ui.components.html import download_on_click, notice, text, to_download
from lab.ui.components.inputs import Choice, Picture
from lab.ui.runs.view import backbone_name, method_name, status_words, task_name
from lab.ui.site import QUIET, Site
from lab.ui.try_it.push import push_adapter
from lab.ui.try_it.rows import (
    MOST_BOXES,
    MOST_CHARACTERS,
    MOST_PICTURES,
    boxes_of,
    examples_of,
    image_of,
    line_of,
    pictures_of,
)
from lab.ui.try_it.view import answers_table, answers_view

MOST_ROWS = 200  # rows of a file that are predicted
_SHOWN_ROWS = 10
_PICTURE_PIXELS = 160  # size of a sample image to choose
NO_RUNS = "No run has an adapter yet: launch one in the Train tab; after its first evaluation it can be tried here."


class _TryIt:
    """The tab's listeners, a method each."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def runs(self, identity: Any, chosen: Any, request: gr.Request) -> tuple[Any, str]:
        """The visitor's runs that have an adapter, the newest first."""
        runs_with_adapter = [
            run for run in self.site.queue.runs(self.site.visitor(identity, request)) if run.has_adapter
        ]
        choices = [(self._label(run), run.run_id) for run in runs_with_adapter]
        values = [value for _, value in choices]
        value = chosen if chosen in values else next(iter(values), None)
        return gr.update(choices=choices, value=value), "" if runs_with_adapter else notice(NO_RUNS)

    @staticmethod
    def _label(run: RunSummary) -> str:
        return f"{method_name(run)}, {task_name(run)}, {backbone_name(run)}: {status_words(run)} ({run.run_id[-4:]})"

    def opened(self, identity: Any, run_id: Any, request: gr.Request) -> list[Any]:
        """As `example`, with the first one; also the images to choose from, or for a text task the part for a file."""
        shown = self.example(identity, run_id, 0, request)
        try:
            pictures = [
                to_download(thumbnail(value, _PICTURE_PIXELS), "sample.jpg")
                for value in self._pictures(identity, run_id, request).values()
            ]
        except DeptError:
            pictures = []
        return [*shown, gr.update(visible=bool(pictures), value=pictures), gr.update(visible=not pictures)]

    def pick(self, identity: Any, run_id: Any, event: gr.SelectData, request: gr.Request) -> list[Any]:
        """As `example`, with the one whose image was chosen."""
        try:
            rows = list(self._pictures(identity, run_id, request))
        except DeptError:
            rows = []
        # The number comes from a browser and may be anything.
        row = rows[event.index] if isinstance(event.index, int) and 0 <= event.index < len(rows) else 0
        return self.example(identity, run_id, row, request)

    def _pictures(self, identity: Any, run_id: Any, request: gr.Request) -> dict[int, ImageValue]:
        run, task = self._run(identity, run_id, request)
        return pictures_of(task, examples_of(run, task, self._path(identity, run_id, request)))

    def example(self, identity: Any, run_id: Any, number: Any, request: gr.Request) -> list[Any]:
        """An example row: its image, its texts in their boxes, and the number of the next example."""
        hidden = [gr.update(visible=False)] * MOST_BOXES
        try:
            run, task = self._run(identity, run_id, request)
            rows = examples_of(run, task, self._path(identity, run_id, request))
        except DeptError:
            return [gr.update(visible=False), *hidden, 0]
        index = number % len(rows) if isinstance(number, int) else 0
        row, column = rows[index], task.image_column
        picture = gr.update(visible=False, value=None)
        if column is not None:
            picture = gr.update(visible=True, value=to_download(content(row[column]), "sample.png"))
        boxes = boxes_of(task)
        texts = [str(row.get(name, "")) for name in boxes or ()]
        if boxes is None:
            boxes, texts = ("row, as JSON",), [json.dumps(row, ensure_ascii=False)]
        shown = [gr.update(visible=True, label=name, value=value) for name, value in zip(boxes, texts, strict=True)]
        return [picture, *shown, *hidden[len(shown) :], index + 1]

    def predict(self, request: gr.Request, identity: Any, run_id: Any, picture: Any, *texts: Any) -> str:
        """Each side's prediction for the text or the image, as HTML."""
        try:
            run, task = self._run(identity, run_id, request)
            line = line_of(task, texts)
            images = None if task.image_column is None else [image_of(picture, self.site.config.limits.upload_bytes)]
            return answers_view(task, self._compare(run, [line], identity, request, images))
        except DeptError as fault:
            return notice(str(fault), "wrong")

    def predict_file(self, identity: Any, run_id: Any, file: Any, request: gr.Request) -> tuple[Any, str]:
        """Predictions for a file's rows: a table of the first rows, and all of them to download."""
        try:
            run, task = self._run(identity, run_id, request)
            if task.image_column is not None:  # rows with images would name files of this machine
                raise DataError("a file of rows with images: `dept predict` takes them")
            rows = self._file_rows(task, Path(str(file)), own=run.task == OWN_TASK)
            answers = self._compare(run, [json.dumps(row) for row in rows], identity, request)
        except DeptError as fault:
            return gr.update(visible=False), notice(str(fault).replace(str(Path(str(file)).parent) + "/", ""), "wrong")
        heads, lines = answers_table(task, rows, answers)
        target = io.StringIO()
        csv.writer(target).writerows([heads, *lines])
        path = to_download(target.getvalue(), "predictions.csv")
        return gr.update(visible=True, value=path), answers_view(task, answers, rows=lines[:_SHOWN_ROWS], heads=heads)

    def adapter(self, identity: Any, run_id: Any, request: gr.Request) -> Any:
        """The run's adapter folder as a zip."""
        try:
            run, _ = self._run(identity, run_id, request)
            files = self.site.queue.adapter_files(run.run_id, self.site.visitor(identity, request))
        except DeptError as fault:
            raise gr.Error(text(fault), print_exception=False) from None
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(f"{run.run_id}/{name}", content)
        return to_download(target.getvalue(), f"{run.run_id}.zip")

    def push(
        self, identity: Any, run_id: Any, repo: Any, token: Any, private: Any, request: gr.Request
    ) -> tuple[str, str]:
        """Upload the adapter to the hub with the visitor's token, and empty the token's field."""
        try:
            run, _ = self._run(identity, run_id, request)
            files = self.site.queue.adapter_files(run.run_id, self.site.visitor(identity, request))
            url = push_adapter(files, repo, token, private=bool(private))
        except DeptError as fault:
            return notice(str(fault), "wrong"), ""
        return notice(f"It is at {url}", "good"), ""

    def _path(self, identity: Any, run_id: Any, request: gr.Request) -> Path:
        return self.site.queue.path(str(run_id), self.site.visitor(identity, request))

    def _run(self, identity: Any, run_id: Any, request: gr.Request) -> tuple[RunSummary, Task]:
        """The chosen run, and its task.

        Raises:
            DeptError: there is no such run, or it has no adapter.
        """
        who = self.site.visitor(identity, request)
        run = self.site.queue.run(str(run_id or ""), who)
        if not run.has_adapter:
            raise RunError("this run has no adapter yet: wait for its first evaluation")
        config = read_json(self.site.queue.path(run.run_id, who) / "config.json")
        return run, load_task(config["task"])

    def _compare(
        self,
        run: RunSummary,
        lines: Sequence[str],
        identity: Any,
        request: gr.Request,
        images: Sequence[bytes] | None = None,
    ) -> Any:
        with LOADING:
            from lab.service.predictors import Side, compare

        who = self.site.visitor(identity, request)
        sides = [Side(method_name(run), str(self.site.queue.path(run.run_id, who)))]
        other = self._other_method(run, who)
        if other is not None:
            sides.append(Side(method_name(other), str(self.site.queue.path(other.run_id, who))))
        sides.sort(key=lambda side: side.name)
        untrained = Side("untrained", str(self.site.queue.path(run.run_id, who)), trained=False)
        return compare([*sides, untrained], lines, images)

    def _other_method(self, run: RunSummary, who: Visitor) -> RunSummary | None:
        """The newest run of the other method on the same task, backbone and rows, if there is one."""
        same = ("task", "backbone", "data")
        for other in self.site.queue.runs(who):
            alike = all(getattr(other, name) == getattr(run, name) for name in same)
            if other.has_adapter and alike and other.method != run.method:
                return other
        return None

    def _file_rows(self, task: Task, path: Path, *, own: bool) -> list[dict[str, Any]]:
        """The rows of a visitor's file, in the task's columns.

        Args:
            own: whether the task was made of the visitor's table; then the columns may have their original names.

        Raises:
            DataError: the file is too large or of another format, or a row (which is named) lacks the task's columns.
        """
        if path.stat().st_size > self.site.config.limits.upload_bytes:
            raise DataError(f"the file is larger than {self.site.config.limits.upload_bytes / 2**20:g} MiB")
        rows: list[dict[str, Any]] = []
        for where, row in map(in_plain_columns, read_rows(path)) if own else read_rows(path, task.columns):
            if len(rows) == MOST_ROWS:
                raise DataError(f"more than {MOST_ROWS} rows: use `dept predict` for so many")
            try:
                task.check_row(row, require_target=False)
            except DataError as fault:
                raise DataError(f"{where}: {fault}") from None
            rows.append(row)
        if not rows:
            raise DataError("the file has no rows")
        return rows


def build(site: Site, identity: gr.BrowserState) -> dict[str, Any]:
    """Build the tab's content; return the listener that updates its list of runs."""
    does = _TryIt(site)
    with gr.Row(equal_height=False, elem_classes="sides"):
        with gr.Column(scale=4, min_width=320):
            with gr.Group():
                run = Choice(
                    [], label="Run", info="PT or DePT on the same rows is found by itself.", elem_id="try-run"
                )
                picture = Picture(
                    visible=False, label="Image: bring one, or pick a sample", sources=["upload", "clipboard"],
                    height=260, buttons=[], elem_id="try-picture",
                )  # fmt: skip
                pictures = gr.Gallery(
                    visible=False, show_label=False, columns=MOST_PICTURES, height="auto", allow_preview=False,
                    interactive=False, object_fit="contain", buttons=[], elem_id="try-pictures",
                )  # fmt: skip
                boxes = [
                    gr.Textbox(visible=False, lines=2, max_lines=8, max_length=MOST_CHARACTERS, elem_id=f"try-{index}")
                    for index in range(MOST_BOXES)
                ]
            with gr.Row():
                predict = gr.Button("Predict", variant="primary", elem_id="predict")
                another = gr.Button("Another example")
            with gr.Accordion("Rows of a file", open=False) as of_file:
                file = gr.File(
                    label=f"The task's columns; up to {MOST_ROWS} rows",
                    file_types=[".csv", ".tsv", ".jsonl"],
                    height=150,
                )
                download = gr.DownloadButton("All predictions (CSV)", visible=False, size="sm")
            with gr.Accordion("Take the adapter", open=False):
                get = gr.Button("Download (zip)", size="sm")
                repo = gr.Textbox(label="Hub repository", placeholder="your-name/your-adapter", max_length=200)
                token = gr.Textbox(
                    label="Your hub token, with write access", type="password", max_length=400,
                    info="Used for this one upload; it is neither stored nor logged.",
                )  # fmt: skip
                private = gr.Checkbox(True, label="Private repository")
                push = gr.Button("Push to the hub", size="sm")
                pushed = gr.HTML(apply_default_css=False)
        with gr.Column(scale=5, min_width=320):
            line = gr.HTML(apply_default_css=False)
            answers = gr.HTML(apply_default_css=False, min_height=200, elem_id="answers")
            if site.config.zero_gpu:
                gr.HTML('<p class="fine">Predictions use the Space\'s lent GPU.</p>', apply_default_css=False)
    next_example = gr.Number(0, precision=0, visible="hidden")
    private_api: dict[str, Any] = {"api_visibility": "private"}
    who = [identity, run]
    example = [picture, *boxes, next_example]
    run.change(does.opened, who, [*example, pictures, of_file], **QUIET)
    pictures.select(does.pick, who, example, **QUIET)
    another.click(does.example, [*who, next_example], example, **QUIET)
    alone: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "predict", **private_api}
    predict.click(does.predict, [*who, picture, *boxes], answers, **alone)
    boxes[0].submit(does.predict, [*who, picture, *boxes], answers, **alone)
    file.upload(does.predict_file, [*who, file], [download, answers], **alone)
    download_on_click(get, does.adapter, who)
    push.click(does.push, [*who, repo, token, private], [pushed, token], **private_api)
    return {"fn": does.runs, "inputs": who, "outputs": [run, line], **QUIET}
