"""mini-t5 with mini-clip: what DePT and PT learn of pictures, beside the same adapters without the right pictures."""

from __future__ import annotations

import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from dept import TrainConfig
from dept.data.easy_vqa import NAME as EASY_VQA
from dept.data.sources import SPLITS, Rows, load_rows
from dept.evaluation.load_run import evaluate_run, load_run
from dept.metrics.scores import compute_metrics
from dept.tasks import load_task
from dept.tasks.samples import scenes
from dept.training.loop import train
from tests.acceptance.section import Outcome, Section, table

METHODS = ("dept", "prompt_tuning")
BUDGET_TOKENS, SHORT_PROMPT = 20, 10  # l of PT; m of DePT, whose low-rank pair has the rest of l's parameters
ABOVE_ANSWERS, ABOVE_BLANK, ABOVE_EASY = 25.0, 15.0, 15.0  # points of VQA accuracy
LEAST_CIDER, TIMES_SHUFFLED = 50.0, 2.0
STEPS = {"vqa": 1_500, "coco_captions": 400, EASY_VQA: 1_500}
MOST_MINUTES = {"vqa": 3.0, "coco_captions": 3.0, EASY_VQA: 10.0}
ROWS = {"max_train_rows": 6_000, "max_validation_rows": 200, "max_test_rows": 500}
EASY_ROWS = {"max_validation_rows": 500}  # all for training, and the whole of its test split


@dataclass(frozen=True)
class Job:
    """One run."""

    task: str
    data: str
    method: str
    backbone: str = "mini-t5"

    @property
    def kind(self) -> str:
        return EASY_VQA if self.data == EASY_VQA else self.task


@dataclass(frozen=True)
class Score:
    """Test scores: of the trained adapter; of the same with other images, None where that was not asked."""

    job: Job
    test: float
    minutes: float
    otherwise: float | None


