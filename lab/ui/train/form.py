"""What the Train tab's fields mean: the runs that they ask for, what is wrong with which field, the same as a command.

Nothing here knows gradio.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from dept.errors import DeptError
from dept.runs.settings import TrainConfig
from lab.service.allowed import ELSEWHERE, FOLDER, IMAGE_SETTINGS, OWN_TASK, has_images
from lab.service.owners import Visitor
from lab.service.queue import RunQueue

METHODS = {"dept": ("dept",), "prompt_tuning": ("prompt_tuning",), "both": ("prompt_tuning", "dept")}
_OF_DEPT = ("num_virtual_tokens", "low_rank_lr")  # that PT has not
OWN_TASK_FILE, OWN_DATA = "own.yaml", "own.csv"  # how a command speaks of rows that were dropped into the page


class Form(NamedTuple):
    """The fields, as a browser sends them; None where one is empty.

    Attributes:
        method: a key of `METHODS`.
        num_virtual_tokens: m, of DePT alone: PT has `budget_tokens`.
        prompt_lr, low_rank_lr: None for the backbone's own; the second is of DePT alone.
        vision_backbone, projection_lr: of tasks with images alone; None for the backbone's own encoder and rate, or
            `low_rank_lr` where it has no rate of its own.
    """

    backbone: Any
    task: Any
    data: Any
    method: Any
    num_virtual_tokens: Any
    budget_tokens: Any
    prompt_lr: Any
    low_rank_lr: Any
    max_steps: Any
    batch_size: Any
    max_seq_length: Any
    eval_every: Any
    seed: Any
    vision_backbone: Any = None
    projection_lr: Any = None


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "Quick look": {"max_steps": 60, "batch_size": 16, "eval_every": 20},
    "Sample run": {"max_steps": 300, "batch_size": 16, "eval_every": 50},
    "Paper (Table 8)": {
        "num_virtual_tokens": 40,
        "budget_tokens": 100,
        "prompt_lr": 0.3,
        "low_rank_lr": 5e-4,
        "max_steps": 30_000,
        "batch_size": 16,
        "max_seq_length": 256,
        "eval_every": 1000,
    },
}
_REQUIRED = ("budget_tokens", "max_steps", "batch_size", "seed")


def requests(form: Form) -> list[dict[str, Any]]:
    """The runs that the fields ask for, as `RunQueue.submit` takes them; PT comes first, as the paper's baseline."""
    found = []
    for method in METHODS.get(form.method, ("dept",)):
        left_out = {
            *(_OF_DEPT if method == "prompt_tuning" else ()),
            *(() if has_images(form.task) else IMAGE_SETTINGS),
        }
        request = {**form._asdict(), "method": method}
        found.append({name: value for name, value in request.items() if value is not None and name not in left_out})
    return found


def problems(form: Form, queue: RunQueue, visitor: Visitor) -> dict[str, str]:
    """What is wrong, by the field's name; "form" for what belongs to no single field. Empty: the runs can start."""
    found = {name: "a number is needed here" for name in _REQUIRED if getattr(form, name) is None}
    if form.method not in METHODS:
        found["method"] = "choose DePT, PT or both"
    for request in requests(form):
        for name, message in _faults(request, queue, visitor):
            found.setdefault(name, re.sub(r"[a-z]+(_[a-z]+)+", lambda each: words(each[0]), message))
    return found


def words(name: str) -> str:
    """A setting as the page calls it."""
    short = {"num_virtual_tokens": "m", "budget_tokens": "l", "max_seq_length": "s"}
    rates = {"prompt_lr": "the prompt's rate", "low_rank_lr": "A's and B's rate", "projection_lr": "its rate"}
    known = {**rates, "max_steps": "steps", "vision_backbone": "image encoder"}
    return {**short, **known}.get(name, name.replace("_", " ") if name in Form._fields else name)


def _faults(request: dict[str, Any], queue: RunQueue, visitor: Visitor) -> Iterator[tuple[str, str]]:
    """The check stops at the first fault: the field is then left out, and the others are looked at."""
    while True:
        try:
            queue.check(request, visitor)
        except DeptError as fault:
            message = str(fault)
            name = message.partition(" ")[0].rstrip(":")
            if name not in request:
                yield ("form" if name not in Form._fields else name), message
                return
            yield name, message
            if name in ("backbone", "task", "data", "method", "vision_backbone"):
                return
            request = {field: value for field, value in request.items() if field != name}
        else:
            return


def settings(config: TrainConfig, request: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from `dept train`'s defaults, first what a run is of.

    Args:
        request: that the config was made of; names stand for places on this machine, which are left out.
    """
    default = TrainConfig()
    found = {name: getattr(config, name) for name in ("task", "method", "backbone", "data")}
    found |= {name: value for name, value in config.to_dict().items() if value != getattr(default, name)}
    for name in ("backbone", "vision_backbone", "data"):
        if str(request.get(name)).startswith(FOLDER):
            found[name] = f"{ELSEWHERE}{str(request[name]).removeprefix(FOLDER)}"
    if request.get("task") == OWN_TASK:
        found |= {"task": OWN_TASK_FILE, "data": OWN_DATA}
    found["output_dir"] = f"runs/{request.get('task')}-{config.method}"
    return found


def commands(runs: Sequence[Mapping[str, Any]]) -> str:
    """A `dept train` for each; for own rows before them the command that makes their task file."""
    first = []
    if runs[0]["task"] == OWN_TASK_FILE:
        first = [f"dept tasks --new {OWN_DATA} > {OWN_TASK_FILE}  # guessed from the columns: look it through"]
    return "\n\n".join([*first, *map(_command, runs)])


def _command(values: Mapping[str, Any]) -> str:
    flags = (f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in values.items())
    return " \\\n  ".join(["dept train", *flags])


def as_yaml(values: Mapping[str, Any]) -> str:
    """A file for `dept train --config`."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
