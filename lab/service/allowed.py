"""What a browser may name: settings from a list, backbones, image encoders and data by the operator's names for them.

No path, hub id or file is taken from a browser as it is. Its settings are a mapping; what comes out is a checked
`TrainConfig`, or one line that names the field.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Self

from dept.backbones.known import RANDOM, list_backbones
from dept.backbones.known_towers import known_towers
from dept.basics.checked import Setting, settings_of
from dept.data import easy_vqa
from dept.errors import ConfigError
from dept.methods.rates import PROJECTION
from dept.runs.settings import TrainConfig
from dept.tasks import load_task
from dept.tasks.registry import TASK_NAMES
from lab.service.limits import ROW_SETTINGS, Limits
from lab.service.uploads import ROWS_FILE, TASK_FILE

OWN_TASK = "own"
FOLDER, UPLOAD, RUN = "folder:", "upload:", "run:"
ELSEWHERE = "path/to/"  # how a folder of this machine's is called where it may not be told
IMAGE_SETTINGS = ("vision_backbone", PROJECTION.setting_name)  # of tasks with images alone
# What a browser may set. Not paths (output_dir, tokenizer), and not what the machine can do, which is the operator's
# business (compile, quantize, device_map).
SETTINGS: Mapping[str, Setting] = {name: one for name, one in settings_of(TrainConfig).items() if one.page}
DEFAULT_STEPS = 1000
_LONGEST_TEXT = 500
_LONGEST_JSON = 5000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,59}")
# Within a config of PEFT's.
_LAYER_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,119}|")
_UNCHECKED = ("auto_mapping", "base_model_name_or_path", "peft_version", "revision")  # they change nothing here
_NOT_HERE = ("modules_to_save",)  # whole layers of the backbone would be trained and stored
_LARGE = (
    *("lora_alpha", "alpha", "alpha_pattern", "scaling", "n_frequency", "n_frequency_pattern"),
    *("random_loc_seed", "seed"),
)
_MOST = 1_000_000


def has_images(task: object) -> bool:
    """Whether a browser's task is one with images; own rows have none."""
    return isinstance(task, str) and task in TASK_NAMES and load_task(task).image_column is not None


def _open_backbones() -> tuple[str, ...]:
    return tuple(info.name for info in list_backbones() if not info.gated)


def _open_towers() -> tuple[str, ...]:
    return (*known_towers(), *(f"{RANDOM}{name}" for name in known_towers()))


