"""The Train tab: choose settings, see their cost and their errors, launch runs."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dept.backbones.known import default_tower, list_backbones
from dept.data import easy_vqa
from dept.errors import ConfigError, DeptError
from dept.methods.registry import BASELINE, DEFAULT_METHOD, declarations, groups, method_config, title_of
from dept.runs.settings import TrainConfig
from dept.tasks import load_task
from dept.tasks.registry import TASK_NAMES
from lab.estimate.expect import expect
from lab.estimate.pace import pace_at_once
from lab.estimate.plan import plan_of, tower_of
from lab.estimate.workload import workload
from lab.service.allowed import IMAGE_SETTINGS, OWN_TASK, RUN, UPLOAD, has_images
from lab.ui.components.html import download_on_click, notice, text, to_download
from lab.ui.components.inputs import Amount, Choice, Figure, LogSlider, Options
from lab.ui.site import DEFAULT_TASK, OWN_ROWS, QUIET, Site
from lab.ui.train.form import (
    BOTH,
    BUDGET,
    FIELDS,
    LENGTH,
    MOST_RUNS,
    RATES,
    as_yaml,
    commands,
    default_of,
    form_of,
    help_of,
    is_asked,
    label_of,
    method_choices,
    methods_of,
    presets,
    problems,
    requests,
    settings,
    shown_fields,
    words,
)
from lab.ui.train.notebook import as_notebook
from lab.ui.train.own_rows import OwnRows
from lab.ui.train.view import numbers, trade_off_figure

_OF_BACKBONE = (*RATES, IMAGE_SETTINGS[0])  # fields that change with the backbone
_HIDDEN: Any = "hidden"  # gradio's word for a component that is rendered and keeps its value, but does not show


@dataclass(frozen=True)
class TrainTab:
    """The parts of the tab that the rest of the page connects to.

    Attributes:
        fields: the components in the order of `lab.ui.train.form.FIELDS`.
        launched: comma-separated ids of runs that have just been queued.
        look: the arguments of the listener that updates everything but the fields' values.
    """

    fields: Sequence[gr.components.Component]
    launched: gr.Textbox
    look: dict[str, Any]


class _Train:
    """The tab's listeners, one method each."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def look(self, request: gr.Request, identity: Any, *values: Any) -> list[Any]:
        """Updates of the outputs for the fields' values.

        In the order of the outputs: each field's help or error, the rates' errors, the part for images, the numbers,
        the chart, the runs as a command, as YAML and as a notebook, the line by the button, the button.
        """
        form, who = form_of(values), self.site.visitor(identity, request)
        wrong = problems(form, self.site.queue, who)
        if form["data"] == OWN_ROWS:
            wrong = {"data": "Drop a table below and choose its columns."}
        if wrong:
            return self._wrong(form, wrong)
        requested = requests(form)
        configs = [self.site.queue.check(each, who) for each in requested]
        read = "data"
        try:  # rows that are not there, a config that is damaged, or on a hub that does not answer
            workload(configs[-1])
            read = "vision_backbone"
            tower_of(configs[-1])
            read = "backbone"
            plan = plan_of(self._of_numbers(configs[-1], form))
            pace = pace_at_once(plan.config.backbone, self.site.queue.runs(who))
            chosen, baseline = expect(plan, pace), expect(plan.with_baseline(), pace)
        except DeptError as fault:
            return self._wrong(form, {read: self.site.config.allowed.without_places(str(fault))})
        same = [settings(config, each) for config, each in zip(configs, requested, strict=True)]
        return [
            *self._helps(form, {}),
            numbers(chosen, baseline),
            trade_off_figure(chosen),
            commands(same),
            *_boxes([(f"{title_of(each['method'])}: dept train --config FILE", as_yaml(each)) for each in same]),
            *_buttons([title_of(each["method"]) for each in same]),
            self._waiting(),
            gr.update(interactive=True),
        ]

    def _wrong(self, form: Mapping[str, Any], wrong: Mapping[str, str]) -> list[Any]:
        """The result of `look` where something is wrong: numbers and chart stay as they were."""
        line = wrong.get("form") or f"To be mended first: {', '.join(map(words, wrong))}."
        unchanged = [gr.skip()] * (3 + 2 * MOST_RUNS)
        return [*self._helps(form, wrong), *unchanged, notice(line, "wrong"), gr.update(interactive=False)]

    def _helps(self, form: Mapping[str, Any], wrong: Mapping[str, str]) -> list[Any]:
        """Each field's help or error and its visibility, the rates' errors, the part for images."""
        shown = shown_fields(form)
        helps = {name: self._help(name, wrong.get(name), name in shown) for name in FIELDS}
        valid = isinstance(form[BUDGET], int | float) and BUDGET not in wrong
        most = form[BUDGET] if valid and BUDGET in shown else self.site.config.limits.virtual_tokens
        helps[LENGTH]["maximum"] = int(most)  # the slider ends at the largest possible m
        if "method" not in wrong:
            helps["method"]["info"] = _about(form["method"])
        faults = [notice(wrong.get(name, ""), "wrong") for name in RATES]
        return [*helps.values(), *faults, gr.update(visible=has_images(form["task"]))]

    @staticmethod
    def _help(name: str, wrong: str | None, shown: bool) -> dict[str, Any]:
        update: dict[str, Any] = gr.update(elem_classes=["wrong-field"] if wrong else [])
        if FIELDS[name].of == "method" and name not in IMAGE_SETTINGS:
            update["visible"] = True if shown else _HIDDEN
        if name not in RATES:
            update["info"] = html.escape(wrong, quote=False) if wrong else help_of(name)
        return update

    @staticmethod
    def _of_numbers(config: TrainConfig, form: Mapping[str, Any]) -> TrainConfig:
        """The settings whose numbers are shown: DePT's for the baseline, whose own numbers are shown anyway."""
        if config.method != BASELINE:
            return config
        length, usual = form[LENGTH], int(default_of(LENGTH, DEFAULT_METHOD))
        fits = isinstance(length, int | float) and 0 <= length <= config.budget_tokens
        values = {"method": DEFAULT_METHOD, LENGTH: int(length) if fits else min(usual, config.budget_tokens)}
        return TrainConfig.from_dict({**config.to_dict(), **values})

    def _waiting(self) -> str:
        running, waiting = self.site.queue.load()
        if not running and not waiting:
            return notice("The machine is free: it starts at once.", "good")
        return notice(f"{running} training and {waiting} waiting now: first in, first out.")

    def launch(self, request: gr.Request, identity: Any, *values: Any) -> tuple[Any, str]:
        """Queue the runs; return their ids and a line on the outcome."""
        who = self.site.visitor(identity, request)
        try:
            ids = self.site.queue.submit(requests(form_of(values)), who)
        except DeptError as fault:
            return gr.skip(), notice(str(fault), "wrong")
        return ",".join(ids), notice(f"{len(ids)} in the queue: see the Runs tab.", "good")

    @staticmethod
    def on_backbone(backbone: Any) -> list[Any]:
        """The learning rates of `RATES` for a backbone, and its image encoder.

        A rate is empty where it follows from the backbone's weights, which are not loaded here.
        """
        known = next((info.rates for info in list_backbones() if info.name == backbone), {})
        fixed = {name: group.rate for name, group in groups().items() if not callable(group.rate)}
        return [*(known.get(name, fixed.get(name)) for name in RATES.values()), default_tower(str(backbone))]

    @staticmethod
    def on_method(method: Any, length: Any) -> Any:
        """The new method's default prompt length, if the current length is some method's default; else no change."""
        usual = {default_of(LENGTH, each.name) for each in declarations() if LENGTH in each.own_settings()}
        with_length = [each for each in methods_of(method) if is_asked(LENGTH, each, None)]
        return default_of(LENGTH, with_length[-1]) if with_length and length in usual else gr.skip()

    def on_task(self, task: Any, data: Any) -> tuple[Any, Any]:
        """The task's input length, and sample rows if the chosen data does not belong to the task."""
        rows = "sample" if data == easy_vqa.NAME and task != easy_vqa.TASK else gr.skip()
        return self._seq_length(task), rows

    def on_data(self, data: Any, task: Any) -> tuple[Any, Any, Any]:
        """Whether the part for own rows shows; the task that belongs to the data, and its input length."""
        shown = gr.update(visible=data == OWN_ROWS or str(data).startswith(UPLOAD))
        own = isinstance(data, str) and (data == OWN_ROWS or data.startswith((UPLOAD, RUN)))
        if data == easy_vqa.NAME and task != easy_vqa.TASK:
            return shown, easy_vqa.TASK, self._seq_length(easy_vqa.TASK)
        return shown, DEFAULT_TASK if not own and task == OWN_TASK else gr.skip(), gr.skip()

    def _seq_length(self, task: Any) -> Any:
        most = self.site.config.limits.seq_length
        return min(most, load_task(task).max_seq_length) if task in TASK_NAMES else gr.skip()

    def first_notebook(self, request: gr.Request, identity: Any, *values: Any) -> str:
        """A notebook of the first requested run, to download."""
        return self._notebook(0, form_of(values), identity, request)

    def second_notebook(self, request: gr.Request, identity: Any, *values: Any) -> str:
        """A notebook of the second requested run, to download."""
        return self._notebook(1, form_of(values), identity, request)

    def _notebook(self, place: int, form: Mapping[str, Any], identity: Any, request: gr.Request) -> str:
        requested = requests(form)[place:]
        if not requested:
            raise gr.Error("there is no second run", print_exception=False)
        try:
            config = self.site.queue.check(requested[0], self.site.visitor(identity, request))
            name = f"{requested[0]['task']}-{config.method}.ipynb"
            return to_download(as_notebook(settings(config, requested[0])), name)
        except DeptError as fault:
            raise gr.Error(text(fault), print_exception=False) from fault