def settings(job: Job, output: Path) -> TrainConfig:
    steps = STEPS[job.kind]
    return TrainConfig.from_dict({
        **{"task": job.task, "data": job.data, "method": job.method, "output_dir": str(output), "seed": 0},
        **{"backbone": job.backbone, "vision_backbone": "mini-clip", "max_steps": steps, "eval_every": steps // 3},
        **{"budget_tokens": BUDGET_TOKENS, "num_virtual_tokens": SHORT_PROMPT if job.method == "dept" else None},
        **{"max_seq_length": 64, **(EASY_ROWS if job.kind == EASY_VQA else ROWS)},
    })  # fmt: skip


Change = Callable[[Sequence[Any]], list[Any]]


def blank(images: Sequence[Any]) -> list[Any]:
    """A picture without a shape in every image's place."""
    return [{"bytes": scenes.draw((), 245), "path": None}] * len(images)


def shuffled(images: Sequence[Any]) -> list[Any]:
    """The images of other rows: each of the row before it in a random order."""
    order = list(range(len(images)))
    random.Random(0).shuffle(order)
    given = dict(zip(order, (order[-1], *order), strict=False))
    return [images[given[place]] for place in range(len(images))]


def with_other_images(rows: Rows, change: Change, folder: Path) -> Path:
    """A data folder of the rows' test split with other images; of train and validation one row, which it must have."""
    for name in SPLITS:
        split = rows.splits[name] if name == "test" else rows.splits[name].select([0])
        kept = split.remove_columns("image").add_column("image", change(split["image"]))
        pq.write_table(kept.with_format("arrow")[:], folder / f"{name}.parquet")
    return folder


def run(job: Job, change: Change | None = None) -> Score:
    with tempfile.TemporaryDirectory(prefix="dept-acceptance-") as made:
        config = settings(job, Path(made) / "run")
        result = train(config)
        metric, otherwise = result["main_metric"], None
        if change is not None:
            changed = with_other_images(rows_of(job), change, Path(made))
            otherwise = evaluate_run(load_run(config.output_dir), data=str(changed)).metrics[metric]
    return Score(job, result["metrics"]["test"][metric], result["time"]["total_s"] / 60, otherwise)


def rows_of(job: Job) -> Rows:
    """The rows that a run trains and is tested on."""
    config = settings(job, Path("unused"))
    limits = {name: getattr(config, f"max_{name}_rows") for name in SPLITS}
    sizes = {name: size for name, size in limits.items() if size is not None}
    return load_rows(load_task(job.task), job.data, sample_sizes=sizes, seed=config.seed).limited(sizes)


def most_frequent(rows: Rows, like: Callable[[Any], str]) -> float:
    """Test accuracy of the most frequent training answer among the questions that are alike, or of all."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows.splits["train"].remove_columns("image"):
        counted[like(row)][row["multiple_choice_answer"]] += 1
    all_answers = sum(counted.values(), Counter())
    asked = list(rows.splits["test"].remove_columns("image"))
    said = [(counted[like(row)] or all_answers).most_common(1)[0][0] for row in asked]
    answers = [tuple(answer["answer"] for answer in row["answers"]) for row in asked]
    return compute_metrics(["vqa_accuracy"], said, answers, labels=None)["vqa_accuracy"]


def measure() -> Outcome:
    vqa = [run(Job("vqa", "sample", method), blank) for method in METHODS]
    by_type = most_frequent(rows_of(vqa[0].job), lambda row: str(row["question_type"]))
    captions = [run(Job("coco_captions", "sample", method), shuffled) for method in METHODS]
    easy = [run(Job("vqa", EASY_VQA, method)) for method in METHODS]
    easy_rows = rows_of(easy[0].job)
    constant = most_frequent(easy_rows, lambda row: "")
    by_question = most_frequent(easy_rows, lambda row: str(row["question"]))
    return outcome(vqa, by_type, captions, easy, constant, by_question)


def outcome(
    vqa: Sequence[Score],
    by_type: float,
    captions: Sequence[Score],
    easy: Sequence[Score],
    constant: float,
    by_question: float,
) -> Outcome:
    """Whether DePT did what was asked, and both methods' figures."""
    seen, told, asked = vqa[0], captions[0], easy[0]
    assert seen.otherwise is not None and told.otherwise is not None
    passed = (
        seen.test >= max(by_type + ABOVE_ANSWERS, seen.otherwise + ABOVE_BLANK)
        and told.test >= max(LEAST_CIDER, TIMES_SHUFFLED * told.otherwise)
        and asked.test >= constant + ABOVE_EASY
        and all(score.minutes <= MOST_MINUTES[score.job.kind] for score in (*vqa, *captions, *easy))
    )  # fmt: skip
    text = (
        "mini-t5 and mini-clip (both embedded), offline. The samples are generated, not the benchmarks: "
        f"{ROWS['max_train_rows']:,} rows for training, {ROWS['max_test_rows']} for the test, whose pictures hold "
        "pairs of a colour and a shape that neither the tower nor the training rows showed (mini-t5's pretraining had "
        "their words, never an image). easy-vqa: its own "
        f"train and test splits, from its package. PT with {BUDGET_TOKENS} vectors, DePT with {SHORT_PROMPT} and a "
        "low-rank pair, batch 16, default rates, seed 0, test scores of the best adapter by validation. Per cent: "
        "VQA accuracy, CIDEr. Other images: the same adapter, shown blank pictures (vqa) or those of other test rows "
        "(captions).\n\n"
    )
    header = ["data", "steps", "without a model", "DePT", "PT", "DePT, other images", "PT, other images", "minutes"]
    rows = [
        ["vqa, sample", STEPS["vqa"], f"{by_type:.1f} (by question type)", *figures(vqa)],
        ["coco_captions, sample", STEPS["coco_captions"], "-", *figures(captions)],
        [EASY_VQA, STEPS[EASY_VQA], f"{constant:.1f} (constant), {by_question:.1f} (by question)", *figures(easy)],
    ]
    note = "\n\nWithout a model: the most frequent training answer, of all, of a question type, of a question."
    return Outcome(passed, text + table(header, rows) + note)


def figures(scores: Sequence[Score]) -> list[str]:
    others = ["-" if score.otherwise is None else f"{score.otherwise:.1f}" for score in scores]
    return [
        *(f"{score.test:.1f}" for score in scores),
        *others,
        " / ".join(f"{score.minutes:.1f}" for score in scores),
    ]


SECTION = Section(
    "mini_clip_t5",
    "DePT and PT on pictures: mini-t5 with mini-clip",
    f"DePT on vqa's sample {ABOVE_ANSWERS:g} points above the most frequent answer per question type and "
    f"{ABOVE_BLANK:g} above the same model shown blank images; captions' CIDEr at least {LEAST_CIDER:g} per cent and "
    f"{TIMES_SHUFFLED:g} times that with shuffled images; under {MOST_MINUTES['vqa']:g} minutes each; on easy-vqa's "
    f"test split {ABOVE_EASY:g} points above the majority within {MOST_MINUTES[EASY_VQA]:g} minutes. PT beside it.",
    measure,
)
