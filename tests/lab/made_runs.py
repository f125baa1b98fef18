"""Run folders as `dept train` leaves them, made up: for tests of what reads them."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import time
import warnings
from pathlib import Path
from typing import Any

import psutil

from dept.backbones.shape import shape_of
from dept.methods.contract import Facts
from dept.methods.registry import DEFAULT_METHOD, method_config
from dept.runs.folder import FINGERPRINTS
from dept.runs.resolve import preset
from dept.runs.settings import TrainConfig
from dept.tasks import load_task
from dept.tasks.splits import counts_from_hub
from lab.paper import numbers as paper

DEAD = {"pid": 2**22 + 1, "pid_started": 1.0, "heartbeat": 1.0}  # a process number that Linux does not give


def made_run(
    folder: Path,
    task: str = "rte",
    method: str = DEFAULT_METHOD,
    *,
    test: float | None = 80.0,
    validation: float = 81.0,
    status: str = "completed",
    data: str = "hub",
    backbone_source: str = "hub",
    steps: int | None = None,
    over_budget: bool = False,
    rows: dict[str, int] | None = None,
    state: dict[str, Any] | None = None,
    error: str | None = None,
    **settings: Any,
) -> Path:
    """A run with the paper's settings, but for those that are given; without a result while it is running."""
    known = load_task(task)
    counts = counts_from_hub(known)
    expected = paper.settings().steps(task, counts["train"])
    groups = method_config(method).groups
    defaults: dict[str, Any] = {
        "max_steps": expected,
        "eval_every": 1000,
        **{group.setting_name: preset("paper")["rates"].get(group.name, 3e-4) for group in groups},
        "max_seq_length": known.max_seq_length,
        "verbalizer": "digits" if known.verbalizers else None,
        "decoding": known.decoding,
        "backbone": "t5-base",
    }
    config = TrainConfig(task=task, method=method, data=data, output_dir=str(folder), **{**defaults, **settings})
    facts = Facts(hidden_size=768, max_seq_length=config.max_seq_length or 1, shape=shape_of("t5-base"))
    with warnings.catch_warnings(action="ignore"):  # more than the budget is what some tests ask for
        whole = config.method_config().resolved(facts)
    config = dataclasses.replace(config, **whole.settings())
    split, positions = whole.budget(facts, config.budget_tokens), whole.footprint(facts).positions
    folder.mkdir(parents=True)
    fingerprints = {"data": f"{task}-{data}", "task": task, "backbone": config.backbone}
    write(folder / "config.json", {**config.to_dict(), FINGERPRINTS: fingerprints})
    own = {"status": status, "host": socket.gethostname(), **DEAD, "step": steps if steps is not None else expected}
    write(folder / "state.json", {**own, "error": error, **(state or {})})
    none = {"prompt_lr": None, "low_rank_lr": None}  # what every line has had since schema 1
    lines = [
        {"step": 1, "split": "train", "loss": 0.7, **none, **{group.setting_name: 1e-4 for group in groups}},
        {"step": 2, "split": "train", "loss": 0.6, **none, **{group.setting_name: 2e-4 for group in groups}},
        {"step": 2, "split": "validation", "metrics": {known.main_metric: validation}},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    if status not in ("queued", "running", "stopping"):
        write(
            folder / "result.json",
            {
                "schema_version": 1,
                "status": status,
                "key": f"key-{folder.name}",
                "task": task,
                "method": method,
                "backbone": {
                    "name": config.backbone,
                    "source": backbone_source,
                    "fingerprint": config.backbone,
                    "parameters": 222_903_552,
                },
                "data": {"source": data, "rows": rows or counts, "fingerprint": f"{task}-{data}"},
                "config": config.to_dict(),
                "trainable_parameters": 76_800,
                "num_virtual_tokens": positions,
                "rank": split.rank if split else 0,
                "input_length": positions + (config.max_seq_length or 0),
                "over_budget": over_budget,
                "left_over": 0,
                "steps": own["step"],
                "best_step": 2,
                "metrics": {
                    "untrained_validation": {known.main_metric: 50.0},
                    "validation": {known.main_metric: validation},
                    "test": None if test is None else {known.main_metric: test},
                },
                "main_metric": known.main_metric,
                "time": {"total_s": 12.0, "test_samples_per_s": 3.0},
                "seed": config.seed,
                "error": error,
            },
        )
    return folder


def running_here() -> dict[str, Any]:
    """The state of a run that this very process is training."""
    return {"pid": os.getpid(), "pid_started": psutil.Process().create_time(), "heartbeat": time.time()}


def write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value), encoding="utf-8")
