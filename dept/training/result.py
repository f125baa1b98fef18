"""A run's output: `result.json` with the provenance of its numbers, the best adapter, some predictions."""

import base64
import contextlib
import platform
import resource
import sys
from typing import Any

import torch

from dept.basics.files import write_json
from dept.basics.provenance import checkout, version
from dept.data.images import thumbnail
from dept.errors import DataError
from dept.evaluation.predictor import Evaluation, Prediction
from dept.metrics.captions import notes
from dept.runs.folder import RunFolder
from dept.runs.key import run_key
from dept.training.prepare import Prepared

SCHEMA_VERSION = 1
SHOWN_ROWS = 24  # number of test examples in predictions.json
SHOWN_PIXELS = 160  # the longer side of their images
_PACKAGES = ("dept-lab", "torch", "transformers", "accelerate", "datasets", "numpy", "safetensors")


def save_best(folder: RunFolder, prepared: Prepared, step: int, metrics: dict[str, float]) -> None:
    """Write `adapter/`, with everything that is needed to use it."""
    config, task = prepared.config, prepared.task
    prepared.model.save_pretrained(
        folder.adapter,
        task=task.to_dict(),
        verbalizer=config.verbalizer if task.verbalizers else None,
        max_seq_length=config.max_seq_length,
        backbone_name=config.backbone,
        tokenizer_name=config.tokenizer,
        tower=prepared.tower,
        training={
            "step": step,
            "validation": metrics,
            "data": {"source": prepared.rows.source, "rows": prepared.rows.sizes},
            "backbone": {"name": config.backbone, "source": prepared.backbone.source},
            "seed": config.seed,
            **{f"{name}_lr": rate for name, rate in config.rates().items() if rate is not None},
            "batch_size": config.batch_size,
            "max_steps": config.max_steps,
        },
    )


def save_predictions(folder: RunFolder, prepared: Prepared, test: Evaluation) -> None:
    """Write `predictions.json`: the best adapter's predictions for the first test examples, with small images."""
    split, rows = prepared.splits["test"], prepared.rows
    column, table = rows.image_column, rows.splits["test"]
    shown = slice(SHOWN_ROWS)

    def line(row: int, source: str, answers: tuple[str, ...], prediction: Prediction) -> dict[str, Any]:
        image = None
        if column is not None:
            with contextlib.suppress(DataError):  # an image may be removed while the run trains; the result is kept
                image = base64.b64encode(thumbnail(table[row][column], SHOWN_PIXELS)).decode()
        return {"source": source, "answers": list(answers), "prediction": prediction.text, "image": image}

    lines = zip(split.rows[shown], split.sources[shown], split.answers[shown], test.predictions[shown], strict=True)
    write_json(folder.predictions_file, [line(*values) for values in lines])


def build_result(
    prepared: Prepared,
    *,
    status: str,
    step: int,
    progress: dict[str, Any],
    test: Evaluation | None,
    elapsed_s: float,
    device: torch.device,
    processes: int,
    stop_reason: str | None,
    error: str | None,
) -> dict[str, Any]:
    """The content of `result.json`; times in seconds, memory in bytes, metrics in per cent."""
    config, settings = prepared.config, prepared.config.to_dict()
    return {
        "schema_version": SCHEMA_VERSION,
        "status": status,
        "key": run_key(config.identity(), prepared.fingerprints),
        "task": prepared.task.name,
        "method": config.method,
        "backbone": {
            "name": config.backbone,
            "source": prepared.backbone.source,
            "fingerprint": prepared.fingerprints["backbone"],
            "parameters": prepared.model.backbone.num_parameters(),  # 4-bit weights are packed
        },
        "vision_backbone": _tower(prepared),
        "data": {
            "source": prepared.rows.source,
            "location": prepared.rows.location,
            "rows": prepared.rows.sizes,
            "fingerprint": prepared.rows.fingerprint,
        },
        "config": settings,
        "trainable_parameters": prepared.model.trainable_parameters(),
        "trainable_parts": prepared.model.trainable_parts(),
        **_budget(prepared),
        "steps": step,
        "best_step": progress["best_step"],
        "metrics": {
            "untrained_validation": progress["untrained"],
            "validation": progress["validation"],
            "last_validation": progress["last_validation"],
            "test": test.metrics if test is not None else None,
        },
        "main_metric": prepared.task.main_metric,
        "notes": list(notes(prepared.task.metrics)),
        "decoding": config.decoding,
        "verbalizer": config.verbalizer,
        "time": {
            "total_s": round(elapsed_s, 3),
            "test_samples_per_s": round(test.samples_per_s, 3) if test is not None else None,
        },
        "memory": {"peak_bytes": _peak_memory(device)},
        "device": {"type": device.type, "processes": processes, "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "commit": checkout(),
        "seed": config.seed,
        "stop_reason": stop_reason,
        "error": error,
    }


def _budget(prepared: Prepared) -> dict[str, Any]:
    """How prompt tuning's budget was spent; a method whose size does not depend on it has rank 0."""
    split, positions = prepared.budget, prepared.model.num_virtual_tokens
    return {
        "num_virtual_tokens": positions,
        "rank": split.rank if split else 0,
        "input_length": positions + (prepared.config.max_seq_length or 0),
        "over_budget": split.over_budget if split else False,
        "left_over": split.left_over if split else 0,
    }


def _tower(prepared: Prepared) -> dict[str, Any] | None:
    tower = prepared.tower
    if tower is None:
        return None
    facts = ("source", "fingerprint", "parameters", "width", "positions")
    return {"name": prepared.config.vision_backbone, **{name: getattr(tower, name) for name in facts}}


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":  # a device map spreads one process over several
        return sum(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count()))
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
