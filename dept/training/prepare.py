"""From settings to what a run needs: open values filled in, the backbone wrapped, the rows tokenised."""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accelerate.utils import set_seed
from transformers import PreTrainedTokenizerBase

from dept.backbones.fingerprints import fingerprint
from dept.backbones.known import BackboneInfo, default_tower
from dept.backbones.load import backbone_info, default_learning_rates, load_backbone
from dept.backbones.towers import VisionTower, load_tower
from dept.data.features import FeatureStore, with_features
from dept.data.sources import Rows, load_rows
from dept.data.tokenised import TokenisedSplit, tokenise
from dept.errors import BackboneError, ConfigError
from dept.evaluation.predictor import check_positions
from dept.methods.budget import Split, split_of
from dept.prompted import PromptedModel, get_prompted_model
from dept.runs.settings import DeptConfig, TrainConfig
from dept.runs.whole_paths import with_whole_paths
from dept.tasks import Task, load_task

PAPER_LARGE_DATA = 100_000  # rows; beyond them the paper trains longer (appendix D)
PAPER_STEPS, PAPER_STEPS_LARGE, PAPER_STEPS_MNLI = 30_000, 300_000, 200_000
PAPER_RATES = {"prompt_lr": 0.3, "low_rank_lr": 5e-4}  # one point of Table 8's grid
DEFAULT_STEPS = 1000


@dataclass(frozen=True)
class Prepared:
    """All that the loop works on.

    Attributes:
        config: every open value filled in.
        budget: how the parameters are split, and what of the budget is left over.
        fingerprints: of data, task and backbones, so that a resumed run is known to be the same.
        tower: the image encoder, for a task with images.
    """

    config: TrainConfig
    task: Task
    backbone: BackboneInfo
    model: PromptedModel
    tokenizer: PreTrainedTokenizerBase
    rows: Rows
    splits: Mapping[str, TokenisedSplit]
    budget: Split
    fingerprints: Mapping[str, str]
    tower: VisionTower | None = None


def prepare(config: TrainConfig, *, progress: bool = True) -> Prepared:
    """Load and check everything before a run folder is touched.

    The prompt and A are drawn here, from `config.seed`.

    Raises:
        DeptError: one of its kinds, with one line that says what is wrong.
    """
    task = load_task(config.task)
    info = backbone_info(config.backbone)
    rows = load_rows(task, config.data, sample_sizes=_sizes(config), seed=config.seed)
    rows = rows.limited(_sizes(config))
    backbone, tokenizer = load_backbone(
        config.backbone,
        dtype=config.dtype,
        tokenizer=config.tokenizer,
        quantize=config.quantize,
        device_map=config.device_map,
    )
    tower = None
    if task.image_column is not None:
        tower = load_tower(config.vision_backbone or default_tower(config.backbone))
    if tokenizer is None:
        raise BackboneError(f"{config.backbone} has no tokenizer: name one with --tokenizer FOLDER-or-hub-id")
    rates = dict(zip(("prompt_lr", "low_rank_lr"), default_learning_rates(backbone), strict=True))
    if tower is not None and info.projection_lr is not None:
        rates["projection_lr"] = info.projection_lr
    config = resolve(config, task, rows.sizes["train"], backbone.config.is_encoder_decoder, rates)

    splits = {
        name: tokenise(
            rows,
            name,
            task,
            tokenizer,
            max_seq_length=_known(config.max_seq_length),
            verbalizer=config.verbalizer or "digits",
            is_encoder_decoder=bool(backbone.config.is_encoder_decoder),
            progress=progress,
        )
        for name in rows.splits  # a folder with very few rows may leave nothing to test on
    }
    if config.decoding == "answer_list":
        task = with_answer_list(task, splits["train"])
    if tower is not None:
        store = FeatureStore(tower)
        splits = {name: with_features(split, rows, name, store, progress=progress) for name, split in splits.items()}
    set_seed(config.seed)
    width = None if tower is None else tower.width
    model = get_prompted_model(backbone, config.method_config(), tokenizer, visual_width=width)
    embeddings: Any = backbone.get_input_embeddings()
    method, hidden_size = model.method_config, embeddings.weight.shape[1]
    rank = _known(method.rank) if isinstance(method, DeptConfig) else 0
    config = dataclasses.replace(config, rank=rank, num_virtual_tokens=method.num_virtual_tokens)
    budget = split_of(
        method.num_virtual_tokens, rank, hidden_size, _known(config.max_seq_length), config.budget_tokens
    )
    positions = 0 if tower is None else tower.positions
    for split in splits.values():
        check_positions(model, positions + int(split.source_lengths.max()), int(split.target_lengths.max()))
    fingerprints = {
        "data": rows.fingerprint,
        "task": hashlib.sha256(json.dumps(task.to_dict(), sort_keys=True).encode()).hexdigest(),
        "backbone": fingerprint(backbone),
        **({} if tower is None else {"vision_backbone": tower.fingerprint}),
    }
    return Prepared(config, task, info, model, tokenizer, rows, splits, budget, fingerprints, tower)


