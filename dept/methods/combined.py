"""Several methods as one: their settings, groups and parts are joined (`--method dept+lora`)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dept.errors import ConfigError
from dept.methods.budget import BudgetSplit
from dept.methods.contract import Facts, Footprint, MethodConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dept.parts.contract import Part

SUM = "+"


class Combined(MethodConfig):
    """A config whose fields are those of its members; made by `combined`."""

    members: ClassVar[tuple[type[MethodConfig], ...]]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.configs()  # each member checks its own fields

    def configs(self) -> list[MethodConfig]:
        """Each member's own config."""
        values = self.to_dict()
        return [member.from_dict({name: values[name] for name in member.own_settings()}) for member in self.members]

    @classmethod
    def from_settings(cls, values: Mapping[str, Any]) -> Self:
        own: dict[str, Any] = {}
        for member in cls.members:  # of two defaults for one setting the first member's counts, as in the class
            own = member.from_settings(values).to_dict() | own
        return cls.from_dict(own)

    def settings(self) -> dict[str, Any]:
        return self.to_dict()

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.members, self.to_dict())

    def resolved(self, facts: Facts) -> Self:
        own: dict[str, Any] = {}
        for config in self.configs():
            own |= config.resolved(facts).to_dict()
        return type(self).from_dict(own)

    def counts(self, facts: Facts) -> dict[str, int]:
        return {name: size for config in self.configs() for name, size in config.counts(facts).items()}

    def footprint(self, facts: Facts) -> Footprint:
        return Footprint.together(config.footprint(facts) for config in self.configs())

    def budget(self, facts: Facts, budget_tokens: int) -> BudgetSplit | None:
        """None: what stands beside the prompt is not sized by the budget."""
        return None

    def summary(self) -> str:
        return "; ".join(text for config in self.configs() if (text := config.summary()))

    def parts(self, backbone: PreTrainedModel, facts: Facts) -> list[Part]:
        return [part for config in self.configs() for part in config.parts(backbone, facts)]

    def start_note(self) -> str | None:
        return next((note for config in self.configs() if (note := config.start_note())), None)


def _again(members: tuple[type[MethodConfig], ...], values: dict[str, Any]) -> MethodConfig:
    """A pickled config's way back: its class is made, not imported."""
    return combined(members).from_dict(values)


@functools.cache
def combined(members: tuple[type[MethodConfig], ...]) -> type[MethodConfig]:
    """The config class of several methods together.

    Raises:
        ConfigError: a method twice, or two that train the same group.
    """
    groups = [group for member in members for group in member.groups]
    names = [group.name for group in groups]
    twice = next((name for name in names if names.count(name) > 1), None)
    joined = SUM.join(member.name for member in members)
    if twice is not None:
        raise ConfigError(f"method {joined}: both parts train {twice}, so that they cannot be one method")
    fields: dict[str, tuple[str, Any, Any]] = {}
    for member in members:
        for item in dataclasses.fields(member):  # type: ignore[arg-type]
            again = dataclasses.field(default=item.default, metadata=item.metadata)
            fields.setdefault(item.name, (item.name, member.own_settings()[item.name].kind, again))
    described = {
        "members": members,
        "name": joined,
        "title": f" {SUM} ".join(member.title for member in members),
        "paper": "; ".join(member.paper for member in members),
        "since": max(member.since for member in members),
        "sentence": " ".join(member.sentence for member in members),
        "groups": tuple(groups),
        "needs": frozenset().union(*(member.needs for member in members)),
        "__module__": __name__,
    }
    return dataclasses.make_dataclass(
        "".join(member.__name__.removesuffix("Config") for member in members) + "Config",
        list(fields.values()),
        bases=(Combined,),
        namespace=described,
        frozen=True,
    )
