"""The Runs tab: queued, training and ended runs; live curves, predictions; stop, kill, resume, repeat, delete.

The server keeps no state of a visitor: the browser and the page's address hold which runs are open.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dept.errors import DeptError, RunError
from dept.tasks import load_task
from dept.tasks.registry import TASK_NAMES
from lab.service.allowed import OWN_TASK, RUN, UPLOAD
from lab.service.owners import Visitor
from lab.service.summary import RunSummary
from lab.ui.components.html import notice
from lab.ui.components.inputs import Figure, RunList
from lab.ui.runs.predictions import predictions_view
from lab.ui.runs.shared_curves import SharedCurves
from lab.ui.runs.view import FIGURES, log_text, method_name, run_head, run_list, together
from lab.ui.site import QUIET, Site
from lab.ui.train.form import FIELDS, method_choices

POLL_SECONDS = 1.5
MOST_DRAWN = 6  # runs in one figure
_ACTIONS = ("stop", "kill", "resume", "repeat", "delete")
_SHOW_IN_ADDRESS = """(runs) => {
  const page = new URL(window.location);
  if (runs) page.searchParams.set("run", runs); else page.searchParams.delete("run");
  window.history.replaceState(null, "", page);
  // On a Space the page is a frame: the address is its parent's.
  if (window.parent !== window) window.parent.postMessage({queryString: page.search}, "https://huggingface.co");
}"""


@dataclass(frozen=True)
class RunsTab:
    """The parts of the tab that the rest of the page connects to.

    Attributes:
        opened: comma-separated run ids; the first is the open run, the others are drawn with it.
        look: the arguments of the listener that updates the tab.
        timer: ticks while the tab is shown.
        repeat: a button that fills the form with the values that `request_of` gives.
    """

    opened: gr.Textbox
    look: dict[str, Any]
    timer: gr.Timer
    repeat: gr.Button
    request_of: Callable[..., list[Any]]


class _Runs:
    """The tab's listeners, one method each."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._curves = SharedCurves()

    def look(self, identity: Any, opened: Any, seen: Any, request: gr.Request) -> list[Any]:
        """List, head, buttons, figures, predictions and log; those that the browser has already are skipped.

        Args:
            seen: fingerprints of what the browser has, as this function returned them last.
        """
        who = self.site.visitor(identity, request)
        runs = self.site.queue.runs(who)
        drawn = together(self._opened(opened, runs, who))
        current = drawn[0].run if drawn else None
        curves = [(each, self.site.queue.curves(each.run.run_id, who)) for each in drawn]
        with_curves = [(each, of_run) for each, of_run in curves if of_run is not None]
        log = self.site.queue.log(current.run_id, who) if current else []
        predictions = self._predictions(current, who)
        known = _known(seen)
        listed, head = run_list(runs, drawn), run_head(current)
        version, figures = self._curves.of(with_curves)
        fresh = {
            "list": _print(listed),
            "head": _print(head),
            "curves": _print(version),
            "predictions": _print(predictions),
            "log": _print(log),
            "buttons": _print(_possible(current)),
        }
        new = {name: known.get(name) != value for name, value in fresh.items()}
        return [
            listed if new["list"] else gr.skip(),
            head if new["head"] else gr.skip(),
            *(
                [gr.update(interactive=can) for can in _possible(current)]
                if new["buttons"]
                else [gr.skip()] * len(_ACTIONS)
            ),
            *(figures if new["curves"] else [gr.skip()] * len(FIGURES)),
            predictions if new["predictions"] else gr.skip(),
            log_text(log) if new["log"] else gr.skip(),
            json.dumps(fresh) if any(new.values()) else gr.skip(),
        ]

    def _predictions(self, run: RunSummary | None, who: Visitor) -> str:
        if run is None:
            return ""
        task = load_task(run.task) if run.task in TASK_NAMES else None
        return predictions_view(self.site.queue.predictions(run.run_id, who), task)

    def _opened(self, opened: Any, runs: Sequence[RunSummary], who: Visitor) -> list[RunSummary]:
        """The runs that the address names, without those that do not exist."""
        by_id = {run.run_id: run for run in runs}
        existing = []
        for run_id in ids_of(opened):
            try:
                existing.append(by_id.get(run_id) or self.site.queue.run(run_id, who))
            except RunError:
                continue  # deleted since
        return existing

    @staticmethod
    def choose(opened: Any, event: gr.EventData) -> str:
        """Open a run, or tick it so that it is drawn with the open ones."""
        clicked = event._data if isinstance(event._data, dict) else {}  # a request can hold any value
        ids, run_id = ids_of(opened), str(clicked.get("run", ""))
        if clicked.get("tick"):
            return ",".join(each for each in ids if each != run_id) if run_id in ids else ",".join([*ids, run_id])
        return ",".join([run_id, *(each for each in ids if each != run_id)] if run_id in ids else [run_id])

    def stop(self, identity: Any, opened: Any, request: gr.Request) -> str:
        return self._done(self.site.queue.stop, identity, opened, request, "It stops after this step, and saves.")

    def resume(self, identity: Any, opened: Any, request: gr.Request) -> str:
        return self._done(self.site.queue.resume, identity, opened, request, "It is in the queue again.")

    def ask_kill(self, identity: Any, opened: Any, request: gr.Request) -> tuple[Any, str, str, str]:
        return self._ask("kill", identity, opened, request)

    def ask_delete(self, identity: Any, opened: Any, request: gr.Request) -> tuple[Any, str, str, str]:
        return self._ask("delete", identity, opened, request)

    def _ask(self, action: str, identity: Any, opened: Any, request: gr.Request) -> tuple[Any, str, str, str]:
        """Kill or delete at once if nothing would be lost, else ask.

        Returns:
            An update of the question's row, the question, the action with its run, and a line on what was done.
        """
        run = self._current(identity, opened, request)
        lost = "" if run is None else _lost(action, run)
        if run is None or not lost:
            return gr.update(visible=False), "", "", self.sure(action, identity, opened, request)[-1]
        return gr.update(visible=True), notice(lost, "wrong"), f"{action} {run.run_id}", ""

    def sure(self, confirmed: Any, identity: Any, opened: Any, request: gr.Request) -> tuple[Any, str]:
        """Do the confirmed action, to the run that the question was about.

        Args:
            confirmed: kill or delete, and the run's id after a space; without an id the open run is meant.
        """
        action, _, run_id = str(confirmed).partition(" ")
        does = {"kill": self.site.queue.kill, "delete": self.site.queue.delete}.get(action)
        if does is None:
            return gr.update(visible=False), ""
        said = "It has been ended; resume goes on from its last checkpoint." if action == "kill" else "It is deleted."
        return gr.update(visible=False), self._done(does, identity, run_id or opened, request, said)

    def _done(
        self, does: Callable[[str, Visitor], None], identity: Any, opened: Any, request: gr.Request, said: str
    ) -> str:
        ids = ids_of(opened)
        if not ids:
            return notice("Open a run first.")
        try:
            does(ids[0], self.site.visitor(identity, request))
        except DeptError as fault:
            return notice(str(fault), "wrong")
        return notice(said, "good")

    def _current(self, identity: Any, opened: Any, request: gr.Request) -> RunSummary | None:
        who = self.site.visitor(identity, request)
        return next(iter(self._opened(opened, [], who)), None)

    def request_of(self, identity: Any, opened: Any, request: gr.Request) -> list[Any]:
        """The form filled with the open run's settings."""
        run = self._current(identity, opened, request)
        if run is None:
            return [gr.skip()] * len(FIELDS)
        values = {name: run.request.get(name, gr.skip()) for name in FIELDS}
        if run.method not in dict(method_choices()).values():  # several methods joined by +
            choices = [*method_choices(), (method_name(run), run.method)]
            values["method"] = gr.update(choices=choices, value=run.method)
        data = str(run.request.get("data", "sample"))
        if data.startswith((UPLOAD, RUN)):
            rows = data if data.startswith(RUN) else f"{RUN}{run.run_id}"
            label = f"The rows of {rows.removeprefix(RUN)}"
            values["data"] = gr.update(choices=[*self.site.data(), (label, rows)], value=rows)
            values["task"] = gr.update(choices=[*self.site.tasks(), ("Your own task", OWN_TASK)], value=OWN_TASK)
        return [values[name] for name in FIELDS]


