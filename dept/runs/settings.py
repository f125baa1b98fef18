"""The settings of a run: those of the loop, the data, the machine, and of every method. All are flags of `dept train`.

A run's settings are flat: the method's settings and rates are fields beside the loop's, so that files and keys of
schema 1 stay valid. `TrainConfig.method_config` gives the method's part as its own config.
"""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from dept.basics.checked import Checked, field_of, setting
from dept.errors import ConfigError
from dept.methods.combined import SUM
from dept.methods.contract import MethodConfig
from dept.methods.dept import budget_tokens, max_seq_length
from dept.methods.rates import PROJECTION
from dept.methods.registry import (
    DEFAULT_METHOD,
    declarations,
    groups,
    method_config,
    method_names,
    method_settings,
    owners,
)

Decoding = Literal["label_scoring", "generate", "answer_list"]
T = TypeVar("T")


def _with_methods(config: type[T]) -> type[T]:
    """The class as a frozen dataclass, with the methods' settings after `output_dir` and their rates after `preset`.

    Where methods have different defaults for a setting, its default is None, which means the chosen method's own.
    """
    kinds: dict[str, Any] = {}
    declared = dict(config.__annotations__)
    for name, kind in declared.items():
        kinds[name] = kind
        if name == "output_dir":
            kinds |= {own: _enter(config, own) for own in method_settings() if own not in declared}
        if name == "preset":
            for group in groups().values():
                kinds[group.setting_name] = float | None
                setattr(config, group.setting_name, group.setting())
    config.__annotations__ = kinds
    return dataclasses.dataclass(frozen=True)(config)


def _enter(config: Any, name: str) -> Any:
    """Add a field for a method's setting to the class; return the field's annotation."""
    one = method_settings()[name]
    theirs = {method.name: method.own_settings()[name] for method in declarations() if name in method.own_settings()}
    least = min((other.least for other in theirs.values() if other.least is not None), default=None)
    entered = dataclasses.replace(one, least=least)
    if any(other.default != one.default for other in theirs.values()):
        defaults = ", ".join(f"{method}: {other.default}" for method, other in theirs.items())
        entered = dataclasses.replace(entered, kind=one.kind | None, default=None, help=f"{one.help} [{defaults}]")
    setattr(config, name, field_of(entered))
    return entered.kind


