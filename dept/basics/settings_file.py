"""Settings from YAML or JSON files, and a flag's text as a value of an annotated kind."""

import json
import re
import typing
from pathlib import Path
from typing import Any, Literal

import yaml

from dept.basics.checked import options_of
from dept.errors import ConfigError

_MAX_CONFIG_BYTES = 1_000_000


# PyYAML lets more than its own errors through: `!!bool x` is a KeyError, `!!int ""` an IndexError, ...
_YAML_FAULTS = (yaml.YAMLError, LookupError, AttributeError, TypeError, ArithmeticError)


class _SettingsLoader(yaml.SafeLoader):
    """YAML 1.2's plain values: 1e-6 is a number (PyYAML: text) and `no` a word (PyYAML: false)."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":bool", ":float"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_SettingsLoader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("(?i:true|false)$"), list("tTfF"))
_SettingsLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?((\d+\.\d*|\.\d+)([eE][-+]?\d+)?|\d+[eE][-+]?\d+|(?i:\.inf|\.nan))$"),
    list("-+.0123456789"),
)


def parse_value(name: str, text: object, kind: Any) -> Any:
    """A flag's text as a value of an annotated kind; what does not fit stays text, for the config to name.

    "none" gives None where the kind has it.
    """
    if not isinstance(text, str):
        return text
    options = options_of(kind)
    for option in options:
        if option is type(None) and text.lower() == "none":
            return None
        if option in (int, float):
            try:
                return option(text)
            except ValueError:
                continue
    if str not in options and not any(typing.get_origin(option) is Literal for option in options):
        raise ConfigError(f"--{name.replace('_', '-')} takes a number, not {text!r}")
    return text


def read_config(path: Path) -> dict[str, Any]:
    """The settings of a YAML or JSON file.

    Raises:
        ConfigError: missing, too large, not YAML, or not a mapping of names to values.
    """
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8") if size <= _MAX_CONFIG_BYTES else ""
        values = json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=_SettingsLoader)
    except (OSError, ValueError, RecursionError, *_YAML_FAULTS) as fault:
        reason = getattr(fault, "strerror", None) or " ".join(str(fault).split())[:160]
        raise ConfigError(f"{path} cannot be read as settings: {reason}") from None
    if size > _MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is too large to be a file of settings")
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"{path} must hold settings by name, for example `task: sst2`")
    # A run's own config.json is a valid file of settings.
    values.pop("fingerprints", None)
    return values


def text_or_file(value: str, name: str) -> str:
    """A setting that is JSON text or a file of it, as text on one line: the same content is the same setting.

    Raises:
        ConfigError: no such file, or it is too large or not JSON.
    """
    text = value
    if not value.lstrip().startswith("{"):
        path = Path(value).expanduser()
        try:
            size = path.stat().st_size
            text = path.read_text(encoding="utf-8") if size <= _MAX_CONFIG_BYTES else ""
        except (OSError, ValueError) as fault:
            raise ConfigError(f"{name}: {value[:200]!r} cannot be read: {getattr(fault, 'strerror', fault)}") from None
        if size > _MAX_CONFIG_BYTES:
            raise ConfigError(f"{name}: {value[:200]!r} is too large")
    try:
        return json.dumps(json.loads(text), sort_keys=True)
    except (ValueError, RecursionError) as fault:
        raise ConfigError(f"{name} is not JSON: {str(fault)[:160]}") from None