def resolve(
    config: TrainConfig, task: Task, train_rows: int, is_encoder_decoder: bool, rates: Mapping[str, float]
) -> TrainConfig:
    """Fill in what was left open, from the preset, the task and the backbone; what was set stays as it is.

    Args:
        train_rows: the paper trains longer on large data sets (appendix D).
        rates: the backbone's own prompt_lr and low_rank_lr, and projection_lr if it has one.

    Raises:
        ConfigError: label scoring, or a verbalizer, that the task does not have; an image encoder for a text task.
    """
    values: dict[str, Any] = {
        "max_seq_length": task.max_seq_length,
        "max_steps": DEFAULT_STEPS,
        "verbalizer": _verbalizer(task, is_encoder_decoder),
        "decoding": task.decoding,
        **rates,
    }
    if config.preset == "paper":
        steps = PAPER_STEPS_LARGE if train_rows > PAPER_LARGE_DATA else PAPER_STEPS
        values |= PAPER_RATES | {
            "max_steps": PAPER_STEPS_MNLI if task.name == "mnli" else steps,
            "verbalizer": "digits" if task.verbalizers else None,
            "eval_every": 1000,
        }
    given = {name: getattr(config, name) for name in values if getattr(config, name, None) is not None}
    values |= given
    values.setdefault("eval_every", config.eval_every or max(1, values["max_steps"] // 10))
    if task.verbalizers and values["verbalizer"] not in task.verbalizers:
        raise ConfigError(f"task {task.name} has no {values['verbalizer']} verbalizer: {', '.join(task.verbalizers)}")
    if values["decoding"] == "answer_list" and task.closed_answers is None:
        raise ConfigError(f"task {task.name} has no list of answers to choose from: leave out --decoding")
    if values["decoding"] == "label_scoring" and task.verbalizer(values["verbalizer"]) is None:
        raise ConfigError(f"task {task.name} has no labels to score: leave out --decoding or use generate")
    if task.image_column is not None:
        values["vision_backbone"] = config.vision_backbone or default_tower(config.backbone)
        if config.projection_lr is None:
            values.setdefault("projection_lr", values.get("low_rank_lr"))
    else:
        for name in ("vision_backbone", "projection_lr"):
            if getattr(config, name) is not None:
                raise ConfigError(f"task {task.name} has no images: leave out {name}")
    return with_whole_paths(dataclasses.replace(config, **values))


def with_answer_list(task: Task, train: TokenisedSplit) -> Task:
    """The task with the most frequent targets of its training rows, as many as it says, sorted."""
    most = [answer for answer, _ in Counter(train.targets).most_common(task.closed_answers) if answer]
    return dataclasses.replace(task, answer_list=tuple(sorted(most)))


def _verbalizer(task: Task, is_encoder_decoder: bool) -> str | None:
    if not task.verbalizers:
        return None
    return "digits" if is_encoder_decoder or "words" not in task.verbalizers else "words"


def _sizes(config: TrainConfig) -> dict[str, int]:
    sizes = {
        "train": config.max_train_rows,
        "validation": config.max_validation_rows,
        "test": config.max_test_rows,
    }
    return {name: size for name, size in sizes.items() if size is not None}


def _known(value: int | str | None) -> int:
    assert isinstance(value, int), "filled in by resolve"
    return value
