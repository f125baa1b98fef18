"""`Site`, which the tabs share: the queue, the visitors, the choices on offer. One `Site` serves all visitors."""

import importlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from dept.backbones.known import RANDOM, list_backbones
from dept.backbones.known_towers import known_towers
from dept.backbones.smollm2 import PACKAGE
from dept.data import easy_vqa
from dept.errors import ConfigError
from dept.tasks import list_tasks
from lab.service.allowed import FOLDER, Allowed
from lab.service.benches import BenchJobs
from lab.service.limits import Limits
from lab.service.owners import Visitor, operator_key, visitor
from lab.service.queue import RunQueue
from lab.service.zero_gpu import on_zero_gpu

STORAGE_KEY = "dept-lab"
DEFAULT_BACKBONES = ("mini-t5", "smollm2-135m", "t5-small")
DEFAULT_TASK = "sst2"
_GROUPS = {"embedded": "Embedded", "package": "From a package", "hub": "From the hub", "folder": "Folder"}
_DATA_NAMES = {
    "sample": "Sample rows, generated here: not the benchmark",
    "hub": "The benchmark's rows, from the hub",
    easy_vqa.NAME: "easy-vqa, for vqa: questions about pictures of one shape, from its package",
}
OWN_ROWS = "own"  # the visitor chose own rows, but has uploaded none yet
# Options of listeners that answer at once: no queue, no spinner, not among the public endpoints.
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


@dataclass(frozen=True)
class PageConfig:
    """The operator's settings of the page.

    Attributes:
        root: the folder of runs.
        zero_gpu: whether the page runs on a ZeroGPU Space.
    """

    root: Path = Path("runs")
    limits: Limits = field(default_factory=Limits)
    allowed: Allowed = field(default_factory=Allowed)
    zero_gpu: bool = field(default_factory=on_zero_gpu)


def read_users(path: Path) -> list[tuple[str, str]]:
    """(name, password) from lines `name:password`.

    Raises:
        ConfigError: the file cannot be read, or a line is not of that form.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{path} cannot be read: {getattr(fault, 'strerror', None) or fault}") from None
    users = [tuple(line.strip().split(":", 1)) for line in lines]
    if not users or not all(len(pair) == 2 and all(pair) for pair in users):
        raise ConfigError(f"{path} must hold a line name:password for each person")
    return [(name, password) for name, password in users]


def _package_is_there() -> bool:
    """Whether SmolLM2's package is installed, which a Space's requirements do not bring."""
    try:
        importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


class Site:
    """The page's services.

    Raises:
        RunError: the folder of runs cannot be used.
    """

    def __init__(self, config: PageConfig) -> None:
        self.config = config
        if config.zero_gpu:
            # spaces must be imported before torch, and must know early which functions will ask for a GPU.
            for module in ("spaces", "lab.service.predictors"):
                importlib.import_module(module)
        self.queue = RunQueue(config.root, config.limits, config.allowed)
        self.operator_key = operator_key(self.queue.folder.own)
        self.benches = BenchJobs(self.queue.folder.root / ".benches", lent_gpu=config.zero_gpu)

    def visitor(self, identity: object, request: gr.Request) -> Visitor:
        """The visitor who sent a request; `identity` is what the browser keeps."""
        stored: Mapping[str, Any] = identity if isinstance(identity, dict) else {}
        return visitor(
            stored.get("token"), user=request.username, key=stored.get("key"), operator_key=self.operator_key
        )

    def backbones(self) -> list[tuple[str, str]]:
        """(label, value) of each backbone that may be chosen, group by group."""
        allowed = self.config.allowed
        known = {info.name: info for info in list_backbones() if info.source != "package" or _package_is_there()}
        missing = {info.name for info in list_backbones()} - known.keys()
        choices = []
        for source, group in _GROUPS.items():
            for name in (name for name in allowed.backbones if name not in missing):
                info = known.get(name)
                if (info.source if info else "hub") == source:
                    size = f", {info.parameters / 1e6:,.1f}M parameters" if info and info.parameters else ""
                    choices.append((f"{group}: {name}{size}", name))
        return choices + [(f"{_GROUPS['folder']}: {name}", FOLDER + name) for name in allowed.backbone_folders]

    def default_backbone(self) -> str:
        values = [value for _, value in self.backbones()]
        return next((name for name in DEFAULT_BACKBONES if name in values), values[0])

    def towers(self) -> list[tuple[str, str]]:
        """(label, value) of each image encoder that may be chosen."""
        allowed = self.config.allowed
        choices = []
        for name in allowed.towers:
            shape = name.removeprefix(RANDOM)
            group = "Shape alone" if shape != name else _GROUPS[known_towers().get(name, {}).get("source", "hub")]
            choices.append((f"{group}: {shape}", name))
        return choices + [(f"{_GROUPS['folder']}: {name}", FOLDER + name) for name in allowed.tower_folders]

    def tasks(self) -> list[tuple[str, str]]:
        """(label, value) of each shipped task, in the order of the paper's tables."""
        return [(f"{task.name}: {task.title} ({task.benchmark})", task.name) for task in list_tasks()]

    def data(self) -> list[tuple[str, str]]:
        """(label, value) of each source of rows, the visitor's own last."""
        names = self.config.allowed.data_names()
        choices = [(_DATA_NAMES.get(name, f"Folder: {name.removeprefix(FOLDER)}"), name) for name in names]
        if self.config.allowed.uploads:
            choices.append(("Your own rows: CSV, TSV or JSON lines", OWN_ROWS))
        return choices