def _about(choice: object) -> str:
    """What the chosen method does and which paper it is from; for `BOTH` the field's own help."""
    try:
        declared = method_config(str(choice))
    except ConfigError:
        return help_of("method")
    return f"{declared.sentence} {declared.paper}"


def _boxes(contents: Sequence[tuple[str, str]]) -> list[Any]:
    """Updates of the code boxes from (label, content) pairs; boxes beyond the requested runs are hidden."""
    shown = [gr.update(visible=True, label=label, value=content) for label, content in contents]
    return shown + [gr.update(visible=False, value="")] * (MOST_RUNS - len(contents))


def _buttons(titles: Sequence[str]) -> list[Any]:
    """Updates of the notebook buttons from the methods' titles; buttons beyond the requested runs are hidden."""
    shown = [gr.update(visible=True, value=f"{title}: notebook for papermill") for title in titles]
    return shown + [gr.update(visible=False)] * (MOST_RUNS - len(titles))


def build(site: Site, identity: gr.BrowserState) -> TrainTab:
    """The tab's content; call it within the tab."""
    does = _Train(site)
    backbone = site.default_backbone()
    quick = next(iter(presets().values()))
    form = {name: default_of(name, DEFAULT_METHOD) for name in FIELDS}
    form |= {**dict(zip(_OF_BACKBONE, does.on_backbone(backbone), strict=True)), **quick}
    form |= {"backbone": backbone, "task": DEFAULT_TASK, "data": "sample", "method": BOTH}
    choices: dict[str, list[tuple[str, str]]] = {
        "backbone": site.backbones(),
        "task": site.tasks(),
        "data": site.data(),
        "method": method_choices(),
        "vision_backbone": site.towers(),
    }
    shown = shown_fields(form)
    fields: dict[str, Any] = {}
    faults: dict[str, gr.HTML] = {}

    def add(*names: str) -> None:
        """Create fields at this place of the layout; below each rate a place for its error."""
        for name in names:
            visible = True if name in shown or name in IMAGE_SETTINGS else _HIDDEN
            fields[name] = _field(name, form[name], choices.get(name, ()), site.config.limits.virtual_tokens, visible)
            if name in RATES:
                faults[name] = gr.HTML(apply_default_css=False, elem_classes="said")

    of_method = [name for name in FIELDS if FIELDS[name].of == "method" and name not in (*RATES, "method")]
    sliders = [name for name in of_method if FIELDS[name].widget == "slider"]
    others = sorted((name for name in (*of_method, "max_seq_length") if name not in sliders), key=_age)
    with gr.Row(equal_height=False, elem_classes="sides"):
        with gr.Column(scale=5, min_width=320):
            with gr.Group():
                add("backbone", "task", "data")
            own_rows = OwnRows(site, identity)
            with gr.Group():
                add("method", *sliders)
                with gr.Row():
                    add(*others)
            with gr.Group():
                add(*(name for name in RATES if name not in IMAGE_SETTINGS))
            with gr.Group(visible=False, elem_id="images") as images:
                add(*IMAGE_SETTINGS)
            with gr.Group():
                with gr.Row():
                    add("max_steps", "batch_size")
                with gr.Row():
                    add("eval_every", "seed")
            with gr.Row(elem_classes="presets"):
                buttons = {name: gr.Button(name, size="sm", min_width=100) for name in presets()}
        with gr.Column(scale=4, min_width=320, elem_classes="stay"):
            shown_numbers = gr.HTML(elem_id="numbers", apply_default_css=False)
            chart = Figure(
                "Cost of each prompt length in per cent of prompt tuning's", height=230, elem_classes="optional"
            )
            line = gr.HTML(min_height=44, apply_default_css=False, elem_id="launch-line")
            launch = gr.Button("Launch", variant="primary", size="lg", elem_id="launch")
            launched = gr.Textbox(visible="hidden", elem_id="launched")
            with gr.Accordion("The same outside this page", open=False):
                in_shell = gr.Code(language="shell", label="Command", interactive=False, wrap_lines=True)
                in_yaml = [gr.Code(language="yaml", label="YAML", interactive=False) for _ in range(MOST_RUNS)]
                with gr.Row():
                    as_notebooks = [gr.Button("Notebook", size="sm", min_width=100) for _ in range(MOST_RUNS)]

    order = [fields[name] for name in FIELDS]
    inputs = [identity, *order]
    outputs = [*order, *(faults[name] for name in RATES), images, shown_numbers, chart]
    outputs += [in_shell, *in_yaml, *as_notebooks, line, launch]
    look: dict[str, Any] = {"fn": does.look, "inputs": inputs, "outputs": outputs, **QUIET}
    gr.on([field.change for field in order], trigger_mode="always_last", **look)
    follow = [fields[name] for name in _OF_BACKBONE]
    fields["backbone"].input(does.on_backbone, fields["backbone"], follow, **QUIET)
    fields["method"].input(does.on_method, [fields["method"], fields[LENGTH]], fields[LENGTH], **QUIET)
    task, data, length = (fields[name] for name in ("task", "data", "max_seq_length"))
    task.input(does.on_task, [task, data], [length, data], **QUIET)
    data.change(does.on_data, [data, task], [own_rows.group, task, length], **QUIET)
    own_rows.connect(data, task)
    for name, button in buttons.items():
        chosen = presets()[name]
        button.click(lambda chosen=chosen: list(chosen.values()), None, [fields[field] for field in chosen], **QUIET)
    launch.click(does.launch, inputs, [launched, line], concurrency_limit=4, api_visibility="private")
    for button, makes in zip(as_notebooks, (does.first_notebook, does.second_notebook), strict=True):
        download_on_click(button, makes, inputs)
    return TrainTab(order, launched, look)


