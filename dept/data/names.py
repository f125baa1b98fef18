"""The names that `--data` takes, and the sources that a run's rows can have. Imports neither torch nor datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dept.data import easy_vqa

if TYPE_CHECKING:
    pass


Source = Literal["hub", "sample", "folder", "package"]


DATA_NAMES = ("hub", "sample", easy_vqa.NAME)  # `data` also takes paths, and hub ids for own tasks