def ids_of(opened: Any) -> list[str]:
    """The run ids in a text from an address or a browser; whether such runs exist is not checked here."""
    return [part for part in str(opened or "").split(",") if part][:MOST_DRAWN]


def _possible(run: RunSummary | None) -> list[bool]:
    """For each of `_ACTIONS` whether it is possible now."""
    if run is None:
        return [False] * len(_ACTIONS)
    mine, trains = run.may_change, run.status in ("running", "stopping")
    waits = run.status == "queued"
    return [
        mine and (run.status == "running" or waits),
        mine and trains,
        mine and run.can_resume,
        True,
        mine and not trains,
    ]


def _lost(action: str, run: RunSummary) -> str:
    """A sentence on what killing or deleting a run would lose; "" if nothing."""
    if action == "kill":
        steps = run.steps_at_risk
        return f"{steps:,} steps since its last checkpoint would be lost (Stop saves them)." if steps else ""
    if run.has_adapter or run.result:
        return "Its adapter, curves and scores would be gone for good."
    return f"{run.step:,} steps of training would be gone for good." if run.step else ""


def _print(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()


def _known(seen: Any) -> dict[str, Any]:
    try:
        known = json.loads(str(seen or "{}"))
    except (ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def build(site: Site, identity: gr.BrowserState) -> RunsTab:
    """The tab's content; call it within the tab."""
    does = _Runs(site)
    with gr.Row(equal_height=False, elem_classes="sides"):
        with gr.Column(scale=2, min_width=300):
            runs = RunList(elem_id="runs", min_height=120)
        with gr.Column(scale=5, min_width=320):
            head = gr.HTML(apply_default_css=False, elem_id="run-head")
            with gr.Row(elem_classes="actions"):
                buttons = {
                    name: gr.Button(name.capitalize(), size="sm", min_width=80, interactive=False) for name in _ACTIONS
                }
            with gr.Row(visible=False, elem_classes="question") as question:
                question_text = gr.HTML(apply_default_css=False)
                yes = gr.Button("Do it", size="sm", variant="stop", min_width=80)
                no = gr.Button("Leave it", size="sm", min_width=80)
            said = gr.HTML(apply_default_css=False, elem_id="run-said", elem_classes="said")
            with gr.Row(elem_classes="curves"):
                figures = [
                    Figure(name, height=230, elem_id=f"curve-{i}", elem_classes="optional")
                    for i, name in enumerate(FIGURES)
                ]
            with gr.Accordion("What it says of test rows"):
                predictions = gr.HTML(apply_default_css=False, elem_id="run-predictions")
            with gr.Accordion("What it printed last", open=False):
                log = gr.HTML(apply_default_css=False)
    opened = gr.Textbox(visible="hidden", elem_id="opened")
    seen = gr.Textbox(visible="hidden")
    in_question = gr.Textbox(visible="hidden")
    timer = gr.Timer(POLL_SECONDS, active=False)

    look: dict[str, Any] = {
        "fn": does.look,
        "inputs": [identity, opened, seen],
        "outputs": [runs, head, *buttons.values(), *figures, predictions, log, seen],
        **QUIET,
    }
    timer.tick(**look)
    opened.change(None, opened, None, js=_SHOW_IN_ADDRESS)
    opened.change(lambda: "", None, said, **QUIET)
    opened.change(**look)
    runs.select(does.choose, opened, opened, **QUIET)
    who = [identity, opened]
    buttons["stop"].click(does.stop, who, said, **QUIET).then(**look)
    buttons["resume"].click(does.resume, who, said, **QUIET).then(**look)
    for name, ask in (("kill", does.ask_kill), ("delete", does.ask_delete)):
        buttons[name].click(ask, who, [question, question_text, in_question, said], **QUIET).then(**look)
    yes.click(does.sure, [in_question, *who], [question, said], **QUIET).then(**look)
    no.click(lambda: gr.update(visible=False), None, question, **QUIET)
    return RunsTab(opened, look, timer, buttons["repeat"], does.request_of)
