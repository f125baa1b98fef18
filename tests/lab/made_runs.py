"""Run folders as `dept train` leaves them, made up: for tests of what reads them."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import psutil

from dept.methods.budget import rank_for
from dept.runs.folder import FINGERPRINTS
from dept.runs.settings import Method, TrainConfig
from dept.tasks import load_task
from dept.tasks.splits import counts_from_hub
from lab.paper import numbers as paper

DEAD = {"pid": 2**22 + 1, "pid_started": 1.0, "heartbeat": 1.0}  # a process number that Linux does not give


def made_run(
    folder: Path,
    task: str = "rte",
    method: Method = "dept",
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
    defaults: dict[str, Any] = {
        "max_steps": expected,
        "eval_every": 1000,
        "num_virtual_tokens": 40 if method == "dept" else 100,
        "prompt_lr": 0.3,
        "low_rank_lr": 5e-4,
        "max_seq_length": known.max_seq_length,
        "verbalizer": "digits" if known.verbalizers else None,
        "decoding": known.decoding,
        "backbone": "t5-base",
    }
    given = {**defaults, **settings}
    if "rank" not in given:
        split = (given["num_virtual_tokens"], 768, given["max_seq_length"], given.get("budget_tokens", 100))
        given["rank"] = rank_for(*split) if method == "dept" else 0
    config = TrainConfig(task=task, method=method, data=data, output_dir=str(folder), **given)
    folder.mkdir(parents=True)
    fingerprints = {"data": f"{task}-{data}", "task": task, "backbone": config.backbone}
    write(folder / "config.json", {**config.to_dict(), FINGERPRINTS: fingerprints})
    own = {"status": status, "host": socket.gethostname(), **DEAD, "step": steps if steps is not None else expected}
    write(folder / "state.json", {**own, "error": error, **(state or {})})
    lines = [
        {"step": 1, "split": "train", "loss": 0.7, "prompt_lr": 0.1, "low_rank_lr": 1e-4},
        {"step": 2, "split": "train", "loss": 0.6, "prompt_lr": 0.2, "low_rank_lr": 2e-4},
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
                "num_virtual_tokens": config.num_virtual_tokens,
                "rank": config.rank,
                "input_length": (config.num_virtual_tokens or 0) + (config.max_seq_length or 0),
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
