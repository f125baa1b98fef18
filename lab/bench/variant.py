"""One of the things that a benchmark compares: a method at some sizes, or the backbone alone, and how it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dept.methods.contract import MethodConfig
from dept.methods.registry import BASELINE, DEFAULT_METHOD, method_config, title_of

BACKBONE = "backbone"  # no prompt and nothing to train: how much a method costs at all
Value = str | int | float | bool | None
# The sizes that bench.json has had from the first, 0 for a method without.
_SIZES = ("num_virtual_tokens", "rank")


@dataclass(frozen=True)
class Variant:
    """One of the things compared; made by `variant_of`.

    Attributes:
        method: of the registry, several joined by +, or `BACKBONE`.
        settings: the method's own ones by name, nothing in them "auto"; the others have their defaults.
        cache_prompt: whether a decoder-only prompt's keys and values are kept between batches.
        decoding: label_scoring, or release: greedy generation and then a second full forward pass.
    """

    method: str
    settings: tuple[tuple[str, Value], ...] = ()
    cache_prompt: bool = False
    decoding: Literal["label_scoring", "release"] = "label_scoring"

    @property
    def num_virtual_tokens(self) -> int:
        """m, or l for prompt tuning; 0 without a prompt."""
        return int(dict(self.settings).get("num_virtual_tokens") or 0)

    @property
    def rank(self) -> int:
        """Of the update of the word embeddings; 0 without one."""
        return int(dict(self.settings).get("rank") or 0)

    @property
    def name(self) -> str:
        way = ", release" if self.decoding == "release" else ""
        if self.method == BACKBONE:
            return f"no prompt{way}"
        # m = 0 of the method whose m is varied is one of its lengths; elsewhere it says that there is no prompt.
        has_length = self.method != BASELINE and (self.num_virtual_tokens or self.method == DEFAULT_METHOD)
        length = f" m={self.num_virtual_tokens}" if has_length else ""
        return f"{title_of(self.method)}{length}{way}"

    def config(self, max_seq_length: int) -> MethodConfig:
        """The method's config; random vectors do for a prompt, since speed does not depend on them.

        Raises:
            ConfigError: settings that cannot be.
        """
        given = dict(self.settings) | {"prompt_init": "random", "prompt_init_text": None}
        generous = {"budget_tokens": 10**5}  # the plan has kept to the budget
        return method_config(self.method).from_settings({**generous, **given, "max_seq_length": max_seq_length})

    def to_dict(self) -> dict[str, Any]:
        sizes = {name: getattr(self, name) for name in _SIZES}
        ways = {"cache_prompt": self.cache_prompt, "decoding": self.decoding}
        return {"method": self.method, **sizes, "settings": dict(self.settings), **ways}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Variant:
        """The variant of a bench.json; earlier ones have the two sizes alone."""
        settings = values.get("settings")
        if settings is None:
            known = () if values["method"] == BACKBONE else method_config(values["method"]).own_settings()
            settings = {name: values[name] for name in _SIZES if name in known}
        ways = {name: values[name] for name in ("cache_prompt", "decoding")}
        return variant_of(values["method"], settings, **ways)


def variant_of(method: str, settings: Mapping[str, Value] | None = None, **ways: Any) -> Variant:
    """A method at these settings, in any order.

    Args:
        ways: `cache_prompt` and `decoding` of `Variant`.
    """
    return Variant(method, tuple(sorted((settings or {}).items())), **ways)
