"""mini-t5: what DePT and PT find on it, on words and templates that pretraining never saw, beside the controls."""

from __future__ import annotations

import multiprocessing
import random
import statistics
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dept import TrainConfig
from dept.data.sources import load_rows
from dept.tasks import load_task
from dept.training.loop import train
from lab.basics.machine import cores
from tests.acceptance.mini_rows import MAJORITY, ROWS, TASKS, best_constant, main_score, write_rows
from tests.acceptance.section import Outcome, Section, shared, table

REAL_TASKS = ("sst2", "cola", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "boolq", "wic")
METHODS = ("dept", "prompt_tuning")
CONTROLS = ("shuffled labels", "labels kept", "shuffled, no majority", "random weights")
SEEDS = (0, 1, 2)
STEPS = 100
# On shuffled labels, on shuffled answers: a prompt that leaves its first answer wakes some skill, and then loses it.
LABEL_STEPS, ANSWER_STEPS = 500, 800
BUDGET_TOKENS, SHORT_PROMPT = 20, 10  # l of PT; m of DePT, whose low-rank pair has the rest of l's parameters
MOST_SECONDS = 60.0  # of training
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
    steps: int = STEPS


@dataclass(frozen=True)
class Score:
    """Test score of the best adapter by validation; untrained: of the same prompt before training."""

    job: Job
    test: float
    untrained: float
    seconds: float


