"""Tables of the numbered notebooks, as Jupyter shows them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dept.methods.registry import groups, title_of
from dept.runs.folder import FINGERPRINTS, RunFolder
from lab.paper import numbers as paper
from lab.runs.read import Run

if TYPE_CHECKING:
    from dept.costs.trade_off import TradeOff
    from dept.evaluation.load_run import LoadedRun
    from dept.methods.budget import BudgetSplit
    from dept.prompted import PromptedModel
    from dept.training.prepare import Prepared
    from lab.bench.summary import Summary
    from lab.results.rows import Results, Spread

_LETTERS = {"prompt_embeddings": "P_s", "low_rank_a": "A", "low_rank_b": "B"}


@dataclass(frozen=True)
class Table:
    """Rows with the same keys, shown by Jupyter and by code hosts as a Markdown table."""

    rows: Sequence[Mapping[str, object]]

    def _repr_markdown_(self) -> str:
        if not self.rows:
            return "(none)"
        heads = list(self.rows[0])
        lines = [heads, ["---"] * len(heads), *([str(row[head]) for head in heads] for row in self.rows)]
        return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)

    def __repr__(self) -> str:
        return self._repr_markdown_()

    def turned(self, key: str) -> Table:
        """The transposed table: the values of `key` become columns, the other columns become rows."""
        return Table(
            [{key: head, **{str(row[key]): row[head] for row in self.rows}} for head in self.rows[0] if head != key]
        )


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def tensors(model: PromptedModel) -> Table:
    """The tensors that are trained, with the paper's letter, or the title of their rate group."""
    return Table(
        [
            {
                "tensor": name,
                "in the paper": _LETTERS.get(name, groups()[group].title),
                "shape": " x ".join(map(str, tensor.shape)),
                "parameters": f"{tensor.numel():,}",
            }
            for group, trained in model.grouped_tensors().items()
            for name, tensor in trained.items()
        ]
    )


def splits(table: Sequence[BudgetSplit]) -> Table:
    """Ways to spend the budget."""
    return Table(
        [
            {
                "m": split.num_virtual_tokens,
                "rank r": split.rank,
                "trainable parameters": f"{split.trainable_parameters:,}",
                "left over": f"{split.left_over:,}",
                "positions read": split.input_length,
            }
            for split in table
        ]
    )


def costs(points: Sequence[TradeOff]) -> Table:
    """Calculated costs, each with its share of the last point's, which is PT's."""
    pt = points[-1]

    def shared(value: int, of_pt: int, unit: float) -> str:
        size = value / unit
        return f"{size:,.0f} ({value / of_pt:.1%})" if size >= 100 else f"{size:.2g} ({value / of_pt:.1%})"

    return Table(
        [
            {
                "m": point.num_virtual_tokens,
                "rank r": point.rank,
                "GFLOP, training step": shared(point.train.flops, pt.train.flops, 1e9),
                "MiB of its activations": shared(point.train.activation_bytes, pt.train.activation_bytes, 2**20),
                "GFLOP, inference batch": shared(point.inference.flops, pt.inference.flops, 1e9),
            }
            for point in points
        ]
    )


def examples(prepared: Prepared, count: int = 4) -> Table:
    """The first training examples: source and target as text, and as the backbone's tokens."""
    split, tokenizer = prepared.splits["train"], prepared.tokenizer
    return Table(
        [
            {
                "source": split.sources[row],
                "target": split.targets[row],
                "source tokens": int(split.source_lengths[row]),
                "tokens": " ".join(tokenizer.convert_ids_to_tokens(split[row]["source_ids"][:8])) + " ...",
            }
            for row in range(min(count, len(split)))
        ]
    )


def lengths(prepared: Prepared) -> Table:
    """Rows of each split, and how many tokens their sources have."""
    return Table(
        [
            {
                "split": name,
                "rows": len(split),
                "shortest source": int(split.source_lengths.min()),
                "mean": f"{split.source_lengths.mean():.1f}",
                "longest": int(split.source_lengths.max()),
            }
            for name, split in prepared.splits.items()
        ]
    )


