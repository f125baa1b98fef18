"""Make the stored folders of tests/compat: `python -m tests.compat.make NAME...` (all without a name).

Those in the repository were made with version 0.1.0, commit 5137c9e. They are not made again: files of a later version
are a new generation, stored beside the old one.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from peft import PromptTuningConfig as PeftPromptTuningConfig
from peft import TaskType, get_peft_model

from dept import (
    DeptConfig,
    PromptedModel,
    PromptTuningConfig,
    TrainConfig,
    get_prompted_model,
    list_tasks,
    load_backbone,
    load_task,
)
from dept.cli import main as dept_main
from lab.cli import main as lab_main
from tests.compat.helpers import (
    ADAPTERS,
    CHECKOUT_MARK,
    ROOT_MARK,
    SMALL,
    STORED,
    SWEEP,
    TASK,
    Silent,
    batch_flags,
    job_key_of,
    key_configs,
    last_checkpoint,
    lines,
    logits,
    replace_text,
    run_key_of,
    sweep_flags,
    task_fingerprint,
    train,
)

STEPS, STOPPED_AFTER = 8, 4
CHECKOUT = Path(__file__).resolve().parents[2]


class _Stopper(Silent):
    """A watcher that sends this process the signal of `kill` in the step before the last one."""

    def stepped(self, line: dict[str, Any]) -> None:
        if line["step"] == STOPPED_AFTER - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def make_runs(root: Path) -> None:
    """Two completed and two stopped runs on text, a completed one on images, and how the stopped ones would end."""
    more: dict[str, Any] = {"max_steps": STEPS, "eval_every": 3}
    for method, name in (("dept", "dept"), ("prompt_tuning", "pt")):
        settings = {**SMALL, **more, "task": TASK, "method": method}
        completed, stopped = root / "runs" / f"{name}-completed", root / "runs" / f"{name}-stopped"
        _flags_of_train({**settings, "output_dir": completed})
        train(TrainConfig.from_dict({**settings, "output_dir": str(stopped)}), reporter=_Stopper())
        # The completed run is the uninterrupted one too.
        expected = root / "expected" / f"{name}-stopped"
        expected.mkdir(parents=True)
        shutil.copy(last_checkpoint(completed) / "adapter.safetensors", expected)
        losses = [line["loss"] for line in lines(completed / "metrics.jsonl") if line["split"] == "train"]
        _write(expected / "losses.json", losses)
    vision = {"task": "vqa", "vision_backbone": "mini-clip", "projection_lr": 0.1, "max_train_rows": 64}
    longer = {"max_steps": 60, "eval_every": 20, "batch_size": 8, "output_dir": root / "runs" / "vqa-completed"}
    _flags_of_train({**SMALL, **vision, **longer})
    for name in ("runs", "expected"):
        _store(root, name)


def make_adapters(root: Path) -> None:
    """An adapter of each form that can be read, and the logits that it gives."""
    backbone, tokenizer = load_backbone("mini-t5")
    width = backbone.config.hidden_size
    task = load_task(TASK)
    details: dict[str, Any] = {"task": task.to_dict(), "verbalizer": "digits", "backbone_name": "mini-t5"}
    dept = DeptConfig(num_virtual_tokens=3, rank=2, max_seq_length=12, budget_tokens=10, low_rank_alpha=4.0)
    for config, name in ((dept, "dept"), (PromptTuningConfig(num_virtual_tokens=5), "prompt_tuning")):
        torch.manual_seed(1)
        model = get_prompted_model(backbone, config, tokenizer)
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.add_(0.1 * torch.randn_like(tensor))
        model.save_pretrained(root / "adapters" / name, **details, max_seq_length=12)

    torch.manual_seed(2)
    release = root / "adapters" / "release"
    release.mkdir()
    tensors = {
        "prompt_embeddings": torch.randn(4, width),
        "prompt_encoder.lora_embedding_A": torch.randn(12, 2),
        "prompt_encoder.lora_embedding_B": 0.1 * torch.randn(2, width),
    }
    torch.save(tensors, release / "adapter_model.bin")
    # The keys and values of the authors' released folders, in another size.
    config_of_release = {
        "base_model_name_or_path": "",
        "bias": "none",
        "hidden_size": 768,
        "inference_mode": True,
        "init_lora_weights": True,
        "load_lora_embedding_B": True,
        "load_lora_embeddings": True,
        "lora_alpha": 8,
        "max_length": 12,
        "num_attention_heads": 4,
        "num_layers": 2,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": 4,
        "peft_type": "PROMPT_TUNING_LORA",
        "prompt_tuning_init": "RANDOM",
        "prompt_tuning_init_text": None,
        "r": 2,
        "revision": None,
        "save_lora_embeddings": True,
        "task_type": "SEQ_2_SEQ_LM",
        "token_dim": width,
        "tokenizer_name_or_path": None,
    }
    _write(release / "adapter_config.json", config_of_release)

    torch.manual_seed(3)
    fresh, _ = load_backbone("mini-t5")
    asked = PeftPromptTuningConfig(
        task_type=TaskType.SEQ_2_SEQ_LM, num_virtual_tokens=5, num_transformer_submodules=1, inference_mode=True
    )
    get_peft_model(fresh, asked).save_pretrained(str(root / "adapters" / "peft"))

    found = {
        name: logits(PromptedModel.from_pretrained(backbone, root / "adapters" / name)).tolist() for name in ADAPTERS
    }
    _write(root / "adapters" / "logits.json", found)
    _store(root, "adapters")


def make_bench(root: Path) -> None:
    """The smallest benchmark: DePT beside PT, training and inference, once."""
    flags = "--what train,inference --backbones mini-t5 --virtual-tokens 4 --budget-tokens 8 --max-seq-length 16"
    more = f"--lengths fixed:16 --batch-size 2 --repeats 1 --passes 1 --threads 1 --output-dir {root / 'bench'}"
    _check(lab_main(["bench", *flags.split(), *more.split()]))
    (root / "bench" / "bench.html").unlink()  # with plotly's own script it has megabytes
    _store(root, "bench")


def make_batch(root: Path) -> None:
    """A finished `dept-lab reproduce`: one task, both methods. batch.yaml holds what `batch_flags` leaves open."""
    settings = {name: value for name, value in SMALL.items() if name not in ("backbone", "data")}
    (root / "batch.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    _check(lab_main(batch_flags(root)))
    # Their cells would be formatted and stripped by the repository's own tools; the rest says how they ended.
    for file in (root / "batch" / "notebooks").glob("*.ipynb"):
        book = json.loads(file.read_text(encoding="utf-8"))
        _write(file, {**book, "cells": []})
    for name in ("batch", "batch.yaml"):
        _store(root, name)


def make_sweep(root: Path) -> None:
    """A finished `dept-lab sweep` of two points."""
    more = {"task": "sst2", "max_steps": 4, "eval_every": 2}
    grid = {"settings": {**SMALL, **more}, "choose": {"prompt_lr": [0.1, 0.3]}}
    del grid["settings"]["prompt_lr"]
    (root / SWEEP).write_text(yaml.safe_dump(grid), encoding="utf-8")
    _check(lab_main(sweep_flags(root)))
    for name in ("sweep", SWEEP):
        _store(root, name)


def make_keys(root: Path) -> None:
    """The keys of fixed settings, and the fingerprint of every registered task."""
    rows = [{"sentence1": f"A cat sat on mat {i}.", "sentence2": "A cat sat.", "label": i % 2} for i in range(4)]
    for split in ("train", "validation", "test"):
        (root / "rows" / TASK).mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (root / "rows" / TASK / f"{split}.jsonl").write_text(text, encoding="utf-8")
    os.chdir(root)
    found = {
        name: {"run_key": run_key_of(config), "job_key": job_key_of(config)} for name, config in key_configs().items()
    }
    _write(root / "keys.json", {"keys": found, "tasks": {task.name: task_fingerprint(task) for task in list_tasks()}})
    os.chdir(CHECKOUT)
    for name in ("rows", "keys.json"):
        _store(root, name)


def _flags_of_train(settings: dict[str, Any]) -> None:
    flags = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    _check(dept_main(["train", "--quiet", *flags]))


def _check(code: int) -> None:
    if code:
        raise SystemExit(f"a command ended with {code}")


def _write(file: Path, value: Any) -> None:
    file.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _store(root: Path, name: str) -> None:
    """Move a folder or file to where it is stored, with marks for paths and the name of this machine."""
    source, target = root / name, STORED / name
    if target.exists():
        raise SystemExit(f"{target} is stored already: store a new generation beside it")
    if source.is_dir():
        marks = {str(root): ROOT_MARK, str(CHECKOUT): CHECKOUT_MARK, json.dumps(socket.gethostname()): '"a-machine"'}
        marks[platform.platform()] = platform.system()
        replace_text(source, marks)
    STORED.mkdir(exist_ok=True)
    shutil.move(source, target)


MAKERS: dict[str, Callable[[Path], None]] = {
    "runs": make_runs,
    "adapters": make_adapters,
    "bench": make_bench,
    "batch": make_batch,
    "sweep": make_sweep,
    "keys": make_keys,
}


def main(names: list[str]) -> None:
    """Make the folders of these names."""
    torch.set_num_threads(1)
    for name in names or MAKERS:
        with tempfile.TemporaryDirectory() as temporary:
            root = Path(temporary).resolve()
            os.environ["DEPT_CACHE"] = str(root / "cache")
            MAKERS[name](root)


if __name__ == "__main__":
    main(sys.argv[1:])
