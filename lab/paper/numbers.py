"""Numbers that the paper prints, as data: Tables 1 to 8 and the figures' numbers that its text gives.

DePT: Decomposed Prompt Tuning for Parameter-Efficient Fine-Tuning (Shi & Lipani, ICLR 2024),
https://arxiv.org/abs/2309.05173

The tables are in paper_tables.yaml; a test compares each number with the paper's text. Nothing is read off a picture.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HARDWARE = "one RTX 3090, Hugging Face Trainer (section 3.3)"
BACKBONE = "t5-base"  # the backbone of Tables 1 to 5


@dataclass(frozen=True)
class Score:
    """One number of Tables 1 to 6, in per cent (CIDEr as it is).

    Attributes:
        table: the table's number.
        method: an id of `methods()`.
        benchmark: glue, super_glue, mrqa, other or vision_language.
        task: our name for the task; None for the mean over the benchmark's tasks.
        metric: our name for the metric; None for a mean over several.
        deviation: standard deviation over three seeds, if it is printed.
        shots: training examples in the few-shot tables 4 and 5; None means all.
        parameters: trainable parameters, if they are printed.
        updated_percent: the share of trainable parameters that Table 3 prints instead.
        source: the publication that measured it.
    """

    table: int
    method: str
    backbone: str
    benchmark: str
    task: str | None
    metric: str | None
    value: float
    deviation: float | None
    shots: int | None
    parameters: int | None
    updated_percent: float | None
    source: str

    @property
    def where(self) -> str:
        return f"Table {self.table}"


@dataclass(frozen=True)
class DataCounts:
    """A row of Table 7.

    Attributes:
        source_words, target_words: mean lengths in the training set; None for the vision-language tasks.
        rows: examples of train, validation and test; in hundreds for the vision-language tasks.
        images: of each split, for the vision-language tasks.
    """

    task: str
    kind: str
    rows: Mapping[str, int]
    source_words: float | None
    target_words: float | None
    images: Mapping[str, int] | None


@dataclass(frozen=True)
class Settings:
    """Table 8, with the settings that appendices C and D add in words.

    Attributes:
        prompt_lr, low_rank_lr, num_virtual_tokens: the values of the grid search.
        large_data_rows: a task with more training rows is trained for "up to" `max_steps_large_data` steps.
    """

    max_steps: int
    eval_every: int
    batch_size: int
    prompt_lr: tuple[float, ...]
    low_rank_lr: tuple[float, ...]
    num_virtual_tokens: tuple[int, ...]
    max_seq_length: int
    optimizer: str
    adam_epsilon: float
    adam_betas: tuple[float, float]
    scheduler: str
    weight_decay: float
    warmup_proportion: float
    budget_tokens: int
    max_seq_length_of: Mapping[str, int]
    max_steps_of: Mapping[str, int]
    large_data_rows: int
    max_steps_large_data: int

    def steps(self, task: str, train_rows: int) -> int:
        """The most steps that the paper trains a task for."""
        large = self.max_steps_large_data if train_rows > self.large_data_rows else self.max_steps
        return self.max_steps_of.get(task, large)


def methods() -> Mapping[str, str]:
    """The methods of the paper's tables: id (`dept`, `prompt_tuning`, `lora`, ...) -> name, in Table 1's order."""
    return {method: entry["name"] for method, entry in _tables()["methods"].items()}


def learning(method: str) -> str:
    """The group that Table 1 lists a method in: single-task, multi-task, transfer, multi-task and transfer."""
    return str(_tables()["methods"][method]["learning"])


def benchmarks() -> Mapping[str, tuple[str, ...]]:
    """From each benchmark to the tasks that its printed mean averages, in the tables' order."""
    return {name: tuple(tasks) for name, tasks in _tables()["benchmarks"].items()}


@functools.cache
def scores() -> tuple[Score, ...]:
    """Every number of Tables 1 to 6 except Table 6's speeds (`TABLE_6`), in the tables' order; dashes are left out."""
    tables = _tables()
    benchmark_of = {task: name for name, tasks in benchmarks().items() for task in tasks}
    all_scores = []
    for number, table in tables["tables"].items():
        for row in table["rows"]:
            for column, printed in zip(table["columns"], row["scores"], strict=True):
                if printed is None:
                    continue
                value, deviation = printed if isinstance(printed, list) else (printed, None)
                is_task = column in benchmark_of
                all_scores.append(
                    Score(
                        table=number,
                        method=row["method"],
                        backbone=row.get("backbone", BACKBONE),
                        benchmark=benchmark_of.get(column, column),
                        task=column if is_task else None,
                        metric=tables["metrics"].get(column, "accuracy") if is_task else None,
                        value=float(value),
                        deviation=deviation,
                        shots=row.get("shots"),
                        parameters=row.get("parameters"),
                        updated_percent=row.get("updated_percent"),
                        source=row.get("source") or table["source"],
                    )
                )
    return tuple(all_scores)


def score(method: str, task: str, *, backbone: str = BACKBONE, shots: int | None = None) -> Score | None:
    """The printed score of a method on a task, for example `score("dept", "rte")`; None if there is none.

    Table 5 repeats some of Table 4's numbers: the first one is returned.
    """
    return _first(method, task=task, backbone=backbone, shots=shots)