def scores(runs: Mapping[str, Run]) -> Table:
    """Validation scores before and after training, and the best adapter's test score, in per cent."""
    rows = []
    for name, run in runs.items():
        result = _result(run)
        metric, metrics = result["main_metric"], result["metrics"]
        rows.append(
            {
                "run": name,
                "untrained, validation": f"{metrics['untrained_validation'][metric]:.1f}",
                "best, validation": f"{metrics['validation'][metric]:.1f}",
                "at step": result["best_step"],
                "test": f"{metrics['test'][metric]:.1f}",
                "metric": metric,
            }
        )
    return Table(rows)


def chance(prepared: Prepared) -> Table:
    """The accuracy of a constant answer on the test rows, and the standard error of an accuracy on so few rows.

    The standard error is that of a proportion p over n independent rows, sqrt(p (1 - p) / n), at p = 1/2, where it
    is largest.
    """
    targets = prepared.splits["test"].targets
    label, count = Counter(targets).most_common(1)[0]
    return Table(
        [
            {
                "test rows": len(targets),
                "most frequent label": label,
                "its share, per cent": f"{100 * count / len(targets):.1f}",
                "standard error of an accuracy, points": f"{100 * standard_error(len(targets)):.1f}",
            }
        ]
    )


def standard_error(rows: int, share: float = 0.5) -> float:
    """The standard error of a share that is measured on `rows` independent rows."""
    return math.sqrt(share * (1 - share) / rows)


def predictions(run: LoadedRun, prepared: Prepared, count: int = 6) -> Table:
    """The first test rows: the adapter's answer, its probability, and the right answers."""
    from dept.evaluation.load_run import predict_texts

    split = prepared.splits["test"]
    sources = split.sources[:count]
    return Table(
        [
            {
                "source": source,
                "answer": prediction.text,
                "its probability": (
                    f"{prediction.probabilities[prediction.text]:.2f}" if prediction.probabilities is not None else "-"
                ),
                "right": " or ".join(answers),
            }
            for source, prediction, answers in zip(sources, predict_texts(run, sources), split.answers, strict=False)
        ]
    )


def movements(runs: Mapping[str, Run]) -> Table:
    """How far training moved prompt and update in runs of DePT, in units of a word embedding's mean norm.

    The start is drawn again from the run's seed. The end is the last checkpoint, not the best adapter.
    """
    from safetensors.torch import load_file

    from dept.backbones.embeddings import word_embeddings
    from dept.parts.low_rank_update import LowRankUpdate
    from dept.runs.settings import TrainConfig
    from dept.training.prepare import prepare

    rows = []
    for name, run in runs.items():
        settings = {key: value for key, value in run.config.items() if key != FINGERPRINTS}
        model = prepare(TrainConfig.from_dict(settings), progress=False).model
        end = load_file(RunFolder(run.path).checkpoints()[-1] / "adapter.safetensors")
        unit = word_embeddings(model.backbone).float().norm(dim=1).mean()
        moved = end["prompt_embeddings"] - model.adapter_tensors()["prompt_embeddings"].detach()  # [M, D]
        (part,) = [part for part in model.parts if isinstance(part, LowRankUpdate)]
        update = part.scale * (end["low_rank_a"] @ end["low_rank_b"])  # [S, D]
        rows.append(
            {
                "run": name,
                "prompt vectors moved by": f"{moved.norm(dim=1).mean() / unit:.3f}",
                "rows of AB are long": f"{update.norm(dim=1).mean() / unit:.3f}",
            }
        )
    return Table(rows)


def speeds(summaries: Sequence[Summary]) -> Table:
    """Measured inference: samples a second, and the speed relative to the baseline, measured and by counted FLOPs."""
    flops = {(row.group, row.variant): row.flops for row in summaries}
    lines = []
    for row in summaries:
        base = row.baseline
        fewer, speed = "", ""
        if base is not None and row.speed is not None:
            counted, own = flops[row.group, base], row.flops
            fewer = f"{counted / own:.2f}" if counted and own else "-"
            speed = f"{row.speed.median:.2f} ({row.speed.least:.2f} to {row.speed.greatest:.2f})"
        lines.append(
            {
                "prompt": row.group.way or "plain",
                "variant": row.variant.name,
                "samples / s": f"{row.samples_per_s:.1f}",
                "compared with": base.name if base is not None else "",
                "speed, times": speed,
                "by counted FLOPs": fewer,
            }
        )
    return Table(lines)


