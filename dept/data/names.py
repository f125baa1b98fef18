"""The words that `--data` knows, and where a run's rows came from. No torch, no datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dept.data import easy_vqa

if TYPE_CHECKING:
    pass


Source = Literal["hub", "sample", "folder", "package"]


DATA_NAMES = ("hub", "sample", easy_vqa.NAME)  # what `data` takes beside paths and the hub ids of own tasks