def settings(job: Job, output: Path) -> TrainConfig:
    return TrainConfig(
        task=job.task,
        data=job.data,
        backbone=job.backbone,
        tokenizer="mini-t5",
        method=job.method,
        output_dir=str(output),
        budget_tokens=BUDGET_TOKENS,
        num_virtual_tokens=SHORT_PROMPT if job.method == "dept" else None,
        max_steps=job.steps,
        eval_every=job.steps // 2,
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
    best = best_constant(task, answers) if task.labels is not None else None
    score = partial(main_score, task)
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
        data, majority = Path(made) / "rows", Path(made) / "majority"
        write_rows(data)
        write_rows(majority, majority=True)
        shuffled, balanced = ([Path(made) / f"{name}-{seed}" for seed in SEEDS] for name in ("shuffled", "balanced"))
        for seed in SEEDS:
            write_rows(shuffled[seed], majority=True, shuffle=seed)
            write_rows(balanced[seed], shuffle=seed)
        jobs = [
            *(Job(task, method, method, seed, str(data)) for task in TASKS for method in METHODS for seed in SEEDS),
            *(Job(task, "shuffled labels", "dept", seed, str(shuffled[seed]), steps=control_steps(task))
              for task in TASKS for seed in control_seeds(task)),
            *(Job(task, "labels kept", "dept", 0, str(majority), steps=control_steps(task))
              for task in TASKS if load_task(task).labels is not None),
            *(Job(task, "shuffled, no majority", "dept", seed, str(balanced[seed])) for task in TASKS
              for seed in SEEDS),
            *(Job(task, "random weights", "dept", 0, str(data), "random:mini-t5") for task in TASKS),
        ]  # fmt: skip
        scores = in_processes(run, jobs)
        chance = {task: constant_and_chance(task, str(data)) for task in TASKS}
    sample, passed = sample_table(scores, chance)
    real_data = str(shared() / "data")
    real = in_processes(run, [Job(task, method, method, 0, real_data) for task in REAL_TASKS for method in METHODS])
    chance = {task: constant_and_chance(task, real_data) for task in REAL_TASKS}
    return Outcome(passed, f"{sample}\n\n{real_table(real, chance)}")


def control_seeds(task: str) -> Sequence[int]:
    """Of the runs on shuffled labels; those on shuffled answers take minutes each."""
    return SEEDS[:1] if load_task(task).labels is None else SEEDS


def control_steps(task: str) -> int:
    """Of training on shuffled labels, and on the same rows beside them."""
    return ANSWER_STEPS if load_task(task).labels is None else LABEL_STEPS


def in_processes(work: Callable[[Job], Score], jobs: Sequence[Job]) -> list[Score]:
    """One process for each core, each on one thread; every score is shown as it comes."""
    found = []
    with ProcessPoolExecutor(cores(), mp_context=multiprocessing.get_context("spawn"), initializer=one_thread) as pool:
        for score in pool.map(work, jobs):
            found.append(score)
            print(f"{len(found)}/{len(jobs)} {score.job.task} {score.job.column} {score.job.seed}: "
                  f"{score.untrained:.1f} -> {score.test:.1f} in {score.seconds:.0f} s", flush=True)  # fmt: skip
    return found


def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def sample_table(scores: Sequence[Score], chance: Mapping[str, tuple[float, float]]) -> tuple[str, bool]:
    columns = (*METHODS, *CONTROLS)
    tests = {(task, column): [score.test for score in scores if (score.job.task, score.job.column) == (task, column)]
             for task in TASKS for column in columns}  # fmt: skip
    means = {place: statistics.mean(found) for place, found in tests.items() if found}
    beyond = {column: [task for task in TASKS if means.get((task, column), 0.0) > chance[task][1]]
              for column in columns}  # fmt: skip
    silent = {task for task in beyond["dept"] if tests[task, "labels kept"] and task not in beyond["labels kept"]}
    rows = []
    for task in TASKS:
        constant, bar = chance[task]
        untrained = [score.untrained for score in scores if (score.job.task, score.job.column) == (task, "dept")]
        rows.append([
            task, load_task(task).main_metric, f"{constant:.1f}", f"{bar:.1f}", shown(untrained),
            *(shown(tests[task, column]) for column in columns), "yes" if task in beyond["dept"] else "no",
        ])  # fmt: skip
    gain = statistics.mean(means[task, "dept"] - chance[task][0] for task in TASKS)
    slowest = max(score.seconds for score in scores if score.job.column in METHODS)
    passed = len(beyond["dept"]) >= ASKED_TASKS and gain >= ASKED_POINTS and slowest <= MOST_SECONDS
    header = ["task", "metric", "constant", "chance", "untrained", "DePT", "PT", *CONTROLS, "beyond chance"]
    of_form = [
        f"{task} ({means[task, 'shuffled, no majority'] - chance[task][0]:.1f} of DePT's "
        f"{means[task, 'dept'] - chance[task][0]:.1f} points)"
        for task in beyond["shuffled, no majority"]
    ]
    single = [
        f"{task} {test:.1f}" for task in TASKS for test in tests[task, "shuffled labels"] if test > chance[task][1]
    ]
    found = (
        f"\n\nBeyond chance by the mean of the seeds: DePT on {len(beyond['dept'])} of {len(TASKS)} tasks, and "
        f"{gain:.1f} points above the constant answer on average; labels kept on {len(beyond['labels kept'])} (where "
        f"they are not, shuffled labels say nothing: of DePT's tasks {listed(silent)}); shuffled labels on "
        f"{listed(beyond['shuffled labels'])} (single runs: {listed(single)}); random weights on "
        f"{listed(beyond['random weights'])}. After {STEPS} steps on shuffled labels without a majority: "
        f"{listed(of_form)}. So much of a score comes with answering in the task's form, whatever the labels say."
    )
    return preface(slowest) + table(header, rows) + found, passed and not beyond["shuffled labels"]


def preface(slowest: float) -> str:
    """What the table's columns are. slowest: seconds."""
    return (
        f"Generated rows (not the benchmarks): {ROWS['train']} for training; {ROWS['validation']} for validation and "
        f"{ROWS['test']} for test are of words and templates that pretraining never saw. {STEPS} steps of batch 16, "
        f"a budget of {BUDGET_TOKENS} prompt tokens (DePT: {SHORT_PROMPT} and a low-rank pair), the backbone's "
        f"default rates; DePT's and PT's slowest run took {slowest:.0f} s, evaluation included. Test scores of the "
        "best adapter by validation, seeds 0, 1, 2. Constant: the best answer that is always the same. Chance: what "
        "97.5% of resampled constant answers and of exchanged answers stay below; beyond chance: the mean of DePT's "
        "seeds is above it. Untrained: the prompt before training, on validation.\n\n"
        f"Controls, DePT. Shuffled labels: {LABEL_STEPS} steps on rows of which one label has {MAJORITY} for one of "
        "each other, a majority to stay at that an untrained prompt does not answer; then the labels change places, "
        f"in training and in validation, which chooses the step. STS-B and the QA tasks have none: DePT's rows, "
        f"{ANSWER_STEPS} steps, seed 0. Labels kept: the rows and steps of the tasks with a majority, none shuffled, "
        f"seed 0. Shuffled, no majority: {STEPS} steps as DePT's. Random weights: the same shape, seed 0. The first "
        "control came after the third: as a prompt leaves its first answer it wakes some skill, which decides between "
        "labels that are equally likely, and which it loses as training goes on; trials on RTE, SciTail, QNLI and QA "
        "set the number of steps.\n\n"
    )


def listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"


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
    return " / ".join(f"{value:.1f}" for value in values) or "-"


SECTION = Section(
    "mini_t5",
    "DePT and PT on mini-t5",
    f"DePT beyond chance on at least {ASKED_TASKS} of 21 tasks and {ASKED_POINTS:g} points above the constant answer "
    f"on average, 3 seeds, at most {MOST_SECONDS:.0f} seconds each; shuffled labels stay at the majority.",
    measure,
    by_name=True,
)
