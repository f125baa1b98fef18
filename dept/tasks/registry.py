"""Tasks by name or by file: the shipped ones, and users' own. A task file is data; nothing in it is executed."""

from __future__ import annotations

import functools
from pathlib import Path

import yaml

from dept.errors import TaskError
from dept.tasks.fields import closest
from dept.tasks.task import Task

SHIPPED = Path(__file__).with_name("registered")  # one YAML file per task
# In the order of the paper's tables.
TASK_NAMES = (
    *("mnli", "qqp", "qnli", "sst2", "stsb", "mrpc", "rte", "cola"),
    *("multirc", "boolq", "wic", "wsc", "cb"),
    *("nq", "hotpotqa", "searchqa", "newsqa"),
    *("winogrande", "yelp_polarity", "scitail", "paws"),
    *("vqa", "coco_captions"),
    *("squad", "record"),
)
MAX_FILE_BYTES = 64 * 1024
_MAX_DEPTH = 4


def list_tasks() -> list[Task]:
    """All shipped tasks, in the order of the paper's tables."""
    return [_shipped(name) for name in TASK_NAMES]


def load_task(name_or_path: str | Path) -> Task:
    """Load a shipped task by its name, or a user's own by the path of its YAML file (.yaml, .yml).

    Raises TaskError for an unknown name, a missing or unreadable file, or a wrong field.
    """
    name = str(name_or_path)
    if isinstance(name_or_path, str) and name in TASK_NAMES:
        return _shipped(name)
    if isinstance(name_or_path, Path) or name.endswith((".yaml", ".yml")):
        return _read_task(Path(name_or_path))
    raise TaskError(
        f"unknown task {name[:80]!r} (`dept tasks` lists them, your own is the path of its .yaml file); "
        f"{closest(name[:80], TASK_NAMES)}"
    )


@functools.cache
def _shipped(name: str) -> Task:
    return _read_task(SHIPPED / f"{name}.yaml")


def _read_task(path: Path) -> Task:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise TaskError(f"{path}: cannot be read ({reason}); give the path of a task's .yaml file") from None
    if len(data) > MAX_FILE_BYTES:
        raise TaskError(f"{path}: larger than {MAX_FILE_BYTES // 1024} KiB, which no task file needs")
    return Task.from_dict(_parse(data, path), where=str(path), name=path.stem)


def _parse(data: bytes, path: Path) -> object:
    """Parse YAML without tags and aliases: a task needs none, and aliases can expand to gigabytes."""
    try:
        text = data.decode()
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if getattr(event, "anchor", None) or getattr(event, "tag", None):  # an alias event has an anchor too
                raise TaskError(f"{path}: YAML tags (!), anchors (&) and aliases (*) are not read; quote texts")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise TaskError(f"{path}: nested deeper than a task file is; `dept tasks --new` writes one")
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        problem = " ".join(str(error.problem).split())
        raise TaskError(f"{path}: line {line}: not valid YAML: {problem}; put quotes around texts") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise TaskError(f"{path}: not valid YAML: not UTF-8 text") from None
    except (ValueError, OverflowError) as error:  # PyYAML raises them for 2020-13-45 or 0x_
        raise TaskError(f"{path}: not valid YAML: {error}; put quotes around texts") from None
