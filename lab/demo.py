"""The demo: train PT and DePT on SST-2 with the same number of trainable parameters, in a minute or a few."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from dept.backbones.load import backbone_info
from dept.basics.digest import json_digest
from dept.data.sources import load_rows
from dept.errors import DataError, RunError
from dept.methods.registry import BASELINE, DEFAULT_METHOD, title_of
from dept.runs.folder import RunFolder
from dept.runs.settings import TrainConfig
from dept.runs.whole_paths import with_whole_paths
from dept.tasks import load_task
from dept.training.loop import train
from dept.training.progress import Bar
from lab.runs.compare import as_rich, provenance, write_html
from lab.runs.read import Run, read_run

BUDGET_TOKENS = 100
METHODS: tuple[str, ...] = (BASELINE, DEFAULT_METHOD)
DEFAULT_BACKBONE = "mini-t5"


@dataclass(frozen=True)
class Size:
    """How much a demo trains and evaluates, so that it takes a minute or two on 2 cores."""

    steps: int
    batch_size: int
    evaluation_rows: int


_SMALL, _LARGE = Size(250, 16, 256), Size(40, 8, 64)  # for the embedded backbone, and for real language models


def exact_prompt_length(hidden_size: int, max_seq_length: int) -> int:
    """The prompt length nearest to the paper's m = 20 at which the rank uses every parameter of the budget."""
    exact = [
        m for m in range(1, BUDGET_TOKENS) if (BUDGET_TOKENS - m) * hidden_size % (max_seq_length + hidden_size) == 0
    ]
    return min(exact, key=lambda m: abs(m - 20), default=20)


def choose_data(data: str | None, embedded: bool, console: Console) -> str:
    """The user's choice, else the hub if it answers, else the embedded sample; the choice is printed.

    An embedded backbone was made for the sample's rows, so it gets them by default.
    """
    if data is not None:
        return data
    if embedded:
        return "sample"
    try:
        load_rows(load_task("sst2"), "hub")
    except DataError as fault:
        console.print(f"{fault}", markup=False, soft_wrap=True)
        console.print("Going on with the embedded sample: generated rows, not the benchmark.")
        return "sample"
    return "hub"


def run_demo(
    output_dir: Path, *, data: str | None = None, backbone: str = DEFAULT_BACKBONE, steps: int | None = None
) -> list[Run]:
    """Train both methods one after the other, print the table, write `report.html`.

    Args:
        data: the rows; None chooses them.
        steps: steps of each method; None takes a number that suits the backbone.

    A stopped demo goes on where it was; a finished one of the same settings is shown again.

    Raises:
        DeptError: the backbone or the data cannot be used.
    """
    console = Console(stderr=True)
    info = backbone_info(backbone)
    embedded = info.source == "embedded"
    data = choose_data(data, embedded, console)
    size = _SMALL if embedded else _LARGE
    steps = steps or size.steps
    shared_settings = TrainConfig(
        task="sst2",
        backbone=backbone,
        data=data,
        batch_size=size.batch_size,
        max_steps=steps,
        eval_every=max(1, steps // 2),
        max_train_rows=512,
        max_validation_rows=size.evaluation_rows,
        max_test_rows=size.evaluation_rows,
        max_seq_length=256,
        budget_tokens=BUDGET_TOKENS,
    )
    base = with_whole_paths(shared_settings)
    short = exact_prompt_length(info.hidden_size, 256)
    virtual_tokens: dict[str, int] = {DEFAULT_METHOD: short, BASELINE: BUDGET_TOKENS}
    runs = []
    for method in METHODS:
        console.rule(title_of(method))
        config = dataclasses.replace(base, method=method, num_virtual_tokens=virtual_tokens[method])
        folder = _folder(output_dir, config)
        config = dataclasses.replace(config, output_dir=str(folder))
        with Bar(console) as bar:
            result = train(config, resume=RunFolder(folder).config_file.exists(), reporter=bar)
        if result["status"] != "completed":
            raise RunError(f"stopped; the same command goes on with it ({config.output_dir})")
        runs.append(read_run(config.output_dir))
    title = f"{' and '.join(map(title_of, METHODS))} on {base.task}, {backbone}"
    report = output_dir / "report.html"
    write_html(runs, report, title)
    out = Console()
    out.print(as_rich(runs, title))
    assert runs[0].result is not None
    out.print(provenance(runs[0].result), markup=False, soft_wrap=True)
    out.print(f"Report: {report}", markup=False, soft_wrap=True)
    return runs


def _folder(output_dir: Path, config: TrainConfig) -> Path:
    """The folder of a run, one for each set of settings: the same demo goes on, another starts in its own folder."""
    return output_dir / f"{config.method}-{json_digest(config.to_dict())[:8]}"
