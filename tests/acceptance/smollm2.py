"""PT and DePT learn real SST-2 rows on a real pretrained language model, offline."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

from dept import TrainConfig
from dept.runs.folder import read_metrics
from dept.training.loop import train
from tests.acceptance.section import Outcome, Section, shared, table

SEEDS = (0, 1, 2)
STEPS = 120


def settings(method: str, seed: int, output: Path) -> TrainConfig:
    return TrainConfig(
        task="sst2",
        data=str(shared() / "data"),
        backbone="smollm2-135m",
        method=method,
        output_dir=str(output),
        max_steps=STEPS,
        eval_every=STEPS // 2,
        batch_size=8,
        seed=seed,
    )


def measure() -> Outcome:
    rows, passed = [], True
    result: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="dept-acceptance-"))
    try:
        for method in ("prompt_tuning", "dept"):
            for seed in SEEDS:
                output = folder / f"{method}-{seed}"
                result = train(settings(method, seed, output))
                lines = read_metrics(output / "metrics.jsonl")
                losses = [line["label_loss"] for line in lines if line["split"] == "train"]
                validation = [line["metrics"]["accuracy"] for line in lines if line["split"] == "validation"]
                first, last = statistics.mean(losses[:10]), statistics.mean(losses[-10:])
                good = last <= first / 2 and validation[-1] >= validation[0]
                passed = passed and good
                scores = result["metrics"]
                rows.append([
                    method, seed, result["num_virtual_tokens"], result["rank"], f"{result['trainable_parameters']:,}",
                    f"{first:.3f}", f"{last:.3f}", f"{last / first:.2f}",
                    *(f"{value:.1f}" for value in validation), f"{scores['test']['accuracy']:.1f}",
                    f"{result['time']['total_s']:.0f}", "yes" if good else "NO",
                ])  # fmt: skip
                print(rows[-1], flush=True)
    finally:
        shutil.rmtree(folder)
    config = result["config"]
    text = (
        f"`dept train --task sst2 --data ../shared/data --backbone smollm2-135m --max-steps {STEPS} --batch-size 8`: "
        f"{result['data']['rows']['train']} training, {result['data']['rows']['validation']} validation and "
        f"{result['data']['rows']['test']} test rows of SST-2 from a local folder; SmolLM2-135M-Instruct, pretrained "
        f"weights from an installed package; label words; rates {config['prompt_lr']:g} (prompt) and "
        f"{config['low_rank_lr']:g} (A, B), the backbone's defaults. Label loss: mean over 10 steps, without the "
        "end-of-text token.\n\n"
    )
    header = ["method", "seed", "m", "rank", "parameters", "label loss, first 10", "last 10", "ratio",
              "validation at 0", f"at {STEPS // 2}", f"at {STEPS}", "test (best)", "seconds", "met"]  # fmt: skip
    return Outcome(passed, text + table(header, rows))


SECTION = Section(
    "smollm2",
    "SST-2 on SmolLM2-135M",
    "the mean label loss of the last 10 of 120 steps is at most half of the first 10's, and validation ends no lower "
    "than the untrained prompt's, for PT and DePT, 3 seeds.",
    measure,
    by_name=True,
)
