"""The main job in a few minutes: PT and DePT at the same number of trainable parameters on SST-2."""

import dataclasses
import shutil
from pathlib import Path

from rich.console import Console

from dept.backbones import backbone_info
from dept.config import TrainConfig
from dept.errors import DataError, RunError
from dept.progress import Bar
from dept.run import RunFolder
from dept.sources import load_rows
from dept.tasks import load_task
from dept.train import train
from lab.report import as_rich, provenance, write_html
from lab.runs import METHOD_NAMES, Run, read_run

BUDGET_TOKENS = 100
METHODS = ("prompt_tuning", "dept")


def exact_prompt_length(hidden_size: int, max_seq_length: int) -> int:
    """The prompt length nearest the paper's m = 20 whose rank spends the budget to the last parameter."""
    exact = [
        m
        for m in range(1, BUDGET_TOKENS)
        if (BUDGET_TOKENS - m) * hidden_size % (max_seq_length + hidden_size) == 0
    ]
    return min(exact, key=lambda m: abs(m - 20), default=20)


def choose_data(data: str | None, console: Console) -> str:
    """What the user named, else the hub where it answers, else the embedded sample; said plainly."""
    if data is not None:
        return data
    try:
        load_rows(load_task("sst2"), "hub")
    except DataError as fault:
        console.print(f"{fault}", markup=False, soft_wrap=True)
        console.print("Going on with the embedded sample: generated rows, not the benchmark.")
        return "sample"
    return "hub"


def run_demo(
    output_dir: Path, *, data: str | None = None, backbone: str = "smollm2-135m", steps: int = 40
) -> list[Run]:
    """Train both methods one after the other, print the table, write `report.html`.

    A demo that was stopped goes on where it was; a finished one of the same settings is shown again.

    Raises:
        DeptError: the backbone or the data cannot be used, or `output_dir` holds something else.
    """
    console = Console(stderr=True)
    data = choose_data(data, console)
    info = backbone_info(backbone)
    base = TrainConfig(
        task="sst2",
        backbone=backbone,
        data=data,
        batch_size=8,
        max_steps=steps,
        eval_every=max(1, steps // 2),
        max_train_rows=512,
        max_validation_rows=96,
        max_test_rows=96,
        max_seq_length=256,
        budget_tokens=BUDGET_TOKENS,
    )
    virtual_tokens = {"dept": exact_prompt_length(info.hidden_size, 256), "prompt_tuning": BUDGET_TOKENS}
    runs = []
    for method in METHODS:
        console.rule(METHOD_NAMES[method])
        config = dataclasses.replace(
            base,
            method=method,
            num_virtual_tokens=virtual_tokens[method],
            output_dir=str(output_dir / method),
        )
        with Bar(console) as bar:
            result = train(config, resume=_goes_on(config), reporter=bar)
        if result["status"] != "completed":
            raise RunError(f"stopped; the same command goes on with it ({config.output_dir})")
        runs.append(read_run(config.output_dir))
    title = f"PT and DePT on {base.task}, {backbone}"
    report = output_dir / "report.html"
    write_html(runs, report, title)
    out = Console()
    out.print(as_rich(runs, title))
    assert runs[0].result is not None
    out.print(provenance(runs[0].result), markup=False, soft_wrap=True)
    out.print(f"Report: {report}", markup=False, soft_wrap=True)
    return runs


def _goes_on(config: TrainConfig) -> bool:
    """Whether the folder holds this very demo, unfinished or done; another one's folder is cleared."""
    folder = RunFolder(config.output_dir)
    if not folder.config_file.exists():
        return False
    before = read_run(folder.path)
    fixed = ("backbone", "data", "max_steps", "batch_size", "num_virtual_tokens", "max_train_rows")
    if all(before.config[name] == getattr(config, name) for name in fixed):
        return True
    shutil.rmtree(folder.path)
    return False
