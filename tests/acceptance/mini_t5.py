"""mini-t5: what DePT and PT find on it, on words and templates that pretraining never saw, beside the controls."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept import TrainConfig
from dept.metrics import compute_metrics
from dept.sources import load_rows
from dept.tasks import load_task
from dept.tasks.sample import SAMPLE_TASKS, sample_rows
from dept.train import train
from tests.acceptance.section import Outcome, Section, shared, table

TASKS = tuple(name for name in SAMPLE_TASKS if name not in ("squad", "record"))
REAL_TASKS = ("sst2", "cola", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "boolq", "wic")
METHODS = ("dept", "prompt_tuning")
CONTROLS = ("shuffled labels", "random weights")
SEEDS = (0, 1, 2)
STEPS = 100
BUDGET_TOKENS, SHORT_PROMPT = 20, 10  # l of PT; m of DePT, whose low-rank pair has the rest of l's parameters
MOST_SECONDS = 60.0  # of training
ROWS = {"train": 1_600, "validation": 96, "test": 400}
ASKED_TASKS, ASKED_POINTS = 14, 15.0
DRAWS = 400  # resamples behind each chance interval


@dataclass(frozen=True)
class Job:
    """One run. column: where its test score goes in the table."""

    task: str
    column: str
    method: str
    seed: int
    data: str
    backbone: str = "mini-t5"


@dataclass(frozen=True)
class Score:
    """Test score of the best adapter by validation; untrained: of the same prompt before training."""

    job: Job
    test: float
    untrained: float
    seconds: float


def write_rows(folder: Path, *, tasks: Sequence[str] = TASKS, shuffled: bool = False) -> None:
    """A data folder of sample rows: validation and test of their own words and templates only.

    shuffled: labels (answers) change places, so that they say nothing of their rows: those of training, and those of
    validation, which chooses the step that is kept. The test keeps its own.
    """
    for name in tasks:
        target = folder / name
        target.mkdir(parents=True)
        for split, count in ROWS.items():
            rows = sample_rows(name, split, count, seed=1, own_only=split != "train")
            if shuffled and split != "test":
                rows = with_shuffled_labels(name, rows)
            (target / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def with_shuffled_labels(task: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    column = load_task(task).label_column
    values = [row[column] for row in rows]
    random.Random(0).shuffle(values)
    return [{**row, column: value} for row, value in zip(rows, values, strict=True)]


def settings(job: Job, output: Path) -> TrainConfig:
    return TrainConfig(
        task=job.task,
        data=job.data,
        backbone=job.backbone,
        tokenizer="mini-t5",
        method=job.method,  # type: ignore[arg-type]
        output_dir=str(output),
        budget_tokens=BUDGET_TOKENS,
        num_virtual_tokens=SHORT_PROMPT if job.method == "dept" else None,
        max_steps=STEPS,
        eval_every=STEPS // 2,
        seed=job.seed,
        max_train_rows=ROWS["train"],
        max_validation_rows=ROWS["validation"],
        max_test_rows=ROWS["test"],
    )


def run(job: Job) -> Score:
    with tempfile.TemporaryDirectory(prefix="dept-acceptance-") as folder:
        result = train(settings(job, Path(folder) / "run"))
    metric = result["main_metric"]
    scores = result["metrics"]
    return Score(job, scores["test"][metric], scores["untrained_validation"][metric], result["time"]["total_s"])


def constant_and_chance(task_name: str, data: str) -> tuple[float, float]:
    """(the best constant answer's test score, the score that 97.5% of what is chance stay below).

    Chance is the greater of two: the constant answer on rows drawn again with replacement, and the test rows' own
    answers given to each other. STS-B and the QA tasks have no constant answer that scores: it counts as 0.
    """
    task = load_task(task_name)
    rows = load_rows(task, data).limited({"test": ROWS["test"]}).splits["test"]
    answers = [example.answers for row in rows for example in task.examples(row)]
    labels = task.verbalizer("digits")

    def score(predictions: Sequence[str], truth: Sequence[tuple[str, ...]]) -> float:
        return compute_metrics([task.main_metric], predictions, truth, labels=labels)[task.main_metric]

    best = max(labels, key=lambda label: score([label] * len(answers), answers)) if labels else None
    constant = score([best] * len(answers), answers) if best is not None else 0.0
    draw = random.Random(0)
    found = []
    for _ in range(DRAWS):
        given = draw.sample(answers, len(answers))
        found.append(score([texts[0] for texts in given], answers))
        if best is not None:
            found.append(score([best] * len(answers), draw.choices(answers, k=len(answers))))
    if best is None:
        return constant, quantile(found)
    return constant, max(quantile(found[0::2]), quantile(found[1::2]))


def quantile(values: Sequence[float]) -> float:
    return sorted(values)[round(0.975 * (len(values) - 1))]


def measure() -> Outcome:
    with tempfile.TemporaryDirectory(prefix="dept-acceptance-") as made:
        data, shuffled = Path(made) / "rows", Path(made) / "shuffled"
        write_rows(data)
        write_rows(shuffled, shuffled=True)
        jobs = [
            *(Job(task, method, method, seed, str(data)) for task in TASKS for method in METHODS for seed in SEEDS),
            *(Job(task, "shuffled labels", "dept", 0, str(shuffled)) for task in TASKS),
            *(Job(task, "random weights", "dept", 0, str(data), "random:mini-t5") for task in TASKS),
        ]
        scores = in_processes(run, jobs)
        chance = {task: constant_and_chance(task, str(data)) for task in TASKS}
    sample, passed = sample_table(scores, chance)
    real_data = str(shared() / "data")
    real = in_processes(run, [Job(task, method, method, 0, real_data) for task in REAL_TASKS for method in METHODS])
    chance = {task: constant_and_chance(task, real_data) for task in REAL_TASKS}
    return Outcome(passed, f"{sample}\n\n{real_table(real, chance)}")


def in_processes(work: Callable[[Job], Score], jobs: Sequence[Job]) -> list[Score]:
    """One process for each core, each on one thread; every score is shown as it comes."""
    workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = []
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=one_thread) as pool:
        for score in pool.map(work, jobs):
            found.append(score)
            print(f"{len(found)}/{len(jobs)} {score.job.task} {score.job.column} {score.job.seed}: "
                  f"{score.untrained:.1f} -> {score.test:.1f} in {score.seconds:.0f} s", flush=True)  # fmt: skip
    return found


def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def sample_table(scores: Sequence[Score], chance: Mapping[str, tuple[float, float]]) -> tuple[str, bool]:
    rows, above, gains = [], [], []
    for task in TASKS:
        of = {column: [score for score in scores if (score.job.task, score.job.column) == (task, column)]
              for column in (*METHODS, *CONTROLS)}  # fmt: skip
        constant, bar = chance[task]
        mean = statistics.mean(score.test for score in of["dept"])
        above.append(mean > bar)
        gains.append(mean - constant)
        rows.append([
            task, load_task(task).main_metric, f"{constant:.1f}", f"{bar:.1f}",
            shown([score.untrained for score in of["dept"]]), shown([score.test for score in of["dept"]]),
            shown([score.test for score in of["prompt_tuning"]]), *(shown([score.test for score in of[column]])
            for column in CONTROLS), "yes" if above[-1] else "no",
        ])  # fmt: skip
    slowest = max(score.seconds for score in scores)
    passed = sum(above) >= ASKED_TASKS and statistics.mean(gains) >= ASKED_POINTS and slowest <= MOST_SECONDS
    text = (
        f"Generated rows (not the benchmarks): {ROWS['train']} for training; {ROWS['validation']} for validation and "
        f"{ROWS['test']} for test are of words and templates that pretraining never saw. {STEPS} steps of batch 16, "
        f"a budget of {BUDGET_TOKENS} prompt tokens (DePT: {SHORT_PROMPT} and a low-rank pair), the backbone's "
        f"default rates; the slowest run took {slowest:.0f} s, evaluation included. Test scores of the "
        "best adapter by validation, seeds 0, 1, 2 (controls: DePT, seed 0; labels are shuffled in training and "
        "validation). Constant: the best answer that is always "
        "the same. Chance: what 97.5% of resampled constant answers and of exchanged answers stay below; beyond "
        "chance: the mean of DePT's seeds is above it. Untrained: the prompt before training, on validation.\n\n"
    )
    header = ["task", "metric", "constant", "chance", "untrained", "DePT", "PT", *CONTROLS, "beyond chance"]
    found = (
        f"\n\nDePT is beyond chance on {sum(above)} of {len(TASKS)} tasks, and {statistics.mean(gains):.1f} points "
        "above the constant answer on average."
    )
    return text + table(header, rows) + found, passed


def real_table(scores: Sequence[Score], chance: Mapping[str, tuple[float, float]]) -> str:
    rows = []
    for task in REAL_TASKS:
        constant, bar = chance[task]
        tests = {score.job.column: f"{score.test:.1f}" for score in scores if score.job.task == task}
        rows.append([task, load_task(task).main_metric, f"{constant:.1f}", f"{bar:.1f}",
                     *(tests[method] for method in METHODS)])  # fmt: skip
    text = (
        "Real rows of the benchmarks from a local folder, up to the same numbers, the same settings, seed 0, without "
        "a threshold: what little of a real task a model of this size has.\n\n"
    )
    return text + table(["task", "metric", "constant", "chance", "DePT", "PT"], rows)


def shown(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.1f}" for value in values)


SECTION = Section(
    "mini_t5",
    "DePT and PT on mini-t5",
    f"DePT beyond chance on at least {ASKED_TASKS} of 21 tasks and {ASKED_POINTS:g} points above the constant answer "
    f"on average, 3 seeds, at most {MOST_SECONDS:.0f} seconds a run.",
    measure,
)
