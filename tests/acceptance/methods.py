"""The other methods of the registry on mini-t5, beside DePT and PT: three tasks, three seeds."""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept import TrainConfig, train
from dept.methods.registry import title_of
from lab.basics.machine import cores
from tests.acceptance.mini_rows import ROWS, write_rows
from tests.acceptance.mini_t5 import BUDGET_TOKENS, SHORT_PROMPT, STEPS, constant_and_chance, one_thread
from tests.acceptance.section import Outcome, Section, table

TASKS = ("sst2", "qnli", "nq")
SEEDS = (0, 1, 2)
# What each method is asked for beside its defaults: prompts as long as those of the other tables.
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "prompt_tuning": {},
    "dept": {"num_virtual_tokens": SHORT_PROMPT},
    "adept": {"num_virtual_tokens": SHORT_PROMPT},
    "lopt": {"num_virtual_tokens": BUDGET_TOKENS, "lopt_rank": 10},
    "bitfit": {},
    "lora": {"lora_rank": 8, "lora_alpha": 8.0},
    "dept+lora": {"num_virtual_tokens": SHORT_PROMPT, "lora_rank": 8, "lora_alpha": 8.0},
}
SUCCESSORS = ("adept", "lopt")


@dataclass(frozen=True)
class Job:
    """One run."""

    task: str
    method: str
    seed: int
    data: str


@dataclass(frozen=True)
class Score:
    """Test score of the best adapter by validation, in per cent; seconds of training; trained parameters."""

    job: Job
    test: float
    seconds: float
    parameters: int


def run(job: Job) -> Score:
    with tempfile.TemporaryDirectory(prefix="dept-acceptance-") as folder:
        config = TrainConfig(
            task=job.task, method=job.method, backbone="mini-t5", data=job.data, output_dir=str(Path(folder) / "run"),
            budget_tokens=BUDGET_TOKENS, max_steps=STEPS, eval_every=STEPS // 2, seed=job.seed,
            max_train_rows=ROWS["train"], max_validation_rows=ROWS["validation"], max_test_rows=ROWS["test"],
            **SETTINGS[job.method],
        )  # fmt: skip
        result = train(config)
    test = result["metrics"]["test"][result["main_metric"]]
    return Score(job, test, result["time"]["total_s"], result["trainable_parameters"])


def measure() -> Outcome:
    with tempfile.TemporaryDirectory(prefix="dept-acceptance-") as folder:
        write_rows(Path(folder))
        jobs = [Job(task, method, seed, folder) for method in SETTINGS for task in TASKS for seed in SEEDS]
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(cores(), mp_context=spawn, initializer=one_thread) as pool:
            scores = []
            for score in pool.map(run, jobs):
                scores.append(score)
                job = score.job
                print(f"{len(scores)}/{len(jobs)} {job.task} {job.method} {job.seed}: {score.test:.1f}", flush=True)
        constants = {task: constant_and_chance(task, folder) for task in TASKS}
    lines, passed = [], True
    for method in SETTINGS:
        own = [score for score in scores if score.job.method == method]
        cells = []
        for task in TASKS:
            tests = [score.test for score in own if score.job.task == task]
            cells.append(" / ".join(f"{value:.1f}" for value in tests))
            if method in SUCCESSORS:
                passed = passed and statistics.fmean(tests) > constants[task][1]
        seconds = statistics.median(score.seconds for score in own)
        lines.append((title_of(method), f"{own[0].parameters:,}", *cells, f"{seconds:.0f}"))
    bars = ("a constant answer (chance stays below)", "-", *(f"{c:.1f} ({b:.1f})" for c, b in constants.values()), "-")
    note = (
        f"mini-t5 (embedded), generated sample rows of words and templates that its training never saw, {STEPS} steps "
        f"of batch 16, l = {BUDGET_TOKENS}, default rates; test scores in per cent, seeds 0, 1 and 2; two at a time. "
        "LoRA and DePT + LoRA train about sixteen times the parameters of the prompts, BitFit nine times."
    )
    header = ("method", "parameters", *TASKS, "seconds, median")
    return Outcome(passed, f"{note}\n\n{table(header, [bars, *lines])}")


SECTION = Section(
    "methods",
    "ADePT, LoPT, BitFit, LoRA and DePT + LoRA beside DePT and PT on mini-t5",
    "three tasks, three seeds; ADePT's and LoPT's means lie above chance on each task.",
    measure,
)