@dataclass(frozen=True)
class Allowed:
    """The operator's lists.

    Attributes:
        backbones: aliases and hub ids; by default every alias that needs no licence to be accepted.
        towers: the same of image encoders; by default every alias, and its shape with random weights.
        backbone_folders, tower_folders, data_folders: name -> folder on this machine; a browser says `folder:<name>`.
        hub: whether rows may be fetched from the hub.
        hub_images: whether those with images may be too: whole data sets of tens of GB.
        uploads: whether visitors may bring their own rows.

    Raises:
        ConfigError: a folder that is not there, or a name that is not plain.
    """

    backbones: tuple[str, ...] = field(default_factory=_open_backbones)
    towers: tuple[str, ...] = field(default_factory=_open_towers)
    backbone_folders: Mapping[str, Path] = field(default_factory=dict)
    tower_folders: Mapping[str, Path] = field(default_factory=dict)
    data_folders: Mapping[str, Path] = field(default_factory=dict)
    hub: bool = True
    hub_images: bool = False
    uploads: bool = True

    def __post_init__(self) -> None:
        for folders in (self.backbone_folders, self.tower_folders, self.data_folders):
            for name, path in folders.items():
                if not _NAME.fullmatch(name):
                    raise ConfigError(f"{name[:60]!r} is no name for a folder: letters, digits, spaces, - _ . only")
                if not path.is_dir():
                    raise ConfigError(f"{path} is not a folder")

    @classmethod
    def named(
        cls,
        backbone_folders: tuple[Path, ...] = (),
        data_folders: tuple[Path, ...] = (),
        tower_folders: tuple[Path, ...] = (),
        **more: Any,
    ) -> Self:
        """With folders that go by their own last names.

        Raises:
            ConfigError: as the class, or two folders of one kind that have the same last name.
        """
        return cls(
            backbone_folders=_by_name(backbone_folders),
            tower_folders=_by_name(tower_folders),
            data_folders=_by_name(data_folders),
            **more,
        )

    def without_places(self, said: str) -> str:
        """A text of this machine's, with the folders as somebody elsewhere would write them."""
        folders = chain(self.data_folders.items(), self.tower_folders.items(), self.backbone_folders.items())
        for name, path in sorted(folders, key=lambda item: len(str(item[1])), reverse=True):
            for written in (str(path), json.dumps(str(path))[1:-1]):
                said = said.replace(written, f"{ELSEWHERE}{name}")
        return said

    def backbone_names(self) -> list[str]:
        """All that a browser may send as `backbone`."""
        return [*self.backbones, *(FOLDER + name for name in self.backbone_folders)]

    def tower_names(self) -> list[str]:
        """All that a browser may send as `vision_backbone`."""
        return [*self.towers, *(FOLDER + name for name in self.tower_folders)]

    def data_names(self) -> list[str]:
        """All that a browser may send as `data`, own rows aside."""
        named = ["sample", *(["hub"] if self.hub else []), *([easy_vqa.NAME] if easy_vqa.is_installed() else [])]
        return [*named, *(FOLDER + name for name in self.data_folders)]

    def backbone(self, name: object) -> str:
        """A backbone as `load_backbone` takes it.

        Raises:
            ConfigError: not on the list.
        """
        return _named("backbone", name, self.backbone_names(), self.backbone_folders)

    def tower(self, name: object) -> str:
        """An image encoder as `load_tower` takes it.

        Raises:
            ConfigError: not on the list.
        """
        return _named("vision_backbone", name, self.tower_names(), self.tower_folders)

    def data(self, name: object) -> str:
        """Rows as `load_rows` takes them; own rows are not looked for here.

        Raises:
            ConfigError: not on the list.
        """
        return _named("data", name, self.data_names(), self.data_folders, ", or your own rows")

    def check(
        self, request: Mapping[str, Any], limits: Limits, own_data: Callable[[str], Path]
    ) -> tuple[TrainConfig, Path | None]:
        """A browser's settings as a run, and the folder of own rows and task that it reads.

        Args:
            request: names of `SETTINGS` -> values; `task` is a shipped task or "own".
            own_data: gives the folder for `upload:<id>` and `run:<id>`.

        Raises:
            DeptError: by the field's name: unknown, not allowed, wrong, above a limit.
        """
        values = plain(request)
        for name, value in values.items():
            if SETTINGS[name].widget == "json" and value is not None:
                _check_json(name, value, limits.rank)
        own = None
        data = values.get("data", "sample")
        if isinstance(data, str) and data.startswith((UPLOAD, RUN)):
            if not self.uploads:
                raise ConfigError("data: this machine takes no rows of your own")
            if values.get("task") != OWN_TASK:
                raise ConfigError(f"task: own rows go with task {OWN_TASK!r}")
            own = own_data(data)
            values |= {"task": str(own / TASK_FILE), "data": str(own / ROWS_FILE)}
        else:
            if values.get("task") == OWN_TASK:
                raise ConfigError("data: bring your own rows first, or choose one of the tasks")
            if values.get("task") not in TASK_NAMES:
                raise ConfigError(f"task: choose one of {', '.join(TASK_NAMES)}, or {OWN_TASK}")
            values["data"] = self.data(data)
            if data == easy_vqa.NAME and values["task"] != easy_vqa.TASK:
                raise ConfigError(f"data: {data} asks about images; it goes with task {easy_vqa.TASK}")
            of_hub = data == "hub" and has_images(values["task"])
            if of_hub and not self.hub_images:
                raise ConfigError("data: this machine fetches no images from the hub; choose other rows")
            if of_hub or data == easy_vqa.NAME:
                # The features of each image stay on the disk, so their number has to be bounded.
                values |= {name: limits.rows for name in ROW_SETTINGS if values.get(name) is None}
        values["backbone"] = self.backbone(values.get("backbone"))
        for name in IMAGE_SETTINGS:
            if values.get(name) is not None and not has_images(request["task"]):
                raise ConfigError(f"{name}: this task has no images")
        if values.get("vision_backbone") is not None:
            values["vision_backbone"] = self.tower(values["vision_backbone"])
        if values.get("max_steps") is None:  # else a preset could ask for more than the limit
            values["max_steps"] = min(DEFAULT_STEPS, limits.steps)
        config = TrainConfig.from_dict(values)
        limits.check(config)
        return config, own


