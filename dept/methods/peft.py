"""Any method of PEFT that is injected into the backbone, by its own adapter_config.json (`--peft-config FILE`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dept.basics.settings_file import text_or_file
from dept.errors import ConfigError
from dept.methods.contract import Facts, Footprint, Group, MethodConfig, own_setting

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dept.parts.contract import Part

# Those that were trained, saved and loaded here (tests/dept/methods/test_peft.py).
INJECTED: tuple[str, ...] = (
    *("LORA", "IA3", "LN_TUNING", "LOHA", "LOKR", "OFT", "BOFT", "HRA", "FOURIERFT"),
    *("BEFT", "GRALORA", "HIRA", "MISS", "PEANUT", "ROAD"),
)
_RANDOM_START = ("FOURIERFT",)  # unless its own config says otherwise
_REFUSED = {
    "PROMPT_TUNING": "it is --method prompt_tuning here",
    "PREFIX_TUNING": "it is a prompt, which is not injected",
    "P_TUNING": "it is a prompt, which is not injected",
    "MULTITASK_PROMPT_TUNING": "it is a prompt, which is not injected",
    "ADALORA": "it wants to be told of every step",
    **dict.fromkeys(("VERA", "PVERA", "VBLORA", "FROD", "TINYLORA", "UNILORA"), "its layers share tensors"),
    "XLORA": "it mixes other adapters",
}


@dataclass(frozen=True)
class PeftConfig(MethodConfig):
    """A method of PEFT, unchanged.

    Attributes:
        peft_config: the text of an adapter_config.json, or the file's path until a run is set up.

    Raises:
        ConfigError: no config, one that is no JSON object, or one of a method that cannot be injected.
    """

    peft_config: str | None = own_setting(
        None,
        "PEFT's adapter_config.json, of a method that PEFT injects: a file",
        label="PEFT's config",
        widget="json",
    )

    name: ClassVar[str] = "peft"
    title: ClassVar[str] = "PEFT"
    paper: ClassVar[str] = "https://github.com/huggingface/peft"
    sentence: ClassVar[str] = "Any method that PEFT injects into a backbone, by its own adapter_config.json."
    reads_peft: ClassVar[tuple[str, ...]] = INJECTED
    groups: ClassVar[tuple[Group, ...]] = (
        Group("peft", "PEFT's tensors", 3e-4, "maximum rate of PEFT's tensors [3e-4]"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.values()

    def values(self) -> dict[str, Any]:
        """What the config says.

        Raises:
            ConfigError: see the class.
        """
        if self.peft_config is None:
            raise ConfigError("method peft needs --peft-config FILE: PEFT's adapter_config.json")
        try:
            values = json.loads(self.peft_config)
        except (ValueError, RecursionError) as fault:
            raise ConfigError(f"peft_config is not JSON: {fault}") from None
        kind = values.get("peft_type") if isinstance(values, dict) else None
        if not isinstance(kind, str):
            raise ConfigError("peft_config names no peft_type: it is not PEFT's adapter_config.json")
        if kind not in INJECTED:
            reason = _REFUSED.get(kind, "it was not tried here")
            raise ConfigError(f"peft_config: {kind[:40]} is not taken ({reason}); one of {', '.join(INJECTED)}")
        return values

    @classmethod
    def from_settings(cls, values: Mapping[str, Any]) -> Self:
        text = values.get("peft_config")
        return cls(peft_config=None if text is None else text_or_file(text, "peft_config"))

    @classmethod
    def from_peft(cls, values: Mapping[str, Any]) -> Self:
        return cls(peft_config=json.dumps(dict(values), sort_keys=True))

    def counts(self, facts: Facts) -> dict[str, int]:
        raise ConfigError("what a config of PEFT trains is counted on the backbone itself")

    def footprint(self, facts: Facts) -> Footprint:
        raise ConfigError("what a config of PEFT costs is measured on the backbone itself")

    def summary(self) -> str:
        values = self.values()
        rank = f" r = {values['r']}" if isinstance(values.get("r"), int) else ""
        return f"{values['peft_type']}{rank}"

    def start_note(self) -> str | None:
        values = self.values()
        kind = values["peft_type"]
        at_random = any(value is False for name, value in values.items() if name.startswith("init_"))
        return f"PEFT starts {kind} at random" if at_random or kind in _RANDOM_START else None

    def parts(self, backbone: PreTrainedModel, facts: Facts) -> list[Part]:
        from dept.parts.injected import Injected

        return [Injected("peft", backbone, self.values())]

    def as_peft(self, backbone: PreTrainedModel) -> dict[str, Any]:
        return self.values()
