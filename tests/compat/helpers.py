"""What the tests of stored files share: where the files are, their copies, and the few inner names that are needed.

The inner names stand at the top of this file and nowhere else under tests/compat, so that a module can move in one
place. Everything else goes through `dept`, `dept.cli` and `lab.cli`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dept import PromptedModel, TrainConfig
from dept.runs.folder import FINGERPRINTS
from dept.runs.key import run_key
from dept.tasks import Task
from dept.training.loop import Silent, train
from lab.bench.read import read_bench
from lab.bench.report import write_report
from lab.jobs.job import job_key
from lab.runs.read import read_run

__all__ = ["FINGERPRINTS", "Silent", "read_bench", "read_run", "train", "write_report"]

STORED = Path(__file__).parent / "stored"
# Stand for absolute paths of the machine on which the files were made.
ROOT_MARK, CHECKOUT_MARK = "@ROOT@", "@CHECKOUT@"
TEXT_SUFFIXES = (".json", ".jsonl", ".ipynb", ".md", ".html", ".log", ".yaml")
COMPLETED = ("dept-completed", "pt-completed", "vqa-completed")
STOPPED = ("dept-stopped", "pt-stopped")
ADAPTERS = ("dept", "prompt_tuning", "peft", "release")
TASK = "rte"  # of the text runs and of the batch
SWEEP = "sweep.yaml"
# What `run_key` is given beside the settings; any fixed texts do.
FIXED_FINGERPRINTS = {"data": "d" * 64, "task": "e" * 64, "backbone": "f" * 64}
# Every run here is as small as these settings make it.
SMALL: Mapping[str, Any] = {
    "backbone": "mini-t5",
    "data": "sample",
    "num_virtual_tokens": 4,
    "budget_tokens": 8,
    "max_seq_length": 32,
    "batch_size": 4,
    "prompt_lr": 0.1,
    "low_rank_lr": 0.01,
    "max_train_rows": 24,
    "max_validation_rows": 8,
    "max_test_rows": 4,
}


def replace_text(folder: Path, texts: Mapping[str, str]) -> None:
    """Replace texts in every text file below a folder."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix in TEXT_SUFFIXES:
            before = file.read_text(encoding="utf-8")
            after = before
            for old, new in texts.items():
                after = after.replace(old, new)
            if after != before:
                file.write_text(after, encoding="utf-8")


def copied(name: str, tmp_path: Path) -> Path:
    """A copy of one stored folder, with the paths that it would hold if it had been made in `tmp_path`."""
    copy = tmp_path / Path(name).name
    shutil.copytree(STORED / name, copy)
    checkout = Path(__file__).resolve().parents[2]
    replace_text(copy, {ROOT_MARK: str(tmp_path.resolve()), CHECKOUT_MARK: str(checkout)})
    return copy


def read(file: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(file.read_text(encoding="utf-8"))


def lines(file: Path) -> list[dict[str, Any]]:
    """The objects of a file that holds one a line."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Hash and time of change of every file below a folder; lock files are left out."""
    return {
        str(file.relative_to(folder)): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.endswith(".lock")
    }


def last_checkpoint(run: Path) -> Path:
    """The latest checkpoint of a run."""
    return max(run.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))


@torch.no_grad()
def logits(model: PromptedModel) -> Tensor:
    """The logits of a fixed batch of two rows, one of them padded; of the vocabulary the first 16 tokens."""
    input_ids = torch.tensor([[50, 61, 72, 83, 94, 105, 1], [116, 127, 138, 1, 0, 0, 0]])
    labels = torch.tensor([[200, 1], [201, 1]])
    output = model.eval()(input_ids=input_ids, attention_mask=(input_ids != 0).long(), labels=labels)
    values: Tensor = output.logits[..., :16]
    return values


def batch_flags(root: Path) -> list[str]:
    """The command whose batch is stored, for a folder that holds batch.yaml."""
    asked = f"--preset smoke --tasks {TASK} --backbone mini-t5 --data sample --workers 1 --cpus-per-job 1"
    return ["reproduce", *asked.split(), "--config", str(root / "batch.yaml"), "--output-dir", str(root / "batch")]


def sweep_flags(root: Path) -> list[str]:
    """The command whose sweep is stored, for a folder that holds its YAML."""
    return ["sweep", str(root / SWEEP), "--yes", "--workers", "1", "--output-dir", str(root / "sweep")]


def run_key_of(config: TrainConfig, fingerprints: Mapping[str, str] = FIXED_FINGERPRINTS) -> str:
    """The key of a run of these settings."""
    return run_key(config.to_dict(), fingerprints)


def job_key_of(config: TrainConfig) -> str:
    """The key of a job that asks for these settings; a relative path in them is taken as it is."""
    return job_key(config)


def task_fingerprint(task: Task) -> str:
    """The "task" fingerprint that a run's config.json holds."""
    return hashlib.sha256(json.dumps(task.to_dict(), sort_keys=True).encode()).hexdigest()


def key_configs() -> dict[str, TrainConfig]:
    """The settings whose keys are stored. The path of the rows is relative to the stored folder."""
    many = {
        "task": "rte",
        "backbone": "t5-base",
        "num_virtual_tokens": 60,
        "rank": 30,
        "budget_tokens": 120,
        "max_seq_length": 128,
        "low_rank_alpha": None,
        "low_rank_init": "gaussian",
        "prompt_init": "text",
        "prompt_init_text": "does the second sentence follow",
        "prompt_lr": 0.4,
        "low_rank_lr": 1e-4,
        "max_steps": 500,
        "batch_size": 32,
        "gradient_accumulation": 4,
        "eval_every": 50,
        "eval_batch_size": 128,
        "early_stopping": 3,
        "warmup_proportion": 0.1,
        "weight_decay": 0.0,
        "adam_epsilon": 1e-8,
        "adam_beta1": 0.8,
        "adam_beta2": 0.999,
        "max_grad_norm": 0.0,
        "seed": 1024,
        "verbalizer": "words",
        "decoding": "generate",
        "max_train_rows": 1000,
        "max_validation_rows": 100,
        "max_test_rows": 200,
        "dtype": "bfloat16",
        "mixed_precision": "bf16",
        "gradient_checkpointing": True,
        "quantize": "nf4",
        "compile": True,
    }
    vision = {"task": "vqa", "backbone": "mini-t5", "vision_backbone": "mini-clip", "projection_lr": 0.002}
    settings: dict[str, dict[str, Any]] = {
        "defaults": {},
        "dept, many settings": many,
        "prompt tuning": {"method": "prompt_tuning", "task": "mrpc", "num_virtual_tokens": 20},
        "vqa": vision,
        "preset paper": {"preset": "paper", "task": "mnli"},
        "sample data": {**SMALL, "task": "sst2"},
        "folder data": {**SMALL, "task": "rte", "data": "rows"},
    }
    return {name: TrainConfig.from_dict(values) for name, values in settings.items()}
