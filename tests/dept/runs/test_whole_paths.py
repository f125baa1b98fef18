"""Local paths of a run's settings: made absolute, and told from the names that go before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dept.runs.settings import TrainConfig
from dept.runs.whole_paths import with_whole_paths

NAMES = {
    "task": ("sst2", "mine.yaml"),
    "data": ("easy-vqa", "mini-clip"),
    "backbone": ("t5-base", "mini-clip"),
    "tokenizer": ("mini-t5", "mini-clip"),
    "vision_backbone": ("mini-clip", "mini-t5"),
}


def test_a_known_name_goes_before_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in {name for pair in NAMES.values() for name in pair}:
        (tmp_path / name).mkdir()
    known = TrainConfig.from_dict({setting: name for setting, (name, _) in NAMES.items()})
    assert with_whole_paths(known) == known
    others = with_whole_paths(TrainConfig.from_dict({setting: name for setting, (_, name) in NAMES.items()}))
    assert all(getattr(others, setting) == str(tmp_path / name) for setting, (_, name) in NAMES.items())


def test_a_shape_alone_keeps_its_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mini-clip", "mine"):
        (tmp_path / name).mkdir()
    known = TrainConfig(vision_backbone="random:mini-clip", backbone="random:mine", tokenizer="some/where")
    made = with_whole_paths(known)
    assert made.vision_backbone == "random:mini-clip"
    assert made.backbone == f"random:{tmp_path / 'mine'}"
    assert made.tokenizer == "some/where"
