from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dept.errors import ConfigError
from dept.methods.registry import method_config, method_names
from dept.runs.settings import TrainConfig
from lab.service.limits import Limits

RANKS = [
    (method, name)
    for method in method_names()
    for name in method_config(method).own_settings()
    if name.endswith("rank")
]


def test_a_larger_run_than_the_machine_gives_is_refused_by_the_fields_name() -> None:
    limits = Limits(steps=100, batch_size=8, rank=20)
    limits.check(TrainConfig(max_steps=100, batch_size=8, eval_batch_size=8, rank=20))
    fields: list[dict[str, Any]] = [
        {"max_steps": 101},
        {"batch_size": 9},
        {"rank": 21},
        {"num_virtual_tokens": 301, "rank": 1},
        *({name: 21, "method": method} for method, name in RANKS),
    ]
    for field in fields:
        with pytest.raises(ConfigError, match=next(iter(field))):
            limits.check(TrainConfig(**{"eval_batch_size": 8, "batch_size": 8, **field}))


def test_limits_come_from_a_file_and_check_themselves(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("running: 2\nminutes: 5\n")
    assert Limits.from_file(file) == Limits(running=2, minutes=5)
    for text, message in (
        ("runing: 2", "unknown limit 'runing'"),
        ("running: 0", "running"),
        ("steps: many", "steps"),
    ):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            Limits.from_file(file)
