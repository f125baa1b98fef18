"""Adapters that the page predicts with: loaded once, kept while they are used, compared on the same texts.

Prediction uses one thread, so that a training run on the same machine goes on.
"""

import dataclasses
import statistics
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dept.basics.files import read_json
from dept.evaluation.load_run import LoadedRun, load_run, predict_texts
from dept.evaluation.predictor import Prediction
from dept.prompted import PromptedModel, get_prompted_model
from dept.runs.folder import FINGERPRINTS
from dept.runs.settings import TrainConfig
from dept.tasks.task import ImageValue
from lab.service.zero_gpu import lent_gpu

MOST_LOADED = 4
_TIMED = 3  # repeated predictions of which the median time is shown
_FEW = 4
_GPU_SECONDS = 60


@dataclass(frozen=True)
class Side:
    """One of the compared models.

    Attributes:
        name: DePT, PT or untrained.
        run: the run folder.
        trained: False for the untrained prompt that the run started from.
    """

    name: str
    run: str
    trained: bool = True


@dataclass(frozen=True)
class Answers:
    """One side's predictions for the texts.

    Attributes:
        seconds_per_text: the time of prediction, with tokenising and encoding images, without loading.
        device: the device that it ran on.
    """

    side: Side
    predictions: tuple[Prediction, ...]
    seconds_per_text: float
    device: str


class _Loaded:
    """The most recently used adapters; adapters of one backbone share it."""

    def __init__(self) -> None:
        self._runs: OrderedDict[tuple[str, int, bool], LoadedRun] = OrderedDict()
        self.lock = threading.Lock()

    def get(self, side: Side) -> LoadedRun:
        adapter = Path(side.run) / "adapter"
        key = (side.run, adapter.stat().st_mtime_ns if adapter.exists() else 0, side.trained)
        if key not in self._runs:
            self._runs[key] = self._load(side)
        self._runs.move_to_end(key)
        while len(self._runs) > MOST_LOADED:
            self._runs.popitem(last=False)
        return self._runs[key]

    def _load(self, side: Side) -> LoadedRun:
        if not side.trained:
            return _untrained(self.get(dataclasses.replace(side, trained=True)))
        settings = read_json(Path(side.run) / "config.json")
        config = TrainConfig.from_dict({name: value for name, value in settings.items() if name != FINGERPRINTS})
        for other in self._runs.values():
            if other.config is not None and _same_frozen_part(config, other.config):
                model = PromptedModel.from_pretrained(other.model.backbone, Path(side.run) / "adapter")
                model.to(other.model.device)
                return dataclasses.replace(
                    other,
                    model=model.eval(),
                    verbalizer=config.verbalizer or "digits",
                    max_seq_length=config.max_seq_length or other.max_seq_length,
                    config=config,
                )
        return load_run(side.run)


def _same_frozen_part(one: TrainConfig, other: TrainConfig) -> bool:
    names = ("task", "backbone", "vision_backbone", "tokenizer", "dtype", "quantize", "device_map")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _untrained(loaded: LoadedRun) -> LoadedRun:
    """The untrained prompt, update and projection that the run started from, drawn again from its seed."""
    assert loaded.config is not None
    with torch.random.fork_rng():
        torch.manual_seed(loaded.config.seed)
        width = None if loaded.tower is None else loaded.tower.width
        model = get_prompted_model(
            loaded.model.backbone, loaded.config.method_config(), loaded.tokenizer, visual_width=width
        )
    model.to(loaded.model.device)
    return dataclasses.replace(loaded, model=model.eval())


_LOADED = _Loaded()


@lent_gpu(_GPU_SECONDS)
def compare(
    sides: Sequence[Side], texts: Sequence[str], images: Sequence[ImageValue] | None = None, batch_size: int = 16
) -> list[Answers]:
    """Predict the same texts with each side, and measure the time.

    Args:
        texts: inputs of `dept.evaluation.load_run.as_source`: plain text, a row as JSON, or a whole source.
        images: an image for each text, for a task with images.

    Raises:
        DeptError: an adapter or a backbone cannot be loaded, a text is no source of the task, or an image cannot be
            read.
    """
    with _LOADED.lock:
        if not torch.cuda.is_available():
            torch.set_num_threads(1)
        return [_answers(side, texts, images, batch_size) for side in sides]


def _answers(side: Side, texts: Sequence[str], images: Sequence[ImageValue] | None, batch_size: int) -> Answers:
    loaded = _LOADED.get(side)
    predict_texts(loaded, texts[:1], images=images and images[:1])  # warm up the prompt cache and the allocator
    times = []
    for _ in range(_TIMED if len(texts) <= _FEW else 1):
        started = time.perf_counter()
        predictions = predict_texts(loaded, texts, images=images, batch_size=batch_size)
        times.append(time.perf_counter() - started)
    return Answers(side, tuple(predictions), statistics.median(times) / len(texts), str(loaded.model.device))
