"""The Train tab: choose, see what it costs and what is wrong with it, launch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dept.backbones.known import default_tower, list_backbones
from dept.data import easy_vqa
from dept.errors import DeptError
from dept.runs.settings import TrainConfig
from dept.tasks import load_task
from dept.tasks.registry import TASK_NAMES
from lab.estimate.run import expect, tower_of
from lab.runs.read import METHOD_NAMES
from lab.service.allowed import OWN_TASK, RUN, UPLOAD, has_images
from lab.ui.components.html import download_on_click, notice, text, to_download
from lab.ui.components.inputs import Amount, Choice, Figure, LogSlider
from lab.ui.site import DEFAULT_TASK, OWN_ROWS, QUIET, Site
from lab.ui.train.form import PRESETS, Form, as_yaml, commands, problems, requests, settings, words
from lab.ui.train.notebook import as_notebook
from lab.ui.train.own_rows import OwnRows
from lab.ui.train.view import numbers, trade_off_figure

_HELP = {
    "backbone": "The frozen language model (sections 2.1 and 3.1).",
    "task": "What it learns to do: the paper's 23 tasks (section 3.1, Table 7), then two source tasks.",
    "data": "Where its rows come from (the paper's: section 3.1).",
    "method": "DePT (section 2.2), prompt tuning (section 2.1), or both at the same budget (section 3.3).",
    "num_virtual_tokens": "m: the prompt's length; the rank takes what is left of the budget (section 2.2).",
    "budget_tokens": "l: length of the PT prompt whose parameters are matched; 100 in the paper (section 3.1).",
    "prompt_lr": "alpha_1, of the prompt: 0.3 to 0.5 for T5 in the paper (Table 8); empty: this backbone's.",
    "low_rank_lr": "alpha_2, of A and B: 1e-4 to 1e-3 in the paper (Table 8); empty: this backbone's.",
    "vision_backbone": "Frozen, as the language model: each image becomes some positions after the prompt (Table 3).",
    "projection_lr": "Of the trained way from image features to embeddings; empty: this backbone's, else as A and B.",
    "max_steps": "30,000 in the paper (Table 8).",
    "batch_size": "Examples a step; 16 in the paper (Table 8).",
    "max_seq_length": "s: source tokens, and rows of the update; 256 in the paper (Table 8).",
    "eval_every": "Steps between evaluations; empty: a tenth of the steps.",
    "seed": "Of the prompt, the order of rows and dropout.",
}
_RATES = ("prompt_lr", "low_rank_lr", "projection_lr")
_OF_BACKBONE = (*_RATES, "vision_backbone")  # what follows where another one is chosen
_USUAL_LENGTH = 40  # m, where nobody has chosen one


@dataclass(frozen=True)
class TrainTab:
    """What the rest of the page connects to.

    Attributes:
        fields: in the order of `Form`.
        launched: the ids of runs that have just been queued, apart by commas.
        look: the listener's arguments that bring all but the fields up to date.
    """

    fields: Sequence[gr.components.Component]
    launched: gr.Textbox
    look: dict[str, Any]


class _Train:
    """What happens as fields change; a method a listener."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def look(self, request: gr.Request, identity: Any, *values: Any) -> list[Any]:
        """What the fields' values lead to.

        In the order of the outputs: each field's help or fault, the rates' faults, the part for images, the numbers,
        the chart, the same as a command, as YAML and as a notebook, the line by the button, the button.
        """
        form, who = Form(*values), self.site.visitor(identity, request)
        wrong = problems(form, self.site.queue, who)
        if form.data == OWN_ROWS:
            wrong = {"data": "Drop a table below and choose its columns."}
        if wrong:
            return self._wrong(form, wrong)
        configs = [self.site.queue.check(asked, who) for asked in requests(form)]
        read = "vision_backbone"
        try:  # a config that is damaged, or on a hub that does not answer
            tower_of(configs[-1])
            read = "backbone"
            expectation = expect(self._dept(configs, form), self.site.queue.runs(who))
        except DeptError as fault:
            return self._wrong(form, {read: self.site.config.allowed.without_places(str(fault))})
        same = {config.method: settings(config, asked) for config, asked in zip(configs, requests(form), strict=True)}
        return [
            *self._helps(form, {}),
            numbers(expectation),
            trade_off_figure(expectation),
            commands(list(same.values())),
            *(
                gr.update(visible=name in same, value=as_yaml(same[name]) if name in same else "")
                for name in METHOD_NAMES
            ),
            *(gr.update(visible=name in same) for name in METHOD_NAMES),
            self._waiting(),
            gr.update(interactive=True),
        ]

    def _wrong(self, form: Form, wrong: Mapping[str, str]) -> list[Any]:
        """As `look`, where something is wrong: numbers and chart stay as they were."""
        line = wrong.get("form") or f"To be mended first: {', '.join(map(words, wrong))}."
        unchanged = [gr.skip()] * (3 + 2 * len(METHOD_NAMES))
        return [*self._helps(form, wrong), *unchanged, notice(line, "wrong"), gr.update(interactive=False)]

    def _helps(self, form: Form, wrong: Mapping[str, str]) -> list[Any]:
        """Each field's help or fault, the rates' faults, the part for images."""
        helps: list[Any] = [self._help(name, wrong.get(name)) for name in Form._fields]
        if "budget_tokens" not in wrong:  # the slider goes as far as m can
            helps[Form._fields.index("num_virtual_tokens")]["maximum"] = int(form.budget_tokens)
        helps += [notice(wrong.get(name, ""), "wrong") for name in _RATES]
        return [*helps, gr.update(visible=has_images(form.task))]

    @staticmethod
    def _dept(configs: Sequence[TrainConfig], form: Form) -> TrainConfig:
        """The settings that the numbers are of: DePT's, also where PT alone was chosen and nobody looks at m."""
        config = configs[-1]
        if config.method == "dept":
            return config
        m, budget = form.num_virtual_tokens, config.budget_tokens
        fits = isinstance(m, int | float) and 0 <= m <= budget
        values = {"method": "dept", "num_virtual_tokens": int(m) if fits else min(_USUAL_LENGTH, budget)}
        return TrainConfig.from_dict({**config.to_dict(), **values})

    @staticmethod
    def _help(name: str, wrong: str | None) -> dict[str, Any]:
        classes = ["wrong-field"] if wrong else []
        if name in _RATES:
            return gr.update(elem_classes=classes)
        return gr.update(info=text(wrong) if wrong else _HELP[name], elem_classes=classes)

    def _waiting(self) -> str:
        running, waiting = self.site.queue.load()
        if not running and not waiting:
            return notice("The machine is free: it starts at once.", "good")
        return notice(f"{running} training and {waiting} waiting now: first in, first out.")

    def launch(self, request: gr.Request, identity: Any, *values: Any) -> tuple[Any, str]:
        """Queue the runs; their ids, and a line on what happened."""
        who = self.site.visitor(identity, request)
        try:
            ids = self.site.queue.submit(requests(Form(*values)), who)
        except DeptError as fault:
            return gr.skip(), notice(str(fault), "wrong")
        return ",".join(ids), notice(f"{len(ids)} in the queue: see the Runs tab.", "good")

    @staticmethod
    def on_backbone(backbone: Any) -> list[Any]:
        """The backbone's own rates, empty where they follow from its weights, which nobody looks for here; and its
        image encoder."""
        info = next((info for info in list_backbones() if info.name == backbone), None)
        rates = [getattr(info, name) for name in _RATES] if info else [None] * len(_RATES)
        return [*rates, default_tower(str(backbone))]

    def on_task(self, task: Any, data: Any) -> tuple[Any, Any]:
        """The task's length of input, and rows that go with it."""
        rows = "sample" if data == easy_vqa.NAME and task != easy_vqa.TASK else gr.skip()
        return self._seq_length(task), rows

    def on_data(self, data: Any, task: Any) -> tuple[Any, Any, Any]:
        """Whether the part for own rows shows; the task that goes with the data, and its length of input."""
        shown = gr.update(visible=data == OWN_ROWS or str(data).startswith(UPLOAD))
        own = isinstance(data, str) and (data == OWN_ROWS or data.startswith((UPLOAD, RUN)))
        if data == easy_vqa.NAME and task != easy_vqa.TASK:
            return shown, easy_vqa.TASK, self._seq_length(easy_vqa.TASK)
        return shown, DEFAULT_TASK if not own and task == OWN_TASK else gr.skip(), gr.skip()

    def _seq_length(self, task: Any) -> Any:
        most = self.site.config.limits.seq_length
        return min(most, load_task(task).max_seq_length) if task in TASK_NAMES else gr.skip()

    def dept_notebook(self, request: gr.Request, identity: Any, *values: Any) -> str:
        """A notebook of the DePT run, to download."""
        return self._notebook("dept", Form(*values), identity, request)

    def pt_notebook(self, request: gr.Request, identity: Any, *values: Any) -> str:
        """A notebook of the PT run, to download."""
        return self._notebook("prompt_tuning", Form(*values), identity, request)

    def _notebook(self, method: str, form: Form, identity: Any, request: gr.Request) -> str:
        asked = requests(form._replace(method=method))[0]
        try:
            config = self.site.queue.check(asked, self.site.visitor(identity, request))
            return to_download(as_notebook(settings(config, asked)), f"{asked['task']}-{method}.ipynb")
        except DeptError as fault:
            raise gr.Error(text(fault), print_exception=False) from fault


