"""A stored run that was stopped is resumed to its end, which is that of the run that was never stopped.

Another processor rounds differently, so numbers are compared with a tolerance. That a run resumed on one machine is
equal bit for bit is a test of `tests/dept/test_resume.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dept.cli import main
from tests.compat.helpers import STOPPED, STORED, copied, last_checkpoint, lines, read

STEPS = 8  # of the whole run; half of them are stored


@pytest.mark.parametrize("name", STOPPED)
def test_a_stopped_run_is_resumed_to_its_end(name: str, tmp_path: Path) -> None:
    run = copied(f"runs/{name}", tmp_path)
    first = [line for line in lines(run / "metrics.jsonl") if line["split"] == "train"]
    assert main(["train", "--resume", "--quiet", "--output-dir", str(run)]) == 0

    result = read(run / "result.json")
    assert (result["status"], result["steps"]) == ("completed", STEPS)
    assert result["metrics"]["test"] is not None
    assert read(run / "state.json")["status"] == "completed"
    assert last_checkpoint(run).name == f"checkpoint-{STEPS}"

    train = [line for line in lines(run / "metrics.jsonl") if line["split"] == "train"]
    assert train[: len(first)] == first, "what was measured before stays"
    assert [line["step"] for line in train] == list(range(1, STEPS + 1))
    assert all(set(line) == set(first[0]) for line in train), "the columns stay"
    expected = STORED / "expected" / name
    assert [line["loss"] for line in train] == pytest.approx(read(expected / "losses.json"), rel=1e-3)

    found, wanted = (load_file(folder / "adapter.safetensors") for folder in (last_checkpoint(run), expected))
    assert set(found) == set(wanted)
    for tensor, value in wanted.items():
        torch.testing.assert_close(found[tensor], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", STOPPED)
def test_settings_that_differ_are_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = copied(f"runs/{name}", tmp_path)
    assert main(["train", "--resume", "--quiet", "--output-dir", str(run), "--batch-size", "2"]) == 2
    assert "batch_size was 4, now 2" in capsys.readouterr().err
