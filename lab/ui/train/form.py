"""The Train tab's fields: the runs that they describe, errors by field, the same runs as commands.

The fields are the settings that have a widget (`FIELDS`); a form maps their names to values, None where one is empty.
gradio is not used here.
"""

import functools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dept.basics.checked import Setting, settings_of
from dept.errors import ConfigError, DeptError
from dept.methods.registry import BASELINE, DEFAULT_METHOD, groups, method_config, method_names, title_of
from dept.runs.resolve import preset
from dept.runs.settings import TrainConfig
from lab.service.allowed import ELSEWHERE, FOLDER, IMAGE_SETTINGS, OWN_TASK, SETTINGS, has_images
from lab.service.owners import Visitor
from lab.service.queue import RunQueue

FIELDS: Mapping[str, Setting] = {name: one for name, one in SETTINGS.items() if one.widget is not None}
RATES: Mapping[str, str] = {group.setting_name: name for name, group in groups().items()}  # setting -> rate group
BOTH = "both"  # a choice besides the methods: the baseline and DePT, a run each
LENGTH, BUDGET = "num_virtual_tokens", "budget_tokens"
OWN_TASK_FILE, OWN_DATA = "own.yaml", "own.csv"  # names that a command uses for rows that were dropped into the page
MOST_RUNS = 2  # of one form


def form_of(values: Sequence[Any]) -> dict[str, Any]:
    """The form from values that a browser sends in the order of `FIELDS`: empty texts as None, digits as numbers."""
    form = dict(zip(FIELDS, values, strict=True))
    for name, value in form.items():
        if isinstance(value, str) and FIELDS[name].widget in ("number", "text", "json"):
            is_integer = FIELDS[name].widget == "number" and value.strip().isdecimal() and len(value) < 20
            form[name] = int(value) if is_integer else value.strip() or None
    return form


def method_choices() -> list[tuple[str, str]]:
    """(label, value) of each method, and of `BOTH`."""
    return [*((title_of(name), name) for name in method_names()), ("Both, side by side", BOTH)]


def methods_of(choice: object) -> tuple[str, ...]:
    """The methods of the requested runs; the baseline comes first, as in the paper."""
    return (BASELINE, DEFAULT_METHOD) if choice == BOTH else (str(choice),)


def is_asked(name: str, method: str, task: object) -> bool:
    """Whether a field applies to a run of a method on a task."""
    if name in IMAGE_SETTINGS:
        return has_images(task)
    if FIELDS[name].of != "method" or name == "method":
        return True
    try:
        names = {*method_config(method).setting_names()}
    except ConfigError:
        return False
    # The baseline has the budget in place of the length: its prompt is the one that others' parameters are matched to.
    return name in (names - {LENGTH} | {BUDGET} if method == BASELINE else names)


def shown_fields(form: Mapping[str, Any]) -> set[str]:
    """The fields that apply to at least one of the runs."""
    return {name for name in FIELDS for method in methods_of(form["method"]) if is_asked(name, method, form["task"])}