def printed_speeds() -> Table:
    """The speeds of Figure 4 that the paper's text prints, and Table 6's."""
    return Table(
        [
            {
                "backbone": speed.backbone,
                "method": title_of(speed.method),
                "virtual tokens": speed.num_virtual_tokens,
                "samples / s, the paper's": f"{speed.samples_per_s.value:g}",
                "printed in": speed.samples_per_s.where,
            }
            for speed in (*paper.FIGURE_4, *paper.TABLE_6)
        ]
    )


def files(folder: Path) -> Table:
    """The files in a folder, without hidden ones."""
    return Table(
        [
            {"file": path.name, "bytes": f"{path.stat().st_size:,}"}
            for path in sorted(folder.glob("[!.]*"))
            if path.is_file()
        ]
    )


def summary(run: Run) -> Table:
    """A run's result, a line for each value: settings, provenance, scores."""
    result = _result(run)
    metric, scored = result["main_metric"], result["metrics"]
    rows = result["data"]["rows"]
    lines = {
        "status": result["status"],
        "task": result["task"],
        "method": run.name,
        "sizes": run.settings.method_config().summary() or "-",
        "trainable parameters": f"{result['trainable_parameters']:,}",
        "backbone": f"{result['backbone']['name']} (source: {result['backbone']['source']})",
        "data": f"source: {result['data']['source']}; "
        + ", ".join(f"{count:,} {name}" for name, count in rows.items()),
        "steps, best at": f"{result['steps']:,}, {result['best_step']:,}",
        "validation": f"{scored['validation'][metric]:.1f} {metric}",
        "test": f"{scored['test'][metric]:.1f} {metric}",
        "decoding": result["decoding"],
        "seconds": f"{result['time']['total_s']:.0f}",
        "torch": result["versions"]["torch"],
        "code": _code(result["commit"]),
    }
    return Table([{"": name, "value": value} for name, value in lines.items()])


def _code(commit: Mapping[str, Any] | None) -> str:
    """The commit of the code that ran, where it is known."""
    if commit is None:
        return "an installed package"
    return f"commit {commit['id'][:10]}{', with changes' if commit['dirty'] else ''}"


def beside_paper(results: Results) -> Table:
    """Our rows with the paper's numbers and the reasons why they may not be compared."""
    return Table(
        [
            {
                "task": row.task,
                "method": title_of(row.method),
                "backbone": row.backbone,
                "seeds": len(row.seeds),
                "validation": _spread(row.validation),
                "test": _spread(row.test),
                "the paper's": f"{row.paper.value:g} ({row.paper.where})" if row.paper is not None else "-",
                "marks": ", ".join(row.marks) or "none: it reproduces",
            }
            for row in results.rows
        ]
    )


def left_out(results: Results) -> Table:
    """The runs and means that the results leave out, and why."""
    return Table([{"left out": item.what, "because": item.reason} for item in results.left_out])


def printed_scores(task: str) -> Table:
    """Every method's score on a task, as Tables 1 to 3 print it."""
    names = paper.methods()
    return Table(
        [
            {
                "method": names[score.method],
                "trainable parameters": f"{score.parameters:,}" if score.parameters is not None else "-",
                f"{task}, {score.metric}": f"{score.value:g}",
                "printed in": score.where,
            }
            for score in paper.scores()
            if score.task == task and score.shots is None and score.table in (1, 2, 3)
        ]
    )


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return f"{spread.mean:.1f}" + (f" ± {spread.deviation:.1f}" if spread.deviation is not None else "")


def _result(run: Run) -> dict[str, Any]:
    assert run.result is not None, "tables are of finished runs"
    return run.result
