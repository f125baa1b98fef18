"""What an adapted model checks: that its parts are apart, and whether a generation can start from a filled cache."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from transformers import GenerationConfig

from dept.errors import ConfigError
from dept.parts.acting import Removal
from dept.parts.contract import Part


def check_apart(parts: Sequence[Part]) -> None:
    """Refuse two parts that go by one name, or name their tensors alike: one would be lost."""
    keys = [part.key for part in parts]
    names = [name for part in parts for tensors in part.tensors().values() for name in tensors]
    for kind, given in (("parts", keys), ("tensors", names)):
        twice = next((name for name, count in Counter(given).items() if count > 1), None)
        if twice is not None:
            raise ConfigError(f"two {kind} of this method are called {twice}: they cannot be one method")


def check_places(handles: Iterable[object]) -> None:
    """Refuse two parts of a model that would compute in one layer's place: only one would.

    Args:
        handles: what takes the parts' hooks away again.
    """
    places = [handle.module for handle in handles if isinstance(handle, Removal)]
    if len(places) > len(set(places)):
        raise ConfigError("two parts of this method stand in for the same layer: choose other layers for one of them")


def makes_one_sequence(arguments: Mapping[str, Any], defaults: GenerationConfig) -> bool:
    """Whether `generate` keeps one sequence a row and makes its own cache, which a filled one can stand in for."""
    if {"past_key_values", "cache_implementation", "assistant_model", "use_cache"} & arguments.keys():
        return False
    defaults = arguments.get("generation_config") or defaults
    counts = (arguments.get(name, getattr(defaults, name, None)) for name in ("num_beams", "num_return_sequences"))
    return all(count in (None, 1) for count in counts) and defaults.cache_implementation is None