def requests(form: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The runs that the form describes, as `RunQueue.submit` takes them."""
    return [
        {
            **{
                name: value
                for name, value in form.items()
                if value is not None and is_asked(name, method, form["task"])
            },
            "method": method,
        }
        for method in methods_of(form["method"])
    ]


def default_of(name: str, method: str) -> Any:
    """A field's initial value: the method's own default, else a run's; None if it follows from other settings."""
    try:
        own = method_config(method).own_settings()
    except ConfigError:
        own = {}
    value = own[name].default if name in own else FIELDS[name].default
    return None if value == "auto" else value


@functools.cache
def presets() -> Mapping[str, Mapping[str, Any]]:
    """Each preset's title -> its values of some fields, the shortest run first."""
    folder = Path(__file__).parent / "presets"
    titled = [_preset(yaml.safe_load(file.read_text(encoding="utf-8"))) for file in folder.glob("*.yaml")]
    return dict(sorted(titled, key=lambda item: int(item[1]["max_steps"])))


def _preset(content: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The title and the values of a preset's file, which may name one of `dept.runs.presets` to take values from."""
    values = {name: default_of(name, DEFAULT_METHOD) for name in content.get("defaults", ())}
    if "preset" in content:
        of_run = preset(content["preset"])
        values |= {name: value for name, value in of_run.items() if name in FIELDS}
        values |= {groups()[name].setting_name: rate for name, rate in of_run["rates"].items()}
    return content["title"], values | content.get("settings", {})


@functools.cache
def _help() -> Mapping[str, str]:
    sentences: dict[str, str] = yaml.safe_load((Path(__file__).parent / "help.yaml").read_text(encoding="utf-8"))
    return sentences


def help_of(name: str) -> str:
    """One sentence that explains a field."""
    if name in _help():
        return _help()[name]
    sentence = re.sub(r" *\[(.*)\]$", r"; empty: \1", FIELDS[name].help)
    return f"{sentence[:1].upper() if sentence[1:2].isalpha() else sentence[:1]}{sentence[1:]}."


def label_of(name: str) -> str:
    """A field's label, with the paper's letter first if it has one."""
    one = FIELDS[name]
    return f"{one.letter}, {_lower(one.label)}" if len(one.letter) == 1 else one.label


def words(name: str) -> str:
    """A setting's name in messages of the page."""
    if name in RATES:
        return f"the rate of {groups()[RATES[name]].title}"
    one = settings_of(TrainConfig).get(name)
    if one is None or not one.label:
        return name.replace("_", " ") if one is not None else name
    return one.letter if len(one.letter) == 1 else _lower(one.label)


def _lower(label: str) -> str:
    """A label as it is written within a sentence: in lower case, except for names written with capitals."""
    first = label.partition(" ")[0]
    return label if first[1:] != first[1:].lower() else label[:1].lower() + label[1:]


def problems(form: Mapping[str, Any], queue: RunQueue, visitor: Visitor) -> dict[str, str]:
    """Errors by the field's name, "form" for one that belongs to no single field; empty if the runs can start."""
    shown = shown_fields(form)
    empty = [name for name in FIELDS if name in shown and form[name] is None]
    wrong = {name: "a number is needed here" for name in empty if FIELDS[name].kind in (int, float)}
    wrong |= {name: f"JSON is needed here. {help_of(name)}" for name in empty if FIELDS[name].widget == "json"}
    for request in requests(form):
        if any(FIELDS[name].widget == "json" and is_asked(name, request["method"], form["task"]) for name in wrong):
            continue  # without its JSON the method cannot be checked
        for name, message in _faults(request, queue, visitor):
            wrong.setdefault(name, re.sub(r"[a-z]+(_[a-z]+)+", lambda each: words(each[0]), message))
    return wrong


def _faults(request: dict[str, Any], queue: RunQueue, visitor: Visitor) -> Iterator[tuple[str, str]]:
    """Each error as (field, message). A check stops at its first error; it is repeated without that field."""
    while True:
        try:
            queue.check(request, visitor)
        except DeptError as fault:
            message = str(fault)
            name = message.partition(" ")[0].rstrip(":")
            if name not in request:
                yield (name if name in FIELDS else "form"), message
                return
            yield name, message
            if FIELDS[name].widget in ("choice", "json"):
                return
            request = {field: value for field, value in request.items() if field != name}
        else:
            return


def settings(config: TrainConfig, request: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that differ from `dept train`'s defaults; task, method, backbone and data come first, always.

    Args:
        request: the request that the config was made from; its names replace the paths on this machine.
    """
    default = TrainConfig()
    values = {name: getattr(config, name) for name in ("task", "method", "backbone", "data")}
    values |= {name: value for name, value in config.to_dict().items() if value != getattr(default, name)}
    for name in ("backbone", "vision_backbone", "data"):
        if str(request.get(name)).startswith(FOLDER):
            values[name] = f"{ELSEWHERE}{str(request[name]).removeprefix(FOLDER)}"
    if request.get("task") == OWN_TASK:
        values |= {"task": OWN_TASK_FILE, "data": OWN_DATA}
    values["output_dir"] = f"runs/{request.get('task')}-{config.method}"
    return values


def commands(runs: Sequence[Mapping[str, Any]]) -> str:
    """A `dept train` command for each run; for own rows, first the command that writes their task file."""
    first = []
    if runs[0]["task"] == OWN_TASK_FILE:
        first = [f"dept tasks --new {OWN_DATA} > {OWN_TASK_FILE}  # guessed from the columns: look it through"]
    return "\n\n".join([*first, *map(_command, runs)])


def _command(values: Mapping[str, Any]) -> str:
    flags = (f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in values.items())
    return " \\\n  ".join(["dept train", *flags])


def as_yaml(values: Mapping[str, Any]) -> str:
    """The settings as a file for `dept train --config`."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
