"""Prepare a run from its settings: fill in open values, load and wrap the backbone, tokenise the rows."""

import dataclasses
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from accelerate.utils import set_seed
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dept.backbones.fingerprints import fingerprint
from dept.backbones.known import BackboneInfo, default_tower
from dept.backbones.load import backbone_info, load_backbone, registered_rates
from dept.backbones.towers import VisionTower, load_tower
from dept.basics.digest import json_digest
from dept.data.features import FeatureStore, with_features
from dept.data.sources import Rows, load_rows
from dept.data.tokenised import TokenisedSplit, tokenise
from dept.errors import BackboneError, ConfigError
from dept.evaluation.predictor import check_positions
from dept.methods.budget import BudgetSplit
from dept.methods.rates import LOW_RANK, PROJECTION
from dept.methods.registry import groups
from dept.model.facts import facts_of
from dept.prompted import PromptedModel, get_prompted_model
from dept.runs.resolve import resolve
from dept.runs.settings import TrainConfig
from dept.tasks import Task, load_task


@dataclass(frozen=True)
class Prepared:
    """Everything that the training loop works on.

    Attributes:
        config: the settings with every open value filled in.
        budget: how the budget is split and how much of it is left over; None for a method without a budget.
        fingerprints: those of data, task and backbones; a run can only be resumed with the same ones.
        tower: the image encoder, for a task with images.
    """

    config: TrainConfig
    task: Task
    backbone: BackboneInfo
    model: PromptedModel
    tokenizer: PreTrainedTokenizerBase
    rows: Rows
    splits: Mapping[str, TokenisedSplit]
    budget: BudgetSplit | None
    fingerprints: Mapping[str, str]
    tower: VisionTower | None = None


def prepare(config: TrainConfig, *, progress: bool = True) -> Prepared:
    """Load and check everything; no run folder is written.

    The prompt and A are drawn here, from `config.seed`.

    Raises:
        DeptError: settings, data or backbone cannot be used; the message is one line.
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
    rates = default_rates(config, backbone, with_images=tower is not None)
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
    if config.compile and any(part.acts_inside for part in model.parts):
        # Compiled layers ignore hooks that were set in them: the run would train something else.
        raise ConfigError(f"{model.method_config.title} acts inside the backbone's layers: leave out compile")
    method, facts = model.method_config, facts_of(backbone, max_seq_length=_known(config.max_seq_length))
    config = dataclasses.replace(config, **method.settings())
    budget = method.budget(facts, config.budget_tokens)
    positions = 0 if tower is None else tower.positions
    for split in splits.values():
        check_positions(model, positions + int(split.source_lengths.max()), int(split.target_lengths.max()))
    fingerprints = {
        "data": rows.fingerprint,
        "task": json_digest(task.identity()),
        "backbone": fingerprint(backbone),
        **({} if tower is None else {"vision_backbone": tower.fingerprint}),
    }
    return Prepared(config, task, info, model, tokenizer, rows, splits, budget, fingerprints, tower)


def default_rates(config: TrainConfig, backbone: PreTrainedModel, *, with_images: bool) -> dict[str, float]:
    """Setting of each rate group -> its learning rate: that registered for the backbone, else the group's default.

    Defaults are computed only for rates that the run leaves open. The projection's default is the rate of A and B,
    which `resolve` fills in.

    Raises:
        BackboneError: a rate follows from the backbone's embeddings, which are zero or not finite.
    """
    registered, method = registered_rates(backbone), config.method_class
    ignored = (group for group in groups().values() if group.setting_name in method.ignores)
    wanted = [*method.groups, *ignored, *([PROJECTION] if with_images else [])]
    rates = {group.setting_name: registered[group.name] for group in wanted if group.name in registered}
    left = [
        group for group in wanted if group.setting_name not in rates and getattr(config, group.setting_name) is None
    ]
    has_low_rank = LOW_RANK in method.groups
    left = [group for group in left if not (group is PROJECTION and has_low_rank)]
    facts = facts_of(backbone, with_rms=any(callable(group.rate) for group in left))
    return rates | {group.setting_name: group.default(facts) for group in left}


def with_answer_list(task: Task, train: TokenisedSplit) -> Task:
    """The task with its answer list: its `closed_answers` most frequent training targets, sorted."""
    most = [answer for answer, _ in Counter(train.targets).most_common(task.closed_answers) if answer]
    return dataclasses.replace(task, answer_list=tuple(sorted(most)))


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
