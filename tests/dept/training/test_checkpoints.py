"""Real kills and real processes: a run resumes bit for bit, two processes train as one."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dept.basics.files import read_json
from dept.errors import RunError
from dept.runs.folder import RunFolder, read_metrics
from tests.support import without_dropout

pytestmark = pytest.mark.slow

STEPS = 60


def command(backbone: Path, output: Path, *more: str) -> list[str]:
    settings = {
        "task": "sst2",
        "backbone": backbone,
        "data": "sample",
        "output-dir": output,
        "num-virtual-tokens": 4,
        "budget-tokens": 20,
        "max-seq-length": 64,
        "max-steps": STEPS,
        "eval-every": 7,
        "batch-size": 8,
        "prompt-lr": 0.1,
        "low-rank-lr": 0.01,
        "max-train-rows": 61,
        "max-validation-rows": 16,
        "max-test-rows": 16,
    }
    flags = [str(part) for name, value in settings.items() for part in (f"--{name}", value)]
    return ["train", "--quiet", *flags, *more]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[3])}


def start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dept.cli", *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(arguments: list[str]) -> str:
    process = start(arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def everything(run: Path) -> tuple[bytes, bytes, list[Any]]:
    """The best adapter and the last checkpoint's tensors, byte for byte, and what the metrics say."""
    last = RunFolder(run).checkpoints()[-1]
    lines = [
        (line["step"], line["split"], line.get("loss"), json.dumps(line.get("metrics")))
        for line in read_metrics(run / "metrics.jsonl")
    ]
    adapter = (run / "adapter" / "adapter_model.safetensors").read_bytes()
    return adapter, (last / "adapter.safetensors").read_bytes(), lines


def test_killed_at_random_moments_a_run_ends_bit_identical(tiny_t5: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(command(tiny_t5, whole))
    chance = random.Random(5)
    process = start(command(tiny_t5, killed))
    kills = 0
    # Wait for a step each time (start-up is most of a short run), then kill somewhere in what follows.
    for aim in (0, 9, 20, 33, 48):
        wait_for_step(killed, aim, process)
        time.sleep(chance.uniform(0, 0.15))
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        process.communicate()
        process = start(["train", "--quiet", "--output-dir", str(killed), "--resume"])
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert kills == 5, "the run was over before it could be killed"
    assert everything(killed) == everything(whole)
    assert json.loads((killed / "result.json").read_text())["status"] == "completed"


def wait_for_step(run: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        lines = read_metrics(run / "metrics.jsonl")
        if (run / "config.json").exists() and any(line["step"] >= step for line in lines):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    raise AssertionError(f"no step {step} within two minutes")


def test_a_stop_signal_saves_and_says_how_to_go_on(tiny_t5: Path, tmp_path: Path) -> None:
    process = start(command(tiny_t5, tmp_path / "run"))
    wait_for_step(tmp_path / "run", 10, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    step = int(re.findall(r"stopped at step (\d+)", out)[0])
    assert RunFolder(tmp_path / "run").checkpoints()[-1].name == f"checkpoint-{step}"
    assert "--resume" in out
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("backbone", "method"), [("tiny_t5", "dept"), ("tiny_gpt2", "dept"), ("tiny_t5", "dept+lora")]
)
def test_two_processes_train_as_one(
    tmp_path: Path, backbone: str, method: str, request: pytest.FixtureRequest
) -> None:
    """61 rows in batches of 8: one batch of an epoch has 5 rows, which two processes share unevenly."""
    folder = without_dropout(request.getfixturevalue(backbone), tmp_path / "backbone")
    more = ["--max-steps", "20", "--gradient-accumulation", "2", "--method", method]
    more += ["--lora-rank", "2", "--lora-dropout", "0"] if "lora" in method else []
    finish(command(folder, tmp_path / "one", *more))
    # `--cpu` alone starts several processes through mpirun only; this is torchrun, the processes on the CPU.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    arguments = command(folder, tmp_path / "two", *more)
    done = subprocess.run(
        [*launch, "-m", "dept.cli", *arguments],
        env={**environment(), "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    losses, tensors = [], []
    for run in (tmp_path / "one", tmp_path / "two"):
        losses.append([line["loss"] for line in read_metrics(run / "metrics.jsonl") if line["split"] == "train"])
        tensors.append(load_file(RunFolder(run).checkpoints()[-1] / "adapter.safetensors"))
    assert len(losses[0]) == 20
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    for name in tensors[0]:
        torch.testing.assert_close(tensors[0][name], tensors[1][name], rtol=0, atol=1e-5)
    results = [json.loads((run / "result.json").read_text()) for run in (tmp_path / "one", tmp_path / "two")]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[1]["device"]["processes"] == 2


def test_a_damaged_checkpoint_is_named(tiny_t5: Path, tmp_path: Path) -> None:
    process = start(command(tiny_t5, tmp_path / "run"))
    wait_for_step(tmp_path / "run", 10, process)
    process.kill()
    process.communicate()
    checkpoint = RunFolder(tmp_path / "run").checkpoints()[-1]
    (checkpoint / "optimizer.safetensors").write_bytes(b"\x00" * 40)
    process = start(["train", "--quiet", "--output-dir", str(tmp_path / "run"), "--resume"])
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert checkpoint.name in err and "damaged" in err
    assert "Traceback" not in err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        read_json(tmp_path / "config.json")
