"""What the configs of an adapter folder say: ours, PEFT's own, and the authors'.

A method that PEFT can read: adapter_config.json is PEFT's own, dept_config.json holds our keys. Any other method:
adapter_config.json holds PEFT's common keys and ours, and its `peft_type` is the method's id in capitals ("DEPT").
The authors' release writes `peft_type: "PROMPT_TUNING_LORA"`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Any, Literal

from dept.adapters.files import CONFIG_FILE, OWN_FILE, AdapterFolder, shown
from dept.basics.checked import settings_of
from dept.errors import AdapterError, ConfigError, TaskError
from dept.methods.contract import Facts, MethodConfig
from dept.methods.dept import DeptConfig
from dept.methods.prompt_tuning import PromptTuningConfig
from dept.methods.registry import declarations, method_config, method_names
from dept.tasks import Task

SCHEMA_VERSION = 1
ENCODER_DECODER, DECODER_ONLY = "SEQ_2_SEQ_LM", "CAUSAL_LM"  # PEFT's task types
RELEASED, PROMPT_TUNING = (
    "PROMPT_TUNING_LORA",
    "PROMPT_TUNING",
)  # peft_type of the authors' files, and of PEFT's prompts
RELEASE_ALPHA = 8.0  # where the release's config does not say

PEFT_KEYS = (
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode"),
    *("num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"),
    "tokenizer_name_or_path",
)
OWN_KEYS = (
    *("schema_version", "method", "max_seq_length", "backbone_fingerprint"),
    *("task", "verbalizer", "training"),
)
BESIDE_PEFT = ("token_dim", "tokenizer_name_or_path")  # ours where PEFT's own config has no such key
VISION = "vision"  # one more of ours, in adapters that read images alone


@dataclass(frozen=True)
class VisionInfo:
    """The image encoder that an adapter's visual projection was trained on.

    Attributes:
        name: as `dept.backbones.towers.load_tower` takes it; None where it was not said, as `fingerprint`.
        width: channels of its features.
    """

    name: str | None
    fingerprint: str | None
    width: int


@dataclass(frozen=True)
class AdapterInfo:
    """What an adapter folder says about itself.

    Attributes:
        source: the folder or hub id.
        format: "ours", "peft" (written by PEFT) or "released" (the authors').
        method_config: the method, resolved.
        is_encoder_decoder: the kind of backbone, None where the config does not say.
        hidden_size: d of the backbone, None where the config does not say.
        max_seq_length: source tokens to keep; None where the config does not say.
        backbone_name, backbone_fingerprint, tokenizer_name: what it was trained on, None where it is not said
            (tokenizer: the backbone's own).
        task: `Task.to_dict()` of its task, or None.
        verbalizer: the name of the task's label texts that it was trained with, or None.
        training: how it was trained and how it scored, or None.
        stored_prompt_rows: rows of the file's prompt. PEFT's encoder-decoder files may hold as many again for
            the decoder, which prompt tuning never reads.
        vision: the image encoder of an adapter that reads images.
    """

    source: str
    format: Literal["ours", "peft", "released"]
    method_config: MethodConfig
    is_encoder_decoder: bool | None
    hidden_size: int | None
    max_seq_length: int | None
    backbone_name: str | None
    backbone_fingerprint: str | None
    tokenizer_name: str | None
    task: Mapping[str, Any] | None
    verbalizer: str | None
    training: Mapping[str, Any] | None
    stored_prompt_rows: int
    vision: VisionInfo | None = None

    @property
    def method(self) -> str:
        return self.method_config.name

    def facts(self) -> Facts:
        """What the folder says of the backbone."""
        return Facts(hidden_size=self.hidden_size or 0, max_seq_length=self.max_seq_length or 256)


def read_config(folder: AdapterFolder) -> AdapterInfo:
    """An adapter folder's own account of itself, checked; its tensors are not opened.

    Raises:
        AdapterError: a file or key that is missing, unknown, of the wrong type or out of range, by name.
    """
    return parse_config(
        folder,
        folder.read_json(CONFIG_FILE),
        folder.read_json(OWN_FILE) if folder.has(OWN_FILE) else None,
    )


def parse_config(folder: AdapterFolder, config: Mapping[str, Any], own: Mapping[str, Any] | None) -> AdapterInfo:
    """`read_config` for the content of adapter_config.json and, where it is there, of dept_config.json."""
    values = _Values(folder, CONFIG_FILE, config)
    peft_type = values.text("peft_type")
    if peft_type == RELEASED:
        return _read_released(values)
    if own is not None:
        return _read_ours(values, _Values(folder, OWN_FILE, own))
    if "schema_version" in config:
        return _read_ours(values, values)
    if peft_type == PROMPT_TUNING:
        return _read_peft_prompt(values)
    for declared in declarations():
        if peft_type in declared.reads_peft:
            return _read_peft(values, declared)
    read = [name for declared in declarations() for name in declared.reads_peft]
    raise values.fault("peft_type", f"DEPT, {PROMPT_TUNING}, {RELEASED}, {', '.join(read)} or another method's id")


class _Values:
    """A config file read key by key; what is wrong raises AdapterError with the file's and the key's name."""

    def __init__(self, folder: AdapterFolder, file: str, values: Mapping[str, Any]) -> None:
        self.folder, self.file, self.values = folder, file, values

    def expect_keys(self, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        if self.whole("schema_version", 1, 2**31) > SCHEMA_VERSION:
            raise self.folder.fault(self.file, "was written by a newer version: upgrade dept-lab")
        for key in self.values:
            if key not in (*required, *optional, VISION):
                raise self.folder.fault(self.file, f"has an unknown key {shown(key)}")
        for key in required:
            if key not in self.values:
                raise self.folder.fault(self.file, f"lacks the key {key!r}")

    def fault(self, key: str, expected: str) -> AdapterError:
        if key not in self.values:
            return self.folder.fault(self.file, f"lacks the key {key!r}")
        return self.folder.fault(self.file, f"{key} must be {expected}, not {shown(self.values[key])}")

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.fault(key, "text")
        return value

    def name(self, key: str) -> str | None:
        """A hub id, an alias or a folder; None where it is empty."""
        value = self.text(key)
        if value and (not value.isprintable() or len(value) > 4096 or ".." in PureWindowsPath(value).parts):
            raise self.fault(key, "a hub id or a folder's full path without '..'")
        return value or None

    def sha256(self, key: str) -> str | None:
        value = self.text(key)
        if value is not None and (len(value) != 64 or not set(value) <= set("0123456789abcdef")):
            raise self.fault(key, "a sha256 in hexadecimal")
        return value

    def whole(self, key: str, least: int, most: int) -> int:
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.fault(key, f"a whole number between {least:,} and {most:,}")
        return value

    def mapping(self, key: str) -> dict[str, Any] | None:
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.fault(key, "an object or null")
        return value

    def is_encoder_decoder(self) -> bool | None:
        kind = self.text("task_type")
        if kind not in (None, ENCODER_DECODER, DECODER_ONLY):
            raise self.fault("task_type", f"{ENCODER_DECODER} or {DECODER_ONLY}")
        return None if kind is None else kind == ENCODER_DECODER

    def method_config(self, config_class: type[MethodConfig], values: Mapping[str, Any]) -> MethodConfig:
        try:
            config = config_class.from_dict(values)
        except ConfigError as error:
            raise self.folder.fault(self.file, f"does not fit: {str(error)[:300]}") from error
        for name, value in config.to_dict().items():
            if value == "auto":
                raise self.fault(name, "a whole number")
        return config


def _read_ours(peft: _Values, own: _Values) -> AdapterInfo:
    """A folder that this project wrote; `peft` and `own` are one where PEFT cannot read the method."""
    method = own.text("method")
    try:
        config_class = method_config(method or "")
    except ConfigError:
        raise own.fault("method", f"one of {', '.join(method_names())}") from None
    fields = settings_of(config_class)
    required = [name for name, field in fields.items() if field.since <= config_class.since]
    if peft is own:
        if peft.text("peft_type") != config_class.name.upper():
            raise own.fault("method", f"that of peft_type {shown(peft.values.get('peft_type'))}")
        own.expect_keys((*PEFT_KEYS, *OWN_KEYS, *required), tuple(fields))
    else:
        own.expect_keys((*OWN_KEYS, *required), (*fields, *BESIDE_PEFT))
    config = own.method_config(config_class, {key: own.values[key] for key in fields if key in own.values})
    places = {key: peft if peft.values.get(key) is not None else own for key in BESIDE_PEFT}
    prompt_length = config.prompt_length
    if peft is own or "num_virtual_tokens" in peft.values:
        if peft.whole("num_virtual_tokens", 0, 100_000) != prompt_length:
            raise own.fault("num_virtual_tokens", f"that of {peft.file}")
        if peft.whole("num_transformer_submodules", 1, 2) != 1:
            raise peft.fault("num_transformer_submodules", "1")
    fingerprint = own.sha256("backbone_fingerprint")
    if fingerprint is None:
        raise own.fault("backbone_fingerprint", "a sha256 in hexadecimal")
    known_length = own.values["max_seq_length"] is not None
    task, verbalizer = own.mapping("task"), own.text("verbalizer")
    if task is not None:
        try:
            checked = Task.from_dict(task)
            if verbalizer is not None:
                checked.verbalizer(verbalizer)
        except TaskError as error:
            raise own.folder.fault(own.file, f"task: {error}") from error
    return AdapterInfo(
        source=peft.folder.name,
        format="ours",
        method_config=config,
        is_encoder_decoder=peft.is_encoder_decoder(),
        hidden_size=places["token_dim"].whole("token_dim", 1, 1_000_000),
        max_seq_length=own.whole("max_seq_length", 1, 1_000_000) if known_length else None,
        backbone_name=peft.name("base_model_name_or_path"),
        backbone_fingerprint=fingerprint,
        tokenizer_name=places["tokenizer_name_or_path"].name("tokenizer_name_or_path"),
        task=task,
        verbalizer=verbalizer,
        training=own.mapping("training"),
        stored_prompt_rows=prompt_length,
        vision=_read_vision(own),
    )


def _read_vision(own: _Values) -> VisionInfo | None:
    values = own.mapping(VISION)
    if values is None:
        return None
    inner = _Values(own.folder, f"{own.file}, {VISION},", values)
    for key in values:
        if key not in ("name", "fingerprint", "width"):
            raise own.folder.fault(inner.file, f"has an unknown key {shown(key)}")
    return VisionInfo(inner.name("name"), inner.sha256("fingerprint"), inner.whole("width", 1, 1_000_000))


def _read_released(values: _Values) -> AdapterInfo:
    """The authors' release; it leaves out what our config has more of."""
    alpha = values.values.get("lora_alpha", RELEASE_ALPHA)
    if alpha is None:
        raise values.fault("lora_alpha", "a number")
    settings = _prompt_settings(values) | {
        "rank": values.whole("r", 0, 100_000),
        "max_seq_length": values.whole("max_length", 1, 1_000_000),
        "low_rank_alpha": alpha,
    }
    if values.values.get("num_transformer_submodules") not in (None, 1):
        raise values.fault("num_transformer_submodules", "1")
    config = values.method_config(DeptConfig, settings)
    return _foreign(values, "released", config, max_seq_length=settings["max_seq_length"])


def _read_peft_prompt(values: _Values) -> AdapterInfo:
    """PEFT's prompt tuning. An encoder-decoder's file holds rows for the decoder too, which nothing reads."""
    config = values.method_config(PromptTuningConfig, _prompt_settings(values))
    parts = 2 if values.is_encoder_decoder() else 1  # PEFT's default
    if values.values.get("num_transformer_submodules") is not None:
        parts = values.whole("num_transformer_submodules", 1, 2)
    if parts == 2 and not values.is_encoder_decoder():
        raise values.fault("num_transformer_submodules", "1")
    return _foreign(values, "peft", config, stored_prompt_rows=parts * config.prompt_length)


def _read_peft(values: _Values, declared: type[MethodConfig]) -> AdapterInfo:
    """Another method of PEFT; its config says nothing of the backbone's width."""
    try:
        config = declared.from_peft(values.values)
    except ConfigError as fault:
        raise values.folder.fault(values.file, f"does not fit: {str(fault)[:300]}") from fault
    return _foreign(values, "peft", config, hidden_size=None, stored_prompt_rows=0)


def _prompt_settings(values: _Values) -> dict[str, Any]:
    text = values.text("prompt_tuning_init_text")
    from_text = values.text("prompt_tuning_init") == "TEXT" and bool(text)
    return {
        "num_virtual_tokens": values.whole("num_virtual_tokens", 0, 100_000),
        "prompt_init": "text" if from_text else "random",
        "prompt_init_text": text if from_text else None,
    }


def _foreign(
    values: _Values, file_format: Literal["peft", "released"], config: MethodConfig, **more: Any
) -> AdapterInfo:
    width = more.pop("hidden_size") if "hidden_size" in more else values.whole("token_dim", 1, 1_000_000)
    rows = more.pop("stored_prompt_rows", config.prompt_length)
    return AdapterInfo(
        source=values.folder.name,
        format=file_format,
        method_config=config,
        is_encoder_decoder=values.is_encoder_decoder(),
        hidden_size=width,
        max_seq_length=more.pop("max_seq_length", None),
        backbone_name=values.name("base_model_name_or_path"),
        backbone_fingerprint=None,
        tokenizer_name=values.name("tokenizer_name_or_path"),
        task=None,
        verbalizer=None,
        training=None,
        stored_prompt_rows=rows,
    )