@_with_methods
class TrainConfig(Checked):
    """The settings of a run: what to train, on what, and how. Every field is a flag of `dept train`.

    `dept.runs.resolve.resolve` replaces None ("auto" in the flags' help) by values from the task and the backbone;
    the run folder's `config.json` holds the filled-in values. The settings of all methods (`method_settings`) and a
    rate for each of their groups (`prompt_lr`, `low_rank_lr`, `lora_lr`, ...) are fields too.

    Raises:
        ConfigError: a field is of the wrong type, out of range, or of another method; the message names it.
    """

    if TYPE_CHECKING:  # the fields of the methods are entered by the decorator
        __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

        def __init__(self, **values: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

    task: str = setting(
        "sst2", "task name, or the path of your own task's YAML", label="Task", widget="choice", of="data"
    )
    method: str = setting(
        DEFAULT_METHOD,
        f"{', '.join(method_names())}, or some joined by {SUM}",
        label="Method",
        of="method",
        widget="choice",
    )
    backbone: str = setting(
        "t5-base", "alias, hub id, local folder or random:<alias>", label="Backbone", widget="choice", of="machine"
    )
    vision_backbone: str | None = setting(
        None,
        "image encoder, for tasks with images: alias, hub id, folder or random:<alias> "
        "[clip-vit-base-patch32; mini-t5: mini-clip]",
        label="Image encoder",
        widget="choice",
        of="machine",
    )
    tokenizer: str | None = setting(None, "tokenizer folder or hub id [the backbone's own]", page=False, of="machine")
    data: str = setting(
        "hub",
        "hub, sample, easy-vqa, a data folder, or a table for your own task",
        label="Rows",
        widget="choice",
        of="data",
    )
    output_dir: str = setting("runs/run", "the run folder", page=False, of="machine")

    budget_tokens: int = budget_tokens()
    max_seq_length: int | None = max_seq_length(None)

    preset: Literal["paper"] | None = setting(
        None, "paper: the paper's labels, rates and steps (Table 8)", label="Preset"
    )
    max_steps: int | None = setting(
        None, "optimiser steps [1000]", label="Steps", least=1, most=10_000_000, widget="number"
    )
    batch_size: int = setting(
        16,
        "examples per step, over all processes and accumulation",
        label="Batch size",
        least=1,
        most=100_000,
        widget="number",
    )
    gradient_accumulation: int = setting(1, "parts that a step's batch is cut into", least=1, most=100_000)
    eval_every: int | None = setting(
        None,
        "steps between evaluations on validation [a tenth of the steps]",
        label="Evaluate every",
        least=1,
        most=10_000_000,
        widget="number",
    )
    eval_batch_size: int = setting(64, "examples per evaluation batch", least=1, most=100_000)
    early_stopping: int | None = setting(
        None, "stop after so many evaluations without improvement", least=1, most=10_000_000
    )
    warmup_proportion: float = setting(0.06, "share of the steps with a rising rate", least=0, most=1)
    weight_decay: float = setting(0.01, "AdamW's weight decay", least=0, most=1e3)
    adam_epsilon: float = setting(1e-6, "AdamW's epsilon", least=0, most=1, page=False)
    adam_beta1: float = setting(0.9, "AdamW's first beta", least=0, most=0.999999, page=False)
    adam_beta2: float = setting(0.98, "AdamW's second beta", least=0, most=0.999999, page=False)
    max_grad_norm: float = setting(1.0, "gradients are clipped to this norm; 0 turns it off", least=0, most=1e6)
    seed: int = setting(
        42, "seed of the prompt, the order of rows and dropout", label="Seed", least=0, most=2**32 - 1, widget="number"
    )

    verbalizer: Literal["digits", "words"] | None = setting(
        None, "label texts: digits (paper) or words [decoder-only: words, else digits]", of="data"
    )
    decoding: Decoding | None = setting(
        None,
        "label_scoring, generate, or answer_list: the most frequent training answers alone, for tasks that have such "
        "a list [label_scoring where the task has labels]",
        of="data",
    )
    max_train_rows: int | None = setting(
        None, "use at most so many rows; sample data: make so many", least=1, of="data"
    )
    max_validation_rows: int | None = setting(None, "the same for validation", least=1, of="data")
    max_test_rows: int | None = setting(None, "the same for test", least=1, of="data")

    dtype: Literal["float32", "bfloat16", "float16"] = setting("float32", "the frozen backbone's dtype", of="machine")
    mixed_precision: Literal["no", "bf16", "fp16"] = setting(
        "no", "autocast of the computation", page=False, of="machine"
    )
    gradient_checkpointing: bool = setting(False, "recompute activations: less memory, more time", of="machine")
    quantize: Literal["int8", "nf4"] | None = setting(
        None, "int8 or nf4: the backbone's linear layers, by bitsandbytes", page=False, of="machine"
    )
    device_map: Literal["auto"] | None = setting(
        None, "auto: spread the backbone over this machine's GPUs", page=False, of="machine"
    )
    compile: bool = setting(
        False, "compile the training step (torch.compile): a slow start, then faster", page=False, of="machine"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < self.gradient_accumulation:
            raise ConfigError(
                f"gradient_accumulation ({self.gradient_accumulation}) is more than batch_size ({self.batch_size})"
            )
        for name in ("task", "backbone", "data", "output_dir"):
            if not getattr(self, name).strip():
                raise ConfigError(f"{name} is empty")
        if self.compile and self.device_map is not None:
            raise ConfigError("compile works on one device: leave out compile or device_map")
        self._check_owners()
        self.method_config()  # raises for an impossible combination now rather than when the run starts

    def _check_owners(self) -> None:
        """Refuse settings of other methods than the chosen one: they would have no effect."""
        default = type(self)
        self.check_named(name for name in _all_of_methods() if getattr(self, name) != getattr(default, name))

    def check_named(self, names: Iterable[str]) -> None:
        """Refuse settings of other methods than the chosen one among names, whatever their values are.

        Args:
            names: of settings that somebody gave for this run, such as its flags.

        Raises:
            ConfigError: the first of them, and whose it is.
        """
        for name in sorted(_foreign_to(self.method_class).intersection(names)):
            title = self.method_class.title
            raise ConfigError(f"{name} belongs to {' and '.join(owners(name))}; the method here is {title}")

    @property
    def method_class(self) -> type[MethodConfig]:
        """The chosen method's config class."""
        return method_config(self.method)

    def method_config(self) -> MethodConfig:
        """The method's own config; lengths that are still open have the paper's defaults.

        Raises:
            ConfigError: the settings are an impossible combination.
        """
        return self.method_class.from_settings(self.to_dict())

    def rates(self) -> dict[str, float | None]:
        """The learning rate of each group of the method, and of the visual projection; None while it is open."""
        names = (*(group.name for group in self.method_class.groups), PROJECTION.name)
        return {name: getattr(self, groups()[name].setting_name) for name in names}


# Settings that runs of every method have: the budget that it is compared with, and the source tokens that it reads.
_OF_ANY_METHOD = ("budget_tokens", "max_seq_length")


def _all_of_methods() -> tuple[str, ...]:
    """The settings and the rates of all methods."""
    return (*method_settings(), *(group.setting_name for group in groups().values()))


def _foreign_to(method: type[MethodConfig]) -> set[str]:
    """What belongs to other methods alone."""
    known = {*method.setting_names(), *method.ignores, PROJECTION.setting_name, *_OF_ANY_METHOD}
    return set(_all_of_methods()) - known


def settings_of_method(method: str, values: dict[str, Any]) -> dict[str, Any]:
    """Settings of several methods without those that belong only to other methods than this one.

    A setting that the method ignores is kept where its value is allowed, so that runs keep the keys that they had.
    """
    config = method_config(method)
    foreign = _foreign_to(config)
    return {
        name: value
        for name, value in values.items()
        if name not in foreign and (name not in config.ignores or _takes(config, name, value))
    }


def _takes(method: type[MethodConfig], name: str, value: Any) -> bool:
    """Whether a method passes over another's setting; prompt tuning refuses a rank."""
    try:
        method.from_settings({name: value})
    except ConfigError:
        return False
    return True
