"""The Try it tab: one text, or a file of rows, by DePT, PT and the untrained prompt side by side; take the adapter."""

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import gradio as gr

from dept.errors import DataError, DeptError, RunError
from dept.run import read_json
from dept.sources import load_rows
from dept.tables import read_rows
from dept.tasks import Task, load_task
from dept.tasks.template import columns_of
from lab.allowed import OWN_TASK
from lab.owners import Visitor
from lab.run_summary import RunSummary
from lab.ui.components import Choice
from lab.ui.expected import LOADING
from lab.ui.html_parts import download_on_click, notice, text, to_download
from lab.ui.push import push_adapter
from lab.ui.runs_view import backbone_name, method_name, status_words, task_name
from lab.ui.site import QUIET, Site
from lab.ui.try_view import answers_table, answers_view
from lab.uploads import ROWS_FILE, in_plain_columns

MOST_ROWS = 200  # of a file
MOST_CHARACTERS = 20_000
_BOXES = 4
_EXAMPLES = 20
_SHOWN_ROWS = 10
NO_RUNS = "No run has an adapter yet: launch one in the Train tab; after its first evaluation it can be tried here."


class _TryIt:
    """What happens; a method a listener."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def runs(self, identity: Any, chosen: Any, request: gr.Request) -> tuple[Any, str]:
        """The visitor's runs that have an adapter, the newest first."""
        found = [run for run in self.site.queue.runs(self.site.visitor(identity, request)) if run.has_adapter]
        choices = [(self._label(run), run.run_id) for run in found]
        values = [value for _, value in choices]
        value = chosen if chosen in values else next(iter(values), None)
        return gr.update(choices=choices, value=value), "" if found else notice(NO_RUNS)

    @staticmethod
    def _label(run: RunSummary) -> str:
        return f"{method_name(run)}, {task_name(run)}, {backbone_name(run)}: {status_words(run)} ({run.run_id[-4:]})"

    def opened(self, identity: Any, run_id: Any, request: gr.Request) -> list[Any]:
        """A box for each text that the run's task reads, filled with an example."""
        return self.example(identity, run_id, 0, request)

    def example(self, identity: Any, run_id: Any, number: Any, request: gr.Request) -> list[Any]:
        """The boxes with a row of the task in them, and the number of the next example."""
        hidden = [gr.update(visible=False)] * _BOXES
        if not run_id:
            return [*hidden, 0]
        try:
            run, task = self._run(identity, run_id, request)
            rows = _examples(run, task, self._path(identity, run_id, request))
        except DeptError:
            return [*hidden, 0]
        index = int(number or 0) % len(rows)
        boxes = _boxes(task)
        row = rows[index]
        texts = [str(row.get(name, "")) for name in boxes] if boxes else [json.dumps(row, ensure_ascii=False)]
        labels = boxes or ("row, as JSON",)
        shown = [gr.update(visible=True, label=name, value=value) for name, value in zip(labels, texts, strict=True)]
        return [*shown, *hidden[len(shown) :], index + 1]

    def predict(self, request: gr.Request, identity: Any, run_id: Any, *texts: Any) -> str:
        """What each side says of the text, as HTML."""
        try:
            run, task = self._run(identity, run_id, request)
            line = _line(task, texts)
            return answers_view(task, self._compare(run, [line], identity, request))
        except DeptError as fault:
            return notice(str(fault), "wrong")

    def predict_file(self, identity: Any, run_id: Any, file: Any, request: gr.Request) -> tuple[Any, str]:
        """The same for a file's rows: a table of the first ones, and all of them to download."""
        try:
            run, task = self._run(identity, run_id, request)
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
        """Send the adapter to the hub with the visitor's token; the token's field is emptied."""
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
            DeptError: no such run, or it has no adapter.
        """
        who = self.site.visitor(identity, request)
        run = self.site.queue.run(str(run_id or ""), who)
        if not run.has_adapter:
            raise RunError("this run has no adapter yet: wait for its first evaluation")
        config = read_json(self.site.queue.path(run.run_id, who) / "config.json")
        return run, load_task(config["task"])

    def _compare(self, run: RunSummary, lines: Sequence[str], identity: Any, request: gr.Request) -> Any:
        with LOADING:
            from lab.predictors import Side, compare

        who = self.site.visitor(identity, request)
        sides = [Side(method_name(run), str(self.site.queue.path(run.run_id, who)))]
        other = self._other_method(run, who)
        if other is not None:
            sides.append(Side(method_name(other), str(self.site.queue.path(other.run_id, who))))
        sides.sort(key=lambda side: side.name)
        untrained = Side("untrained", str(self.site.queue.path(run.run_id, who)), trained=False)
        return compare([*sides, untrained], lines)

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
            own: the task was made of a table of the visitor's, whose columns may go by their own names.

        Raises:
            DataError: too large, of another kind, or not in the task's columns: which row.
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


def _examples(run: RunSummary, task: Task, path: Path) -> list[dict[str, Any]]:
    """Rows to begin with: of the test split of the task's sample, or of the visitor's own."""
    if run.task == OWN_TASK:
        return [row for _, row in islice(read_rows(path / "own" / ROWS_FILE, task.columns), _EXAMPLES)]
    rows = load_rows(task, "sample", sample_sizes={"test": _EXAMPLES}, splits=["test"])
    return [dict(row) for row in rows.splits["test"]]


def _boxes(task: Task) -> tuple[str, ...]:
    """The columns that get a box each; none for a task whose rows are more than a few texts."""
    names = columns_of(task.template)
    plain = task.preprocess is None and all(task.columns[name] == "str" for name in names)
    return names if plain and len(names) <= _BOXES else ()


def _line(task: Task, texts: Sequence[Any]) -> str:
    """The boxes as what `dept.inference` takes.

    Raises:
        DataError: nothing, or too much, in them.
    """
    boxes = _boxes(task)
    values = [str(value or "") for value in texts[: max(1, len(boxes))]]
    if not any(value.strip() for value in values):
        raise DataError("type or paste a text first, or take an example")
    if sum(map(len, values)) > MOST_CHARACTERS:
        raise DataError(f"the text is longer than {MOST_CHARACTERS:,} characters")
    return json.dumps(dict(zip(boxes, values, strict=True))) if boxes else values[0]


def build(site: Site, identity: gr.BrowserState) -> dict[str, Any]:
    """The tab's content; what brings its list of runs up to date."""
    does = _TryIt(site)
    with gr.Row(equal_height=False, elem_classes="sides"):
        with gr.Column(scale=4, min_width=320):
            with gr.Group():
                run = Choice(
                    [], label="Run", info="PT or DePT on the same rows is found by itself.", elem_id="try-run"
                )
                boxes = [
                    gr.Textbox(visible=False, lines=2, max_lines=8, max_length=MOST_CHARACTERS, elem_id=f"try-{index}")
                    for index in range(_BOXES)
                ]
            with gr.Row():
                predict = gr.Button("Predict", variant="primary", elem_id="predict")
                another = gr.Button("Another example")
            with gr.Accordion("Rows of a file", open=False):
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
    next_example = gr.Number(0, visible="hidden")
    private_api: dict[str, Any] = {"api_visibility": "private"}
    who = [identity, run]
    run.change(does.opened, who, [*boxes, next_example], **QUIET)
    another.click(does.example, [*who, next_example], [*boxes, next_example], **QUIET)
    alone: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "predict", **private_api}
    predict.click(does.predict, [*who, *boxes], answers, **alone)
    boxes[0].submit(does.predict, [*who, *boxes], answers, **alone)
    file.upload(does.predict_file, [*who, file], [download, answers], **alone)
    download_on_click(get, does.adapter, who)
    push.click(does.push, [*who, repo, token, private], [pushed, token], **private_api)
    return {"fn": does.runs, "inputs": who, "outputs": [run, line], **QUIET}