def mean(method: str, benchmark: str, *, shots: int | None = None) -> Score | None:
    """The mean that the paper prints over a benchmark, for example `mean("dept", "glue")`."""
    return _first(method, task=None, benchmark=benchmark, backbone=BACKBONE, shots=shots)


def _first(method: str, **fields: Any) -> Score | None:
    for candidate in scores():
        if candidate.method == method and all(getattr(candidate, name) == value for name, value in fields.items()):
            return candidate
    return None


def data_counts() -> Mapping[str, DataCounts]:
    """Table 7 by task: the 22 text tasks and the two vision-language ones (squad is not in it)."""
    return {
        task: DataCounts(
            task=task,
            kind=row["type"],
            rows={split: row[split] for split in ("train", "validation", "test")},
            source_words=row.get("source"),
            target_words=row.get("target"),
            images=row.get("images"),
        )
        for task, row in _tables()["data"].items()
    }


@functools.cache
def settings() -> Settings:
    """Table 8."""
    printed = _tables()["settings"]
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in printed.items()}
    return Settings(**values)


@functools.cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("paper_tables.yaml").read_text(encoding="utf-8"))
    return tables


@dataclass(frozen=True)
class Printed:
    """A number as the paper prints it.

    Attributes:
        unit: the unit of the value.
        where: its section or table.
        quote: the words or the table row that contain it.
    """

    value: float
    unit: str
    where: str
    quote: str


@dataclass(frozen=True)
class PrintedSpeed:
    """Inference samples per second of one backbone and method.

    Attributes:
        method: prompt_tuning or dept.
        num_virtual_tokens: m, or l for prompt tuning.
        rank: r; None if the text does not give it.
    """

    backbone: str
    method: str
    num_virtual_tokens: int
    rank: int | None
    samples_per_s: Printed


def _in_text(backbone: str, method: str, m: int, value: float, quote: str) -> PrintedSpeed:
    return PrintedSpeed(backbone, method, m, None, Printed(value, "samples/s", "section 3.3", quote))


# Figure 4's numbers, as far as section 3.3 prints them.
FIGURE_4 = (
    _in_text("t5-small", "prompt_tuning", 100, 167.3, "the vanilla PT evaluates 167.3 samples per second"),
    _in_text("t5-small", "dept", 20, 178.3, "while DEPT ($m = 20$) evaluates 178.3 samples per second"),
    _in_text("t5-large", "prompt_tuning", 100, 21.0, "the vanilla PT evaluates 21.0 samples per second"),
    _in_text("t5-large", "dept", 20, 24.8, "DEPT ($m = 20$) evaluates 24.8 samples per second"),
)

# Figure 3's numbers, which the text rounds: T5, m = 20, both training time and memory.
FIGURE_3_SAVING = Printed(
    25.0,
    "per cent saved of training time and memory, about",
    "section 3.3",
    "using a soft prompt length of 20 in DEPT with the T5 model leads to a better average performance on the GLUE "
    "benchmark to vanilla PT, while improving the efficiency of training and reducing memory utilization by "
    "approximately 25%",
)
OVERALL_SAVING = Printed(
    20.0,
    "per cent saved of training time and memory, more than",
    "section 1",
    "saving more than 20% in both training time and memory costs compared to the vanilla PT",
)

# Figure 5's numbers, from section 3.4: GLUE's mean with T5-base for three ways to set the learning rates.
_GLUE_MEAN = "per cent, mean over GLUE"
FIGURE_5: Mapping[str, Printed] = {
    "one rate, 3e-1": Printed(
        40.8,
        _GLUE_MEAN,
        "section 3.4",
        "the first option obtains an average performance of 40.8 on the GLUE benchmark",
    ),
    "one rate, 5e-4": Printed(
        54.7, _GLUE_MEAN, "section 3.4", "The second option exhibited an average performance of 54.7"
    ),
    "two rates": Printed(
        85.7,
        _GLUE_MEAN,
        "section 3.4",
        "the third option demonstrated a largely improved average performance of 85.7 on the GLUE benchmark",
    ),
}

# LLaMA-2 on SST-2: PT with l = 100, DePT with m = 60 and r = 40 (appendix B).
_ROW_7B = "LLAMA-2-7B	94.48	3.895	94.95	4.857"
_ROW_13B = "LLAMA-2-13B	95.99	2.083	96.01	2.835"


def _table_6(backbone: str, method: str, m: int, rank: int | None, value: float, row: str) -> PrintedSpeed:
    return PrintedSpeed(backbone, method, m, rank, Printed(value, "samples/s", "Table 6", row))


TABLE_6 = (
    _table_6("llama-2-7b", "prompt_tuning", 100, None, 3.895, _ROW_7B),
    _table_6("llama-2-7b", "dept", 60, 40, 4.857, _ROW_7B),
    _table_6("llama-2-13b", "prompt_tuning", 100, None, 2.083, _ROW_13B),
    _table_6("llama-2-13b", "dept", 60, 40, 2.835, _ROW_13B),
)


def printed_speed(backbone: str, method: str, num_virtual_tokens: int) -> PrintedSpeed | None:
    """The printed speed for a backbone's alias, a method and its prompt length; None if there is none."""
    for speed in (*FIGURE_4, *TABLE_6):
        if (speed.backbone, speed.method, speed.num_virtual_tokens) == (backbone, method, num_virtual_tokens):
            return speed
    return None
