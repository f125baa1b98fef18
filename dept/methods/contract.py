"""What a method is, before any tensor exists: its settings, its learning-rate groups, its exact size.

A method is one short declaration (a subclass of `MethodConfig`), entered in `dept.methods.registry`. Everything else
reads it: flags, form, optimiser, adapter folder, tables. No torch here: `dept --help` imports all declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from dept.backbones.shape import Shape
from dept.basics.checked import Checked, Setting, Widget, setting, settings_of
from dept.errors import ConfigError
from dept.methods.budget import BudgetSplit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dept.backbones.tower_sizes import TowerInfo
    from dept.parts.contract import Part

Need = Literal["sources", "tasks", "images"]


class SourceInfo(NamedTuple):
    """A trained adapter that another one starts from or mixes in.

    Attributes:
        name: of its folder or hub id.
        task: what it was trained on, None where it does not say.
        num_virtual_tokens: vectors of its prompt, 0 without one.
    """

    name: str
    task: str | None
    num_virtual_tokens: int


@dataclass(frozen=True)
class Facts:
    """All that is known of backbone, task and sources before weights are loaded.

    Attributes:
        hidden_size: d, the width of an input embedding.
        max_seq_length: s, source tokens.
        shape: the sizes of the backbone's layers; None for a family that `Shape` does not know.
        parameters: of the backbone; None where nobody has counted.
        embedding_rms: root mean square of an entry of the input embeddings; None while no rate is derived from it.
        tasks: names of the tasks that are trained together; sources: adapters to start from.
        tower: the image encoder, for a task with images.
    """

    hidden_size: int
    max_seq_length: int = 256
    shape: Shape | None = None
    parameters: int | None = None
    embedding_rms: float | None = None
    tasks: tuple[str, ...] = ()
    sources: tuple[SourceInfo, ...] = ()
    tower: TowerInfo | None = None

    def known_shape(self, method: str) -> Shape:
        """The sizes of the layers.

        Raises:
            ConfigError: the backbone is of another family than those that `Shape` knows.
        """
        if self.shape is None:
            raise ConfigError(f"{method} is counted from sizes for T5, GPT-2 and LLaMA kinds only")
        return self.shape


def own_setting(default: Any, help: str, *, widget: Widget = "number", **more: Any) -> Any:  # noqa: A002
    """A field of a method alone, newer than schema 1; see `dept.basics.checked.setting`."""
    return setting(default, help, widget=widget, of="method", since=2, **more)


@dataclass(frozen=True)
class Group:
    """Tensors that share a learning rate.

    Attributes:
        name: the setting, the flag and the metrics column are `<name>_lr`.
        title: for forms, progress lines and figures: "A and B".
        rate: the default, a number or one that follows from the backbone's embeddings; a rate that is registered for
            the backbone (`BackboneInfo.rates`) goes before.
        help: what the flag says.
        letter: the paper's letter of the rate.
        since: the schema that the setting appeared in (`Setting.since`).
        span: powers of ten that a form's slider goes from and to.
    """

    name: str
    title: str
    rate: float | Callable[[Facts], float]
    help: str
    letter: str = ""
    since: int = 2
    span: tuple[float, float] = (-6, -1)

    @property
    def setting_name(self) -> str:
        return f"{self.name}_lr"

    def default(self, facts: Facts) -> float:
        """The rate for a backbone.

        Raises:
            BackboneError: it follows from embeddings that are not known.
        """
        return self.rate(facts) if callable(self.rate) else self.rate

    def setting(self) -> Any:
        """The dataclass field of the rate; None takes the default."""
        return setting(
            None,
            self.help,
            label=f"Learning rate of {self.title}",
            letter=self.letter,
            least=0,
            most=1e3,
            widget="rate",
            of="method",
            since=self.since,
        )


class Start(IntEnum):
    """Where the first trained thing of a stack of layers lies: what lies before it needs no gradient.

    EMBEDDINGS: at the stack's input, or at the first norm. PROJECTIONS: at what the first layer's queries, keys or
    values give. LATER: after the first layer's own attention.
    """

    EMBEDDINGS = 0
    PROJECTIONS = 1
    LATER = 2


class Footprint(NamedTuple):
    """What a method adds to the cost of the backbone alone.

    Attributes:
        positions: virtual positions before the input.
        rank: of an update of the word embeddings, 0 without one.
        flops_per_token: of a forward pass, in each token of the encoder (or of a decoder-only backbone).
        flops_per_target_token: the same in the decoder of an encoder-decoder.
        kept_per_token: numbers that autograd keeps for backward, beyond the backbone's.
        kept_per_target_token: the same in the decoder of an encoder-decoder.
        start: where the trained things begin in the encoder, or in a decoder-only backbone.
        decoder_start: the same in the decoder of an encoder-decoder.
    """

    positions: int = 0
    rank: int = 0
    flops_per_token: int = 0
    flops_per_target_token: int = 0
    kept_per_token: int = 0
    kept_per_target_token: int = 0
    start: Start = Start.EMBEDDINGS
    decoder_start: Start = Start.LATER

    @classmethod
    def together(cls, footprints: Iterable[Footprint]) -> Footprint:
        """What several methods add that are trained as one."""
        columns = dict(zip(cls._fields, zip(*footprints, strict=True), strict=True))
        starts = ("start", "decoder_start")
        joined: dict[str, Any] = {
            name: min(values) if name in starts else sum(values) for name, values in columns.items()
        }
        return cls(**joined)


class MethodConfig(Checked):
    """The structure of an adapter, and nothing else; subclasses are frozen dataclasses.

    Attributes:
        name: the id, as in the paper's tables where it has one.
        title: for tables and figures. paper: what it is after.
        sentence: what it does, in one sentence.
        groups: its tensors by learning rate.
        since: the schema that it appeared in: an adapter folder lacks none of its fields but newer ones.
        needs: what must be there beside a backbone: source adapters, several tasks, images.
        reads_peft: the `peft_type`s of adapters that PEFT wrote and this method reads (`from_peft`).
        ignores: settings of other methods that its runs may hold without meaning; yesterday's runs do.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    sentence: ClassVar[str]
    groups: ClassVar[tuple[Group, ...]]
    since: ClassVar[int] = 2
    needs: ClassVar[frozenset[Need]] = frozenset()
    reads_peft: ClassVar[tuple[str, ...]] = ()
    ignores: ClassVar[frozenset[str]] = frozenset()

    @property
    def method(self) -> str:
        """The id, as settings and results call it."""
        return self.name

    @property
    def prompt_length(self) -> int:
        """Vectors that it puts before the input."""
        return getattr(self, "num_virtual_tokens", 0)

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """The fields of the method, then the rates of its groups."""
        own = tuple(item.name for item in fields(cls))  # type: ignore[arg-type]
        return (*own, *(group.setting_name for group in cls.groups))

    @classmethod
    def own_settings(cls) -> Mapping[str, Setting]:
        """The method's fields as settings."""
        return settings_of(cls)

    @classmethod
    def from_settings(cls, values: Mapping[str, Any]) -> Self:
        """The config of a run's flat settings; those that are not the method's are passed over.

        None stands for the default of a field that cannot be None itself.

        Raises:
            ConfigError: a value that cannot be, by name.
        """
        own = {name: values[name] for name in cls.own_settings() if name in values}
        return cls(
            **{name: value for name, value in own.items() if value is not None or settings_of(cls)[name].takes_none}
        )

    @classmethod
    def from_peft(cls, values: Mapping[str, Any]) -> Self:
        """The config of an adapter_config.json that PEFT wrote, of one of `reads_peft`.

        Raises:
            ConfigError: what this method cannot be.
        """
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """The flat settings of a run that has this resolved config."""
        return self.to_dict()

    def resolved(self, facts: Facts) -> Self:
        """The same with "auto" as numbers.

        Raises:
            ConfigError: what cannot be on this backbone or without what it needs.
        """
        return self

    def counts(self, facts: Facts) -> dict[str, int]:
        """Trained parameters of each group, exact, from sizes alone; the config must be resolved.

        Raises:
            ConfigError: a backbone of a family whose sizes are not known.
        """
        raise NotImplementedError

    def footprint(self, facts: Facts) -> Footprint:
        """What it adds to the cost of the backbone; the config must be resolved.

        Raises:
            ConfigError: it cannot be told from sizes.
        """
        return Footprint()

    def budget(self, facts: Facts, budget_tokens: int) -> BudgetSplit | None:
        """How it spends prompt tuning's budget l*d; None for a method that is not sized by it."""
        return None

    def summary(self) -> str:
        """The sizes in a few words, "m = 40, r = 45": for lists, tables and figures."""
        return ""

    def parts(self, backbone: PreTrainedModel, facts: Facts) -> list[Part]:
        """The trained parts, without starting values (`Part.initialise`); torch is imported here and not before.

        Raises:
            ConfigError: the backbone has no place for them.
        """
        raise NotImplementedError

    def as_peft(self, backbone: PreTrainedModel) -> dict[str, Any] | None:
        """What the method says in PEFT's own adapter_config.json, where PEFT can read the adapter; else None."""
        return None

    def start_note(self) -> str | None:
        """Why the untrained model is not the plain backbone; None where it is."""
        return "its prompt is read before the input" if self.prompt_length else None