def build(site: Site, identity: gr.BrowserState) -> TrainTab:
    """The tab's content; call it within the tab."""
    does = _Train(site)
    limits = site.config.limits
    backbone = site.default_backbone()
    own = dict(zip(_OF_BACKBONE, does.on_backbone(backbone), strict=True))
    quick = PRESETS["Quick look"]
    with gr.Row(equal_height=False, elem_classes="sides"):
        with gr.Column(scale=5, min_width=320):
            with gr.Group():
                fields: dict[str, Any] = {
                    "backbone": Choice(site.backbones(), value=backbone, label="Backbone", info=_HELP["backbone"]),
                    "task": Choice(site.tasks(), value=DEFAULT_TASK, label="Task", info=_HELP["task"]),
                    "data": Choice(site.data(), value="sample", label="Rows", info=_HELP["data"]),
                }
            own_rows = OwnRows(site, identity)
            with gr.Group():
                fields["method"] = gr.Radio(
                    [("DePT", "dept"), ("PT", "prompt_tuning"), ("Both, side by side", "both")],
                    value="both", label="Method", info=_HELP["method"],
                )  # fmt: skip
                fields["num_virtual_tokens"] = Amount(
                    0, limits.virtual_tokens, value=_USUAL_LENGTH, step=1, precision=0,
                    label="m, virtual tokens", info=_HELP["num_virtual_tokens"], elem_id="virtual-tokens",
                )  # fmt: skip
                with gr.Row():
                    fields["budget_tokens"] = _number("budget_tokens", "l, the budget", 100)
                    fields["max_seq_length"] = _number("max_seq_length", "s, source tokens", 256)
            with gr.Group():
                fields["prompt_lr"], of_prompt = _rate("prompt_lr", "the prompt", (-4, 0.5), own)
                fields["low_rank_lr"], of_low_rank = _rate("low_rank_lr", "A and B", (-6, -1), own)
            with gr.Group(visible=False, elem_id="images") as images:
                fields["vision_backbone"] = Choice(
                    site.towers(), value=own["vision_backbone"], label="Image encoder", info=_HELP["vision_backbone"]
                )
                fields["projection_lr"], of_projection = _rate("projection_lr", "the projection", (-6, -1), own)
            with gr.Group():
                with gr.Row():
                    fields["max_steps"] = _number("max_steps", "Steps", quick["max_steps"])
                    fields["batch_size"] = _number("batch_size", "Batch size", quick["batch_size"])
                with gr.Row():
                    fields["eval_every"] = _number("eval_every", "Evaluate every", quick["eval_every"])
                    fields["seed"] = _number("seed", "Seed", 42)
            with gr.Row(elem_classes="presets"):
                presets = {name: gr.Button(name, size="sm", min_width=100) for name in PRESETS}
        with gr.Column(scale=4, min_width=320, elem_classes="stay"):
            shown = gr.HTML(elem_id="numbers", apply_default_css=False)
            chart = Figure("Cost of each prompt length in per cent of prompt tuning's", height=230)
            line = gr.HTML(min_height=44, apply_default_css=False, elem_id="launch-line")
            launch = gr.Button("Launch", variant="primary", size="lg", elem_id="launch")
            launched = gr.Textbox(visible="hidden", elem_id="launched")
            with gr.Accordion("The same outside this page", open=False):
                in_shell = gr.Code(language="shell", label="Command", interactive=False, wrap_lines=True)
                in_yaml = [
                    gr.Code(language="yaml", label=f"{name}: dept train --config FILE", interactive=False)
                    for name in METHOD_NAMES.values()
                ]
                with gr.Row():
                    as_notebooks = [
                        gr.Button(f"{name}: notebook for papermill", size="sm", min_width=100)
                        for name in METHOD_NAMES.values()
                    ]

    order = [fields[name] for name in Form._fields]
    inputs = [identity, *order]
    faults = [of_prompt, of_low_rank, of_projection]
    outputs = [*order, *faults, images, shown, chart, in_shell, *in_yaml, *as_notebooks, line, launch]
    look: dict[str, Any] = {"fn": does.look, "inputs": inputs, "outputs": outputs, **QUIET}
    gr.on([field.change for field in order], trigger_mode="always_last", **look)
    follow = [fields[name] for name in _OF_BACKBONE]
    fields["backbone"].input(does.on_backbone, fields["backbone"], follow, **QUIET)
    task, data, length = (fields[name] for name in ("task", "data", "max_seq_length"))
    task.input(does.on_task, [task, data], [length, data], **QUIET)
    data.change(does.on_data, [data, task], [own_rows.group, task, length], **QUIET)
    own_rows.connect(data, task)
    for name, button in presets.items():
        chosen = PRESETS[name]
        button.click(lambda chosen=chosen: list(chosen.values()), None, [fields[field] for field in chosen], **QUIET)
    launch.click(does.launch, inputs, [launched, line], concurrency_limit=4, api_visibility="private")
    for button, makes in zip(as_notebooks, (does.dept_notebook, does.pt_notebook), strict=True):
        download_on_click(button, makes, inputs)
    return TrainTab(order, launched, look)


def _rate(name: str, of: str, span: tuple[float, float], values: Mapping[str, Any]) -> tuple[LogSlider, gr.HTML]:
    """A field for a learning rate; the place of what is wrong with it."""
    field = LogSlider(
        f"Learning rate of {of}", _HELP[name], span, "default", value=values[name], elem_id=name.replace("_", "-")
    )
    return field, gr.HTML(apply_default_css=False, elem_classes="said")


def _number(name: str, label: str, value: int) -> gr.Number:
    return gr.Number(value, precision=0, label=label, info=_HELP[name], min_width=120, elem_id=name.replace("_", "-"))
