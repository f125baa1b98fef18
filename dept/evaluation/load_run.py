"""Load a run's adapter with its backbone, to evaluate a split or to predict texts."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import PreTrainedTokenizerBase

from dept.adapters.config import VisionInfo
from dept.adapters.store import read_adapter_config
from dept.backbones.load import load_backbone
from dept.backbones.placement import is_placed
from dept.backbones.towers import VisionTower, load_tower
from dept.basics.files import read_json
from dept.data.encoding import TextEncoder
from dept.data.features import FeatureStore, with_features
from dept.data.images import content, decode, named
from dept.data.sources import load_rows
from dept.data.tokenised import tokenise
from dept.errors import AdapterError, BackboneError, ConfigError, DataError, RunError
from dept.evaluation.predictor import Evaluation, Prediction, Predictor, evaluate
from dept.prompted import PromptedModel
from dept.runs.folder import FINGERPRINTS
from dept.runs.settings import TrainConfig
from dept.tasks import Task
from dept.tasks.task import ImageValue
from dept.tasks.template import columns_of, render

IMAGES_A_PASS = 32  # the image encoder's batch size


@dataclass(frozen=True)
class LoadedRun:
    """An adapter with its backbone, ready to use.

    Attributes:
        config: the run's settings, or None for a bare adapter folder.
        tower: the image encoder, for an adapter that reads images.
    """

    model: PromptedModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    verbalizer: str
    max_seq_length: int
    config: TrainConfig | None
    tower: VisionTower | None = None


def load_run(folder: str | Path, *, backbone: str | None = None, vision_backbone: str | None = None) -> LoadedRun:
    """Load a run folder, or an adapter folder, with the backbone that it names.

    Args:
        folder: RUN, or RUN/adapter, or any adapter folder that this project wrote.
        backbone: another place of the same backbone (a local folder, ...).
        vision_backbone: another place of the same image encoder.

    Raises:
        RunError: the folder holds no run and no adapter, or an adapter that does not name its task.
        AdapterError: the adapter is damaged, or was trained on another backbone.
        BackboneError: the backbone cannot be loaded.
    """
    folder = Path(folder)
    config_file = folder / "config.json"
    config = None
    if config_file.exists():
        settings = read_json(config_file)
        if not isinstance(settings, dict) or not {"task", "method", "data"} <= settings.keys():
            raise RunError(f"{folder} is not a run folder: its config.json holds no run's settings")
        config = TrainConfig.from_dict({k: v for k, v in settings.items() if k != FINGERPRINTS})
        folder = folder / "adapter"
    elif not folder.is_dir():
        raise RunError(f"{folder} is no folder: give a run folder or an adapter folder")
    info = read_adapter_config(folder)
    if info.task is None:
        raise RunError(f"{folder} does not say what task it is for; load it with PromptedModel.from_pretrained")
    name = backbone or info.backbone_name
    if name is None:
        raise BackboneError(f"{folder} does not name its backbone: add --backbone")
    # As in training, except for compile, which takes longer than most uses of an adapter.
    same = {key: getattr(config, key) for key in ("dtype", "quantize", "device_map")} if config is not None else {}
    frozen, tokenizer = load_backbone(name, tokenizer=info.tokenizer_name, **same)
    if tokenizer is None:
        raise BackboneError(f"{name} has no tokenizer, and the adapter names none")
    model = PromptedModel.from_pretrained(frozen, folder)
    if not is_placed(frozen):
        model.to(PartialState().device)
    task = Task.from_dict(info.task, where=str(folder / "adapter_config.json"))
    return LoadedRun(
        model.eval(),
        tokenizer,
        task,
        info.verbalizer or "digits",
        info.max_seq_length or task.max_seq_length,
        config,
        None if info.vision is None else _tower_of(info.vision, folder, vision_backbone),
    )


def _tower_of(vision: VisionInfo, folder: Path, other_place: str | None) -> VisionTower:
    name = other_place or vision.name
    if name is None:
        raise BackboneError(f"{folder} does not name its image encoder: add --vision-backbone")
    tower = load_tower(name)
    if vision.fingerprint not in (None, tower.fingerprint):
        raise AdapterError(
            f"{folder}: trained on the image encoder {vision.name or '(not named)'}, fingerprint "
            f"{str(vision.fingerprint)[:12]}; {name} has {tower.fingerprint[:12]}: name that one by --vision-backbone"
        )
    return tower


def evaluate_run(
    run: LoadedRun,
    split: str = "test",
    *,
    data: str | None = None,
    decoding: str | None = None,
    batch_size: int = 64,
) -> Evaluation:
    """Score an adapter on a split of its data, or of other data in the same schema.

    Raises:
        ConfigError: neither the run nor the caller says where the data is, or the task has no labels to score.
        DataError: the data cannot be loaded, or has no such split.
    """
    sizes = {}
    if data is None:
        if run.config is None:
            raise ConfigError("a bare adapter does not say where its data is: add --data")
        data = run.config.data
        limits = dataclasses.asdict(run.config)
        for name in ("train", "validation", "test"):
            if limits[f"max_{name}_rows"] is not None:
                sizes[name] = limits[f"max_{name}_rows"]
    seed = run.config.seed if run.config is not None else 0
    rows = load_rows(run.task, data, sample_sizes=sizes, seed=seed, splits=[split]).limited(sizes)
    tokenised = tokenise(
        rows,
        split,
        run.task,
        run.tokenizer,
        max_seq_length=run.max_seq_length,
        verbalizer=run.verbalizer,
        is_encoder_decoder=run.model.is_encoder_decoder,
    )
    if run.tower is not None:
        tokenised = with_features(tokenised, rows, split, FeatureStore(run.tower))
    return evaluate(_predictor(run, decoding, batch_size), tokenised, run.task)


def predict_texts(
    run: LoadedRun,
    texts: Sequence[str],
    *,
    images: Sequence[ImageValue | None] | None = None,
    decoding: str | None = None,
    batch_size: int = 64,
) -> list[Prediction]:
    """Predictions for sources in the form of the task's template (`sentence: ...`), or for plain text.

    `as_source` describes the texts that are accepted.

    Args:
        images: the image of each text (a path, or a file's bytes), for a task with images; None for a text that is a
            row as JSON and names its image. Features are not cached.

    Raises:
        DataError: a text cannot be the task's source, or an image is missing or cannot be read.
    """
    encoder = TextEncoder(
        run.tokenizer, max_seq_length=run.max_seq_length, is_encoder_decoder=run.model.is_encoder_decoder
    )
    sources = encoder.sources([as_source(run.task, text) for text in texts])
    items: list[dict[str, Any]] = [{"source_ids": ids} for ids in sources]
    if run.tower is not None:
        values = [
            _image_of(run.task, text, image) for text, image in zip(texts, images or [None] * len(texts), strict=True)
        ]
        for start in range(0, len(items), IMAGES_A_PASS):
            part = values[start : start + IMAGES_A_PASS]
            features = run.tower.features([decode(content(image), named(image)) for image in part])
            for item, seen in zip(items[start : start + IMAGES_A_PASS], features, strict=True):
                item["visual_features"] = seen
    elif images is not None:
        raise DataError(f"{run.task.name} is a task without images")
    done = _predictor(run, decoding, batch_size).predict(items, [len(ids) for ids in sources])
    return [done[row] for row in range(len(texts))]


def as_source(task: Task, text: str) -> str:
    """The source text for a line of input.

    A JSON object is a row with the task's columns. Text that starts as the task's template does is a source already.
    For a task with one text column plain text is put into the template. A task without a text column (captions) has
    the same source for any text.

    Raises:
        DataError: a row lacks a column, or the text is plain and the task has several columns.
    """
    columns = columns_of(task.template)
    if not columns:
        return render(task.template, {})
    row = _as_row(text)
    if row is not None:
        # The image may be given beside the row.
        stand_in = {} if task.image_column is None else {task.image_column: "-"}
        return task.examples({**stand_in, **row}, require_target=False)[0].source
    before = task.template.partition("{")[0]
    if before and text.startswith(before):
        return text
    if len(columns) > 1:
        line = json.dumps(dict.fromkeys(columns, "..."))
        raise DataError(
            f"{task.name} reads several texts: give a line such as {line}, or one starting with {before!r}"
        )
    return render(task.template, {columns[0]: text})


def _as_row(text: str) -> dict[str, Any] | None:
    """The line as a row, if it is a JSON object; else None."""
    if text.startswith("{"):
        with contextlib.suppress(json.JSONDecodeError, RecursionError):
            row = json.loads(text)
            return row if isinstance(row, dict) else None
    return None


def _image_of(task: Task, text: str, image: ImageValue | None) -> ImageValue:
    if image is None:
        assert task.image_column is not None
        given = (_as_row(text) or {}).get(task.image_column)
        if not isinstance(given, str) or not given:
            raise DataError(f"{task.name} needs an image: add --image FILE, or a row such as {_row_with_image(task)}")
        return given
    return image


def _row_with_image(task: Task) -> str:
    return json.dumps({**dict.fromkeys(columns_of(task.template), "..."), str(task.image_column): "picture.jpg"})


def _predictor(run: LoadedRun, decoding: str | None, batch_size: int) -> Predictor:
    own = run.config.decoding if run.config is not None else None
    return Predictor(
        run.model,
        run.tokenizer,
        run.task,
        verbalizer=run.verbalizer,
        decoding=decoding or own or run.task.decoding,
        batch_size=batch_size,
    )
