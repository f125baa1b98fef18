"""Read the configs of an adapter folder: ours, PEFT's own, and the authors'.

For a method that PEFT can read, adapter_config.json is PEFT's own and dept_config.json holds our keys. For any other
method adapter_config.json holds PEFT's common keys and ours, and `peft_type` is the method's id in capitals ("DEPT").
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
RELEASE_ALPHA = 8.0  # the default where the release's config has no alpha

PEFT_KEYS = (
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode"),
    *("num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"),
    "tokenizer_name_or_path",
)
OWN_KEYS = (
    *("schema_version", "method", "max_seq_length", "backbone_fingerprint"),
    *("task", "verbalizer", "training"),
)
BESIDE_PEFT = ("token_dim", "tokenizer_name_or_path")  # keys of ours where PEFT's own config lacks them
VISION = "vision"  # a key of ours that only adapters that read images have


@dataclass(frozen=True)
class VisionInfo:
    """The image encoder that an adapter's visual projection was trained on.

    Attributes:
        name: a name for `dept.backbones.towers.load_tower`. `name` and `fingerprint` are None where not recorded.
        width: channels of its features.
    """

    name: str | None
    fingerprint: str | None
    width: int


@dataclass(frozen=True)
class AdapterInfo:
    """The content of an adapter folder's configs; a value is None where they do not have it.

    Attributes:
        source: the folder or hub id.
        format: "ours", "peft" (written by PEFT) or "released" (the authors').
        method_config: the method's config, resolved.
        is_encoder_decoder: the kind of backbone.
        hidden_size: the backbone's d.
        max_seq_length: the number of source tokens to keep.
        backbone_name, backbone_fingerprint: the backbone that it was trained on.
        tokenizer_name: the tokenizer that it was trained with; None also for the backbone's own.
        task: `Task.to_dict()` of its task.
        verbalizer: the name of the task's label texts that it was trained with.
        training: how it was trained, and its scores.
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
        """The facts of the backbone, as far as the folder has them."""
        return Facts(hidden_size=self.hidden_size or 0, max_seq_length=self.max_seq_length or 256)


def read_config(folder: AdapterFolder) -> AdapterInfo:
    """Read and check an adapter folder's configs; its tensors are not opened.

    Raises:
        AdapterError: a file or key is missing, unknown, of the wrong type or out of range; the message names it.
    """
    return parse_config(
        folder,
        folder.read_json(CONFIG_FILE),
        folder.read_json(OWN_FILE) if folder.has(OWN_FILE) else None,
    )


def parse_config(folder: AdapterFolder, config: Mapping[str, Any], own: Mapping[str, Any] | None) -> AdapterInfo:
    """`read_config` for the content of adapter_config.json and, if there is one, of dept_config.json."""
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
    """A config file read key by key; a wrong value raises AdapterError, which names the file and the key."""

    def __init__(self, folder: AdapterFolder, file: str, values: Mapping[str, Any]) -> None:
        self.folder, self.file, self.values = folder, file, values

    def expect_keys(self, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        if self.integer("schema_version", 1, 2**31) > SCHEMA_VERSION:
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
        """A hub id, an alias or a folder; None if it is empty."""
        value = self.text(key)
        if value and (not value.isprintable() or len(value) > 4096 or ".." in PureWindowsPath(value).parts):
            raise self.fault(key, "a hub id or a folder's full path without '..'")
        return value or None

    def sha256(self, key: str) -> str | None:
        value = self.text(key)
        if value is not None and (len(value) != 64 or not set(value) <= set("0123456789abcdef")):
            raise self.fault(key, "a sha256 in hexadecimal")
        return value

    def integer(self, key: str, least: int, most: int) -> int:
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
    """Read a folder that this project wrote; `peft` and `own` are the same file if PEFT cannot read the method."""
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
        if peft.integer("num_virtual_tokens", 0, 100_000) != prompt_length:
            raise own.fault("num_virtual_tokens", f"that of {peft.file}")
        if peft.integer("num_transformer_submodules", 1, 2) != 1:
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
        hidden_size=places["token_dim"].integer("token_dim", 1, 1_000_000),
        max_seq_length=own.integer("max_seq_length", 1, 1_000_000) if known_length else None,
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
    return VisionInfo(inner.name("name"), inner.sha256("fingerprint"), inner.integer("width", 1, 1_000_000))


def _read_released(values: _Values) -> AdapterInfo:
    """Read the authors' release; settings that only our config has take their defaults."""
    alpha = values.values.get("lora_alpha", RELEASE_ALPHA)
    if alpha is None:
        raise values.fault("lora_alpha", "a number")
    settings = _prompt_settings(values) | {
        "rank": values.integer("r", 0, 100_000),
        "max_seq_length": values.integer("max_length", 1, 1_000_000),
        "low_rank_alpha": alpha,
    }
    if values.values.get("num_transformer_submodules") not in (None, 1):
        raise values.fault("num_transformer_submodules", "1")
    config = values.method_config(DeptConfig, settings)
    return _foreign(values, "released", config, max_seq_length=settings["max_seq_length"])


def _read_peft_prompt(values: _Values) -> AdapterInfo:
    """Read PEFT's prompt tuning. An encoder-decoder's file holds rows for the decoder too, which nothing reads."""
    config = values.method_config(PromptTuningConfig, _prompt_settings(values))
    parts = 2 if values.is_encoder_decoder() else 1  # PEFT's default
    if values.values.get("num_transformer_submodules") is not None:
        parts = values.integer("num_transformer_submodules", 1, 2)
    if parts == 2 and not values.is_encoder_decoder():
        raise values.fault("num_transformer_submodules", "1")
    return _foreign(values, "peft", config, stored_prompt_rows=parts * config.prompt_length)


def _read_peft(values: _Values, declared: type[MethodConfig]) -> AdapterInfo:
    """Read another method of PEFT, whose config does not have the backbone's width."""
    try:
        config = declared.from_peft(values.values)
    except ConfigError as fault:
        raise values.folder.fault(values.file, f"does not fit: {str(fault)[:300]}") from fault
    return _foreign(values, "peft", config, hidden_size=None, stored_prompt_rows=0)


def _prompt_settings(values: _Values) -> dict[str, Any]:
    text = values.text("prompt_tuning_init_text")
    from_text = values.text("prompt_tuning_init") == "TEXT" and bool(text)
    return {
        "num_virtual_tokens": values.integer("num_virtual_tokens", 0, 100_000),
        "prompt_init": "text" if from_text else "random",
        "prompt_init_text": text if from_text else None,
    }


def _foreign(
    values: _Values, file_format: Literal["peft", "released"], config: MethodConfig, **more: Any
) -> AdapterInfo:
    width = more.pop("hidden_size") if "hidden_size" in more else values.integer("token_dim", 1, 1_000_000)
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