def _by_name(folders: tuple[Path, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in (folder.resolve() for folder in folders):
        if found.setdefault(path.name, path) != path:
            raise ConfigError(f"{found[path.name]} and {path} would go by the same name: give one of them another")
    return found


def _named(field: str, name: object, names: list[str], folders: Mapping[str, Path], more: str = "") -> str:
    """A browser's name as it is, or the folder that it stands for.

    Raises:
        ConfigError: none of `names`.
    """
    if not isinstance(name, str) or name not in names:
        raise ConfigError(f"{field}: choose one of {', '.join(names)}{more}")
    return str(folders[name.removeprefix(FOLDER)]) if name.startswith(FOLDER) else name


def plain(request: Mapping[str, Any]) -> dict[str, Any]:
    """Known names and plain values alone; a slider's 40.0 is the whole number that it means.

    Raises:
        ConfigError: another name, or a text that is too long.
    """
    if not isinstance(request, Mapping):
        raise ConfigError("settings must be a mapping of names to values")
    values: dict[str, Any] = {}
    for name, value in request.items():
        if name not in SETTINGS:
            raise ConfigError(f"{str(name)[:60]!r} is not a setting that can be chosen here")
        longest = _LONGEST_JSON if SETTINGS[name].widget == "json" else _LONGEST_TEXT
        if isinstance(value, str) and len(value) > longest:
            raise ConfigError(f"{name} is longer than {longest:,} characters")
        if SETTINGS[name].takes_whole and isinstance(value, float) and value.is_integer():
            value = int(value)
        values[name] = value
    return values


def _check_json(name: str, text: object, most: int) -> None:
    """Refuse what is not one flat JSON object of small numbers and plain names, such as a path.

    Objects within PEFT's configs name files to read and modules to import (`corda_config`, `megatron_config`); only
    the ranks and scales of single layers (`rank_pattern`, `alpha_pattern`) are taken. A text may be a layer's name,
    not a pattern, which could take for ever to match.

    Args:
        most: the largest rank that the machine gives.

    Raises:
        ConfigError: by the field's name.
    """
    if not isinstance(text, str) or not text.lstrip().startswith("{"):
        raise ConfigError(f"{name} must be JSON text here, which starts with {{: a file cannot be named")
    try:
        values: dict[str, Any] = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as fault:
        raise ConfigError(f"{name} is not JSON: {str(fault)[:160]}") from None
    for key, value in values.items():
        if key in _UNCHECKED:
            continue
        if (key in _NOT_HERE or key.endswith("_config")) and value:
            raise ConfigError(f"{name}: {key} is not taken here")
        of_layers = key.endswith("_pattern") and isinstance(value, dict)
        items = [*value, *value.values()] if of_layers else value if isinstance(value, list) else [value]
        for item in items:
            _check_item(name, key, item, most)


def _check_item(name: str, key: str, item: object, most: int) -> None:
    """One value of a config of PEFT's."""
    if isinstance(item, dict | list) and item:
        raise ConfigError(f"{name}: {key[:40]} may hold no objects here")
    if isinstance(item, int | float) and not isinstance(item, bool):
        largest = most if key not in _LARGE else _MOST
        if not -_MOST <= item <= largest:
            raise ConfigError(f"{name}: {key[:40]} may be at most {largest:,} on this machine")
    if isinstance(item, str) and not _LAYER_NAME.fullmatch(item):
        raise ConfigError(f"{name}: {key[:40]} may hold names of layers here, no patterns or paths")


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON's")
