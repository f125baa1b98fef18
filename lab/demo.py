"""The main job in a few minutes: PT and DePT at the same number of trainable parameters on SST-2."""

import dataclasses
import hashlib
import json
from pathlib import Path

from rich.console import Console

from dept.backbones import backbone_info
from dept.config import Method, TrainConfig
from dept.errors import DataError, RunError
from dept.known_backbones import whole_path
from dept.progress import Bar
from dept.run import RunFolder
from dept.sources import load_rows
from dept.tasks import load_task
from dept.train import train
from lab.report import as_rich, provenance, write_html
from lab.runs import METHOD_NAMES, Run, read_run

BUDGET_TOKENS = 100
METHODS: tuple[Method, ...] = ("prompt_tuning", "dept")


def exact_prompt_length(hidden_size: int, max_seq_length: int) -> int:
    """The prompt length nearest the paper's m = 20 whose rank spends the budget to the last parameter."""
    exact = [
        m for m in range(1, BUDGET_TOKENS) if (BUDGET_TOKENS - m) * hidden_size % (max_seq_length + hidden_size) == 0
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
        DeptError: the backbone or the data cannot be used.
    """
    console = Console(stderr=True)
    data = choose_data(data, console)
    info = backbone_info(backbone)
    base = TrainConfig(
        task="sst2",
        backbone=whole_path(backbone),
        data=whole_path(data),
        batch_size=8,
        max_steps=steps,
        eval_every=max(1, steps // 2),
        max_train_rows=512,
        max_validation_rows=64,
        max_test_rows=64,
        max_seq_length=256,
        budget_tokens=BUDGET_TOKENS,
    )
    short = exact_prompt_length(info.hidden_size, 256)
    virtual_tokens: dict[Method, int] = {"dept": short, "prompt_tuning": BUDGET_TOKENS}
    runs = []
    for method in METHODS:
        console.rule(METHOD_NAMES[method])
        config = dataclasses.replace(base, method=method, num_virtual_tokens=virtual_tokens[method])
        folder = _folder(output_dir, config)
        config = dataclasses.replace(config, output_dir=str(folder))
        with Bar(console) as bar:
            result = train(config, resume=RunFolder(folder).config_file.exists(), reporter=bar)
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


def _folder(output_dir: Path, config: TrainConfig) -> Path:
    """A folder of its own for each set of settings: the same demo goes on, another one starts beside it."""
    settings = json.dumps(config.to_dict(), sort_keys=True)
    return output_dir / f"{config.method}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}"
