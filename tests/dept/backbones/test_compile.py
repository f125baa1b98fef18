"""torch.compile of the training step: the same losses, the same names; one line where there is no compiler."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from dept import TrainConfig
from dept.evaluation.load_run import evaluate_run, load_run
from dept.runs.folder import RunFolder, read_metrics
from dept.training.loop import train
from tests.support import without_dropout

pytestmark = pytest.mark.slow


def losses(config: TrainConfig) -> list[float]:
    return [
        line["loss"] for line in read_metrics(RunFolder(config.output_dir).metrics_file) if line["split"] == "train"
    ]


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning", "ignore:The .grad attribute:UserWarning")
def test_a_compiled_run_is_the_same_run(tiny_t5: Path, tmp_path: Path) -> None:
    """Dropout apart, whose numbers the compiler draws in its own way."""
    plain = TrainConfig(
        task="sst2",
        backbone=str(without_dropout(tiny_t5, tmp_path / "t5")),
        data="sample",
        output_dir=str(tmp_path / "plain"),
        num_virtual_tokens=4,
        budget_tokens=20,
        max_steps=6,
        eval_every=3,
        batch_size=4,
        max_train_rows=24,
        max_validation_rows=8,
        max_test_rows=8,
        prompt_lr=0.05,
        low_rank_lr=0.05,
    )
    compiled = dataclasses.replace(plain, compile=True, output_dir=str(tmp_path / "compiled"))
    results = [train(config) for config in (plain, compiled)]
    assert losses(compiled) == pytest.approx(losses(plain), abs=1e-4)
    assert results[1]["metrics"] == results[0]["metrics"]
    adapters = [load_file(RunFolder(c.output_dir).adapter / "adapter_model.safetensors") for c in (plain, compiled)]
    assert adapters[0].keys() == adapters[1].keys()
    # The adapter knows the backbone by the same fingerprint; an adapter's use is not compiled.
    assert evaluate_run(load_run(compiled.output_dir)).metrics == results[1]["metrics"]["test"]


def test_a_machine_without_a_compiler_says_so(tmp_path: Path) -> None:
    code = (
        "import torch\n"
        "from dept.errors import BackboneError\n"
        "from dept.backbones.placement import compile_backbone\n"
        "try:\n"
        "    compile_backbone(torch.nn.Linear(2, 2))\n"
        "except BackboneError as fault:\n"
        "    print(fault)\n"
    )
    without = {"CXX": str(tmp_path / "none"), "TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **without}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("compile: torch.compile does not work on this machine, it needs a C++ compiler")
    assert len(done.stdout.splitlines()) == 1