def _age(name: str) -> tuple[int, bool]:
    """A sort key: older settings before newer ones, numbers before texts."""
    return FIELDS[name].since, FIELDS[name].widget != "number"


def _field(name: str, value: Any, choices: Sequence[tuple[str, str]], longest: int, visible: Any) -> Any:
    """The component for a setting, by its widget.

    Args:
        choices: (label, value) pairs for a setting that is a choice.
        longest: the upper end of a slider.
    """
    one, elem_id = FIELDS[name], name.replace("_", "-").removeprefix("num-")
    if one.widget == "rate":
        span = groups()[RATES[name]].span
        return LogSlider(one.label, help_of(name), span, "default", value=value, elem_id=elem_id, visible=visible)
    shared: dict[str, Any] = {"label": label_of(name), "info": help_of(name), "visible": visible}
    if name == "method":
        return Options(choices, value=value, elem_id=elem_id, **shared)
    if one.widget == "choice":
        return Choice(choices, value=value, **shared)
    if one.widget == "slider":
        return Amount(one.least or 0, longest, value=value, step=1, precision=0, elem_id=elem_id, **shared)
    if one.widget == "number" and one.default != "auto":
        return gr.Number(value, precision=0 if one.takes_whole else None, min_width=120, elem_id=elem_id, **shared)
    if one.widget == "number":
        return gr.Textbox(value or "", placeholder="auto", min_width=120, elem_id=elem_id, **shared)
    return gr.Textbox(value or "", lines=4 if one.widget == "json" else 1, min_width=240, elem_id=elem_id, **shared)
