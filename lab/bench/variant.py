"""A variant that a benchmark compares: a method at some sizes, or the backbone alone, and how it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dept.methods.contract import MethodConfig
from dept.methods.registry import BASELINE, DEFAULT_METHOD, method_config, title_of

BACKBONE = "backbone"  # the backbone alone: no prompt and nothing to train, the reference for a method's cost
Value = str | int | float | bool | None
# The sizes that every version of bench.json has; 0 for a method without them.
_SIZES = ("num_virtual_tokens", "rank")


@dataclass(frozen=True)
class Variant:
    """One side of a comparison; use `variant_of` to create it.

    Attributes:
        method: a method of the registry, several joined by +, or `BACKBONE`.
        settings: the method's own settings, sorted by name, none of them "auto"; missing ones have their defaults.
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
        """The rank of the update of the word embeddings; 0 without one."""
        return int(dict(self.settings).get("rank") or 0)

    @property
    def name(self) -> str:
        way = ", release" if self.decoding == "release" else ""
        if self.method == BACKBONE:
            return f"no prompt{way}"
        # m = 0 is a length of the method whose m is varied; for other methods it means that there is no prompt.
        has_length = self.method != BASELINE and (self.num_virtual_tokens or self.method == DEFAULT_METHOD)
        length = f" m={self.num_virtual_tokens}" if has_length else ""
        return f"{title_of(self.method)}{length}{way}"

    def config(self, max_seq_length: int) -> MethodConfig:
        """The method's config, with a random prompt, since speed does not depend on its values.

        Raises:
            ConfigError: the settings are invalid.
        """
        given = dict(self.settings) | {"prompt_init": "random", "prompt_init_text": None}
        generous = {"budget_tokens": 10**5}  # the plan has checked the budget
        return method_config(self.method).from_settings({**generous, **given, "max_seq_length": max_seq_length})

    def to_dict(self) -> dict[str, Any]:
        sizes = {name: getattr(self, name) for name in _SIZES}
        ways = {"cache_prompt": self.cache_prompt, "decoding": self.decoding}
        return {"method": self.method, **sizes, "settings": dict(self.settings), **ways}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Variant:
        """The variant from a bench.json; older files have only the two sizes."""
        settings = values.get("settings")
        if settings is None:
            known = () if values["method"] == BACKBONE else method_config(values["method"]).own_settings()
            settings = {name: values[name] for name in _SIZES if name in known}
        ways = {name: values[name] for name in ("cache_prompt", "decoding")}
        return variant_of(values["method"], settings, **ways)


def variant_of(method: str, settings: Mapping[str, Value] | None = None, **ways: Any) -> Variant:
    """A method with these settings, given in any order.

    Args:
        ways: values for `cache_prompt` and `decoding` of `Variant`.
    """
    return Variant(method, tuple(sorted((settings or {}).items())), **ways)
