"""`dept`: tasks, methods, budget, train, evaluate, predict.

Heavy libraries are imported inside the commands, so that `--help`, `tasks` and `budget` answer at once.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dept.backbones.load import backbone_info
from dept.errors import ConfigError
from dept.flags import STOPPED, Given, run_app, with_flags
from dept.methods.budget import BudgetSplit, budget_table
from dept.runs.settings import Decoding, TrainConfig
from dept.tasks import Task, list_tasks, load_task
from dept.training.trackers import TrackerName, mirrored

app = typer.Typer(
    help="Decomposed prompt tuning (DePT) of frozen language models (Shi & Lipani, ICLR 2024).",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder or an adapter folder.")]


@app.command()
def tasks(
    as_json: AsJson = False,
    new: Annotated[
        Path | None, typer.Option(metavar="TABLE", help="Write a commented task YAML from a table's columns.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="YAML", help="Show a task's rows as they will be fed, and what is wrong.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="With --check: the table, data folder or hub id.")] = None,
) -> int:
    """List the tasks; start or check your own."""
    if new is not None:
        from dept.data.own_task import new_task_yaml

        print(new_task_yaml(new), end="")
        return 0
    if check is not None:
        from dept.data.own_task import check_task

        if data is None:
            raise ConfigError("--check needs --data: the table whose rows are to be shown")
        report = check_task(load_task(str(check)), data)
        print(report.text)
        return 0 if report.ok else 2
    known = list_tasks()
    if as_json:
        print(json.dumps([_task_facts(task) for task in known], indent=2))
        return 0
    print(f"{'task':<15} {'benchmark':<15} {'main metric':<12} {'s':>4}  labels")
    for task in known:
        labels = ", ".join(task.labels) if task.labels else "(generated text)"
        mark = "  [source task]" if task.source_task else ""
        print(f"{task.name:<15} {task.benchmark:<15} {task.main_metric:<12} {task.max_seq_length:>4}  {labels}{mark}")
    return 0


def _task_facts(task: Task) -> dict[str, Any]:
    names = ("name", "benchmark", "hub_id", "hub_config", "metrics", "main_metric", "labels", "max_seq_length")
    return {name: getattr(task, name) for name in names} | {"source_task": task.source_task}


@app.command()
def methods(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[METHOD]...", help="These alone, sums such as dept+lora too.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="Alias, local folder or random:<alias>.")] = "t5-base",
    task: Annotated[str | None, typer.Option(help="Takes its source length, and its image encoder.")] = None,
    preset: Annotated[Literal["paper"] | None, typer.Option(help="paper: its rates.", show_default=False)] = None,
    peft_config: Annotated[
        str | None, typer.Option(metavar="FILE", help="PEFT's adapter_config.json, for what it would train.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the methods: what they train, how much of it on a backbone, at which rates."""
    from dept.methods.overview import overview
    from dept.runs.resolve import preset as preset_values

    chosen = preset_values(preset) if preset is not None else None
    rows = overview(names, backbone, task=task, preset=chosen, peft_config=peft_config)
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
        return
    print(f"{'method':<22} {'parameters':>12}  {'rates':<34} paper")
    for row in rows:
        size = "-" if row.parameters is None else f"{row.parameters:,}"
        rates = ", ".join(f"{name} {'-' if rate is None else format(rate, 'g')}" for name, rate in row.rates.items())
        print(f"{row.name:<22} {size:>12}  {rates:<34} {row.paper}")


@app.command()
def budget(
    backbone: Annotated[str, typer.Option(help="Alias, hub id, local folder or random:<alias>.")] = "t5-base",
    budget_tokens: Annotated[int, typer.Option(help="l, length of the PT prompt to match.")] = 100,
    max_seq_length: Annotated[int, typer.Option(help="s, source tokens.")] = 256,
    as_json: AsJson = False,
) -> None:
    """Show how the parameter budget can be split: the rank that each prompt length leaves (paper 2.2)."""
    info = backbone_info(backbone)
    table = budget_table(info.hidden_size, max_seq_length, budget_tokens)
    if as_json:
        print(json.dumps([dataclasses.asdict(split) for split in table], indent=2))
        return
    total = budget_tokens * info.hidden_size
    print(
        f"{backbone}: d = {info.hidden_size}, l = {budget_tokens}, s = {max_seq_length}, budget {total:,} parameters"
    )
    print(f"{'m':>6} {'rank':>6} {'parameters':>12} {'left over':>10} {'input length':>13}")
    for split in table:
        print(_budget_line(split))


def _budget_line(split: BudgetSplit) -> str:
    return (
        f"{split.num_virtual_tokens:>6} {split.rank:>6} {split.trainable_parameters:>12,} "
        f"{split.left_over:>10,} {split.input_length:>13,}"
    )


