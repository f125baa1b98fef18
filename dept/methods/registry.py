"""The methods by name; nothing else lists them. A declaration is imported when its name is used."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from importlib import import_module

from dept.basics.checked import Setting, settings_of
from dept.errors import ConfigError
from dept.methods.combined import SUM, combined
from dept.methods.contract import Group, MethodConfig
from dept.methods.rates import PROJECTION

METHODS: Mapping[str, str] = {
    "dept": "dept.methods.dept:DeptConfig",
    "prompt_tuning": "dept.methods.prompt_tuning:PromptTuningConfig",
    "bitfit": "dept.methods.bitfit:BitfitConfig",
    "lora": "dept.methods.lora:LoraConfig",
    "peft": "dept.methods.peft:PeftConfig",
    "adept": "dept.methods.adept:AdeptConfig",
    "lopt": "dept.methods.lopt:LoptConfig",
}
DEFAULT_METHOD, BASELINE = "dept", "prompt_tuning"


def method_names() -> tuple[str, ...]:
    """The methods that there are, the paper's own first; several joined by + are one method too."""
    return tuple(METHODS)


@functools.cache
def method_config(name: str) -> type[MethodConfig]:
    """The config class of a method, or of several joined by + ("dept+lora").

    Raises:
        ConfigError: an unknown method, or several that do not go together.
    """
    if SUM in name:
        return combined(tuple(method_config(part) for part in name.split(SUM)))
    if name not in METHODS:
        raise ConfigError(f"method must be one of {', '.join(METHODS)}, or some joined by {SUM}, not {name[:60]!r}")
    module, _, attribute = METHODS[name].partition(":")
    declared: type[MethodConfig] = getattr(import_module(module), attribute)
    return declared


def declarations() -> Iterator[type[MethodConfig]]:
    """Every method's config class."""
    return (method_config(name) for name in METHODS)


def title_of(name: str) -> str:
    """A method as tables and figures call it; an unknown one by its id."""
    try:
        return method_config(name).title
    except ConfigError:
        return name


@functools.cache
def groups() -> Mapping[str, Group]:
    """Every rate group by its name, that of the visual projection last."""
    return {group.name: group for declared in declarations() for group in declared.groups} | {
        PROJECTION.name: PROJECTION
    }


@functools.cache
def method_settings() -> Mapping[str, Setting]:
    """The settings of all methods by name; what two share is the first one's."""
    shared: dict[str, Setting] = {}
    for declared in declarations():
        for name, one in settings_of(declared).items():
            shared.setdefault(name, one)
    return shared


def owners(setting: str) -> tuple[str, ...]:
    """The methods that have a setting or a rate, by title."""
    return tuple(declared.title for declared in declarations() if setting in declared.setting_names())