@app.command()
@with_flags(TrainConfig)
def train(
    given: Given,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --output-dir.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bar.")] = False,
    no_test: Annotated[bool, typer.Option("--no-test", help="Leave the test rows alone; --resume adds them.")] = False,
    track: Annotated[TrackerName | None, typer.Option(help="Mirror the run to a tracker.", show_default=False)] = None,
) -> int:
    """Train a prompt on a frozen backbone; keeps the best adapter by validation and tests it."""
    config = TrainConfig.from_dict({**_settings_to_resume(given, resume), **given})
    config.check_named(given.flags)
    from dept.training.loop import Silent
    from dept.training.loop import train as run
    from dept.training.progress import Bar

    watcher = Silent() if quiet else Bar()
    with watcher, mirrored(track, watcher) as reporter:
        result = run(config, resume=resume, reporter=reporter, test=not no_test)
    if result["status"] == "stopped":
        print(f"stopped at step {result['steps']}; go on with: dept train --output-dir {config.output_dir} --resume")
        return STOPPED
    if "metrics" in result:  # the main process of several
        main, scores = result["main_metric"], result["metrics"]
        untested = "not tested, " if no_test else "no test rows, "
        tested = f"test {scores['test'][main]:.2f}, " if scores["test"] else untested
        print(
            f"{result['task']} {main}: {tested}validation {scores['validation'][main]:.2f} "
            f"(untrained {scores['untrained_validation'][main]:.2f}), best step {result['best_step']}; "
            f"data: {result['data']['source']}, backbone: {result['backbone']['source']}"
        )
        for note in result.get("notes", ()):  # a run of an older version has none
            print(f"note: {note}")
        print(f"result: {Path(config.output_dir) / 'result.json'}")
    return 0


def _settings_to_resume(given: dict[str, Any], resume: bool) -> dict[str, Any]:
    """A resumed run keeps its settings; flags that are given again must agree with them."""
    if not resume:
        return {}
    from dept.basics.files import read_json
    from dept.runs.folder import FINGERPRINTS, RunFolder

    folder = RunFolder(given.get("output_dir", TrainConfig.output_dir))
    settings = read_json(folder.config_file)
    return {name: value for name, value in settings.items() if name not in (FINGERPRINTS, "output_dir")}


@app.command()
def evaluate(
    run: RunArgument,
    split: Annotated[Literal["train", "validation", "test"], typer.Option(help="Which rows.")] = "test",
    decoding: Annotated[Decoding | None, typer.Option(help="[the run's]", show_default=False)] = None,
    data: Annotated[str | None, typer.Option(help="Other data in the task's schema [the run's].")] = None,
    backbone: Annotated[str | None, typer.Option(help="Another place of the same backbone.")] = None,
    vision_backbone: Annotated[str | None, typer.Option(help="Another place of the same image encoder.")] = None,
    batch_size: Annotated[int, typer.Option(help="Examples per batch.", min=1)] = 64,
    as_json: AsJson = False,
) -> None:
    """Score a run's best adapter on a split."""
    from dept.evaluation.load_run import evaluate_run, load_run

    loaded = load_run(run, backbone=backbone, vision_backbone=vision_backbone)
    result = evaluate_run(loaded, split, data=data, decoding=decoding, batch_size=batch_size)
    facts = {
        "split": split,
        "rows": len(result.predictions),
        "metrics": result.metrics,
        "main_metric": loaded.task.main_metric,
        "decoding": result.decoding,
        "samples_per_s": round(result.samples_per_s, 3),
        **({"notes": result.notes} if result.notes else {}),
    }
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    scores = ", ".join(f"{name} {value:.2f}" for name, value in result.metrics.items())
    how = f"{result.decoding}, {result.samples_per_s:.1f} samples/s"
    print(f"{loaded.task.name} {split}, {facts['rows']} rows: {scores} ({how})")
    for note in result.notes:
        print(f"note: {note}")


@app.command()
def predict(
    run: RunArgument,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A text, or a row as JSON (repeatable); else the lines of stdin."),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="An image: one for all texts, or one for each (repeatable)."),
    ] = None,
    decoding: Annotated[Decoding | None, typer.Option(help="[the run's]", show_default=False)] = None,
    backbone: Annotated[str | None, typer.Option(help="Another place of the same backbone.")] = None,
    vision_backbone: Annotated[str | None, typer.Option(help="Another place of the same image encoder.")] = None,
    batch_size: Annotated[int, typer.Option(help="Texts per batch.", min=1)] = 64,
    as_json: AsJson = False,
) -> None:
    """Predict texts, or the lines of stdin; with images alone, what needs no text (captions)."""
    texts = _texts_for(text, image)
    if not texts:
        raise ConfigError("nothing to predict: give --text, or lines on stdin")
    from dept.evaluation.load_run import load_run, predict_texts
    from dept.evaluation.predictor import as_json as to_json

    loaded = load_run(run, backbone=backbone, vision_backbone=vision_backbone)
    images = [image[0]] * len(texts) if image is not None and len(image) == 1 else image
    predictions = predict_texts(loaded, texts, images=images, decoding=decoding, batch_size=batch_size)
    for source, prediction in zip(texts, predictions, strict=True):
        if as_json:
            print(json.dumps(to_json(source, prediction), ensure_ascii=False))
        else:
            print(prediction.text)


def _texts_for(text: list[str] | None, image: list[str] | None) -> list[str]:
    """The texts that are given; for images without any, an empty one each."""
    if text and image and len(image) not in (1, len(text)):
        raise ConfigError(f"{len(image)} images for {len(text)} texts: give one image, or one for each text")
    if text:
        return text
    if image:
        return [""] * len(image)
    try:
        return [line.rstrip("\n") for line in sys.stdin]
    except UnicodeDecodeError:
        raise ConfigError("stdin is not UTF-8 text") from None


def main(argv: Sequence[str] | None = None) -> int:
    """The `dept` command; returns the exit code."""
    return run_app(app, argv)


if __name__ == "__main__":
    sys.exit(main())
