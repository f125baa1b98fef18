"""The adapter folder: save, load (ours, PEFT's prompt tuning, the authors' release), share on the hub.

`dept.adapters.config` says what the configs hold, `dept.adapters.files` how files are read and replaced.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import safetensors.torch
import torch
from huggingface_hub import HfApi
from torch import Tensor
from transformers import PreTrainedModel

from dept.adapters.card import write_card
from dept.adapters.config import (
    BESIDE_PEFT,
    DECODER_ONLY,
    ENCODER_DECODER,
    SCHEMA_VERSION,
    VISION,
    AdapterInfo,
    parse_config,
    read_config,
)
from dept.adapters.files import (
    CARD_FILE,
    CONFIG_FILE,
    HUB_ERRORS,
    MAX_CONFIG_BYTES,
    OWN_FILE,
    PICKLE_FILE,
    WEIGHTS_FILE,
    AdapterFolder,
    find_folder,
    hub_fault,
    shown,
    write_folder,
)
from dept.backbones.embeddings import word_embeddings
from dept.backbones.fingerprints import fingerprint, knows_checkpoint
from dept.errors import AdapterError, BackboneError, ConfigError
from dept.model.adapted import AdaptedModel
from dept.model.facts import facts_of
from dept.parts.contract import Part
from dept.parts.visual_projection import VisualProjection

if TYPE_CHECKING:
    from dept.backbones.towers import VisionTower

ModelT = TypeVar("ModelT", bound=AdaptedModel)

_RELEASED_NAMES = {
    "low_rank_a": "prompt_encoder.lora_embedding_A",
    "low_rank_b": "prompt_encoder.lora_embedding_B",
}
_MARGIN_BYTES = 1_000_000  # for a file's content besides its tensors: header, pickle, padding
_UPLOADED = [CONFIG_FILE, OWN_FILE, WEIGHTS_FILE, CARD_FILE]


def save_adapter(
    model: AdaptedModel,
    folder: str | Path,
    *,
    task: Mapping[str, Any] | None = None,
    verbalizer: str | None = None,
    max_seq_length: int | None = None,
    backbone_name: str | None = None,
    tokenizer_name: str | None = None,
    training: Mapping[str, Any] | None = None,
    tower: VisionTower | None = None,
) -> None:
    """Write a model's adapter folder atomically; an old one is replaced when the new one is complete.

    Args:
        folder: the adapter folder; files in it that are no adapter's stay.
        task: `Task.to_dict()`.
        verbalizer: the task's label texts that it was trained with ("digits", "words").
        max_seq_length: source tokens to keep, for prompt tuning; by default the task's. DePT has its own.
        backbone_name: alias, hub id or folder; by default the name in the backbone's config.
        tokenizer_name: the tokenizer; None for the backbone's own.
        training: how it was trained and its scores: data {source, ...}, backbone {source, ...}, metrics, seed, ...
            with the meaning that they have in `result.json`; JSON types. The card prints all of it.
        tower: the image encoder of a model that reads images.

    Raises:
        AdapterError: a value could not be loaded again (NaN, a verbalizer that the task lacks, ...), or the folder
            cannot be written.
    """
    backbone, config = model.backbone, model.method_config
    if "max_seq_length" in config.own_settings():
        max_seq_length = config.to_dict()["max_seq_length"]
    elif max_seq_length is None and task is not None:
        max_seq_length = task.get("max_seq_length")
    common = {
        "task_type": ENCODER_DECODER if model.is_encoder_decoder else DECODER_ONLY,
        "base_model_name_or_path": _portable(backbone_name or backbone.name_or_path),
        "revision": None,
        "inference_mode": True,
    }
    prompt = {
        "num_virtual_tokens": config.prompt_length,
        "token_dim": word_embeddings(backbone).shape[1],
        "num_transformer_submodules": 1,
        "num_attention_heads": getattr(backbone.config, "num_attention_heads", None),
        "num_layers": getattr(backbone.config, "num_hidden_layers", None),
        "tokenizer_name_or_path": _portable(tokenizer_name),
    }
    ours = {
        **config.to_dict(),
        "schema_version": SCHEMA_VERSION,
        "method": config.name,
        "max_seq_length": max_seq_length,
        "backbone_fingerprint": fingerprint(backbone),
        "task": task,
        "verbalizer": verbalizer,
        "training": training,
    }
    projection = next((part for part in model.parts if isinstance(part, VisualProjection)), None)
    if projection is not None:
        ours[VISION] = {
            "name": None if tower is None else _portable(tower.name),
            "fingerprint": None if tower is None else tower.fingerprint,
            "width": projection.visual_width,
        }
    tensors = {
        name: tensor.detach().to("cpu", torch.float32).contiguous()
        for name, tensor in (model.adapter_tensors() | model.constants()).items()
    }
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise AdapterError(f"{folder}: {name} holds NaN or infinity; the adapter was not written")
    files = {WEIGHTS_FILE: safetensors.torch.save(tensors, metadata={"format": "pt"})}
    peft = config.as_peft(backbone)
    if peft is None:
        files[CONFIG_FILE] = _as_json({"peft_type": config.name.upper(), **common, **prompt, **ours}, folder)
    else:
        # PEFT warns about keys that it does not know, so ours are in a file of their own.
        if "num_virtual_tokens" in peft:
            peft = {**prompt, **peft}
        files[CONFIG_FILE] = _as_json({**common, **peft}, folder)
        beside = {name: prompt[name] for name in BESIDE_PEFT if name not in peft}
        files[OWN_FILE] = _as_json({**ours, **beside}, folder)
    # Parsed as `load_adapter` parses it, so that no adapter is written that could not be loaded again.
    info = parse_config(
        AdapterFolder(Path(folder), str(folder)),
        json.loads(files[CONFIG_FILE]),
        None if peft is None else json.loads(files[OWN_FILE]),
    )
    files[CARD_FILE] = write_card(info, model.trainable_parts(), peft is not None and projection is None).encode()
    write_folder(Path(folder), files)


def load_adapter(
    backbone: PreTrainedModel,
    folder: str | Path,
    *,
    model_class: type[ModelT],
    revision: str | None = None,
    check_backbone: bool = True,
    token: str | bool | None = None,
) -> ModelT:
    """The prompted model of an adapter folder or hub id: ours, PEFT's prompt tuning, or the authors' release.

    Args:
        backbone: the model that the adapter was trained on; frozen here.
        folder: a folder, or a hub id (text of the form owner/name that is no folder here).
        model_class: `dept.prompted.PromptedModel`, or another `AdaptedModel`.
        revision: branch, tag or commit on the hub.
        check_backbone: False lets a backbone with another fingerprint through (kind and hidden size must fit).
        token: for private repositories; by default the one of `hf auth login`.

    Raises:
        AdapterError: the adapter is missing, damaged, malicious, or made for another backbone; the message says which.
        BackboneError: the backbone cannot generate text.
    """
    place = find_folder(folder, revision, token)
    info = read_config(place)
    _check_kind(info, backbone)
    facts = facts_of(backbone, max_seq_length=info.max_seq_length or 256)
    with torch.random.fork_rng(devices=[]):  # so that loading does not change torch's generator
        try:
            parts = info.method_config.parts(backbone, facts)
        except ConfigError as fault:
            raise AdapterError(f"{info.source}: {fault}") from fault
    if info.vision is not None:
        parts.append(VisualProjection(info.vision.width, facts.hidden_size))
    wanted = _wanted(parts)
    tensors = _read_tensors(place, info, {name: tuple(tensor.shape) for name, tensor in wanted.items()})
    if check_backbone and info.backbone_fingerprint is not None:
        _check_fingerprint(info, backbone)
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(tensors[name])
    device = word_embeddings(backbone).device
    for part in parts:
        if not part.acts_inside:
            part.to(device)
    return model_class(backbone, info.method_config, parts)


def _wanted(parts: Sequence[Part]) -> dict[str, Tensor]:
    """The tensors that the adapter file must hold and that loading fills, by name."""
    wanted: dict[str, Tensor] = {}
    for part in parts:
        for tensors in part.tensors().values():
            wanted |= tensors
        wanted |= part.constants()
    return wanted


def read_adapter_config(
    folder: str | Path, *, revision: str | None = None, token: str | bool | None = None
) -> AdapterInfo:
    """Read the configs of an adapter folder or hub id; neither its tensors nor a backbone are opened.

    Raises:
        AdapterError: the folder is missing, or its config is invalid; the message names the key.
    """
    return read_config(find_folder(folder, revision, token))


def push_to_hub(
    adapter: AdaptedModel | str | Path,
    repo_id: str,
    *,
    token: str | None = None,
    private: bool = False,
    revision: str | None = None,
    commit_message: str = "Upload adapter",
    **details: Any,
) -> str:
    """Upload an adapter to the hub, in a new repository if there is none; return the commit's URL.

    Args:
        adapter: a model, or an adapter folder (never a pickle: load and save the authors' ones first).
        repo_id: owner/name.
        token: a token with write access; by default the one of `hf auth login`.
        private: whether a new repository is private.
        revision: the branch to write to.
        details: arguments of `save_adapter`, for a model.

    Raises:
        AdapterError: the adapter could not be loaded again, or the hub refuses or does not answer.
    """
    if not isinstance(adapter, str | Path):
        with tempfile.TemporaryDirectory() as temporary:
            save_adapter(adapter, Path(temporary) / "adapter", **details)
            return push_to_hub(
                Path(temporary) / "adapter",
                repo_id,
                token=token,
                private=private,
                revision=revision,
                commit_message=commit_message,
            )
    if details:
        raise TypeError(f"a folder says these itself: {', '.join(details)}")
    place = find_folder(Path(adapter))
    if not place.has(WEIGHTS_FILE):
        raise place.fault(WEIGHTS_FILE, "is missing; load the adapter and save it, pickles are not uploaded")
    _read_tensors(place, read_config(place), None)
    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=place.path,
            revision=revision,
            commit_message=commit_message,
            allow_patterns=_UPLOADED,
        )
    except HUB_ERRORS as error:
        # Not `from error`: its text and request may hold the token.
        raise AdapterError(f"{repo_id}: not uploaded; {hub_fault(error, revision)}") from None
    return str(commit.commit_url)


# Inside.


def _portable(name: str | None) -> str | None:
    """A folder's full path, so that the adapter can be used from anywhere; other names unchanged."""
    if name and (name.startswith(".") or "/" in name) and Path(name).is_dir():
        return str(Path(name).resolve())
    return name or None


def _as_json(values: Mapping[str, Any], folder: str | Path) -> bytes:
    try:
        text = json.dumps(values, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise AdapterError(f"{folder}: task, verbalizer and training must be JSON types ({error})") from error
    content = f"{text}\n".encode()
    if len(content) > MAX_CONFIG_BYTES:
        raise AdapterError(f"{folder}: the config has {len(content):,} bytes, at most {MAX_CONFIG_BYTES:,}")
    return content


def _check_kind(info: AdapterInfo, backbone: PreTrainedModel) -> None:
    is_encoder_decoder = bool(getattr(backbone.config, "is_encoder_decoder", False))
    if not is_encoder_decoder and not backbone.can_generate():
        raise BackboneError(
            f"{type(backbone).__name__} is neither an encoder-decoder nor a decoder-only language model"
        )
    kinds = {True: "an encoder-decoder", False: "a decoder-only"}
    if info.is_encoder_decoder not in (None, is_encoder_decoder):
        wanted = kinds[bool(info.is_encoder_decoder)]
        raise AdapterError(
            f"{info.source}: made for {wanted} backbone{_called(info)}; this one is {kinds[is_encoder_decoder]} one"
        )
    hidden_size = word_embeddings(backbone).shape[1]
    if info.hidden_size not in (None, hidden_size):
        raise AdapterError(
            f"{info.source}: made for a backbone of hidden size {info.hidden_size}{_called(info)}; "
            f"this one's is {hidden_size}"
        )


def _called(info: AdapterInfo) -> str:
    return f" ({info.backbone_name})" if info.backbone_name else ""


def _check_fingerprint(info: AdapterInfo, backbone: PreTrainedModel) -> None:
    own, expected = fingerprint(backbone), info.backbone_fingerprint or ""
    if own == expected:
        return
    rounded = " (of its weights as rounded in memory; load_backbone knows the checkpoint's)"
    raise AdapterError(
        f"{info.source}: trained on the backbone {info.backbone_name or '(not named)'}, fingerprint "
        f"{expected[:12]}; this one has {own[:12]}{'' if knows_checkpoint(backbone) else rounded}: "
        "load that backbone, or pass check_backbone=False"
    )


def _read_tensors(
    place: AdapterFolder, info: AdapterInfo, shapes: Mapping[str, tuple[int, ...]] | None
) -> dict[str, Tensor]:
    """The adapter's tensors by our names, float32 on the CPU.

    Args:
        shapes: the exact shapes that the file must hold. None, if there is no backbone, accepts any tensors, but
            compares their size with the config's count where that is known.

    Raises:
        AdapterError: names the file and the tensor.
    """
    if shapes is None:
        stored = place.read_safetensors(WEIGHTS_FILE, place.size(WEIGHTS_FILE))
        _check_count(place, info, stored)
        return {name: _checked(place, info, WEIGHTS_FILE, name, tensor) for name, tensor in stored.items()}
    stored_shapes = dict(shapes)
    if info.stored_prompt_rows and "prompt_embeddings" in shapes:
        stored_shapes["prompt_embeddings"] = (info.stored_prompt_rows, *shapes["prompt_embeddings"][1:])
    most_bytes = sum(8 * math.prod(shape) for shape in stored_shapes.values()) + _MARGIN_BYTES
    most_bytes += 200 * len(stored_shapes)  # for each tensor's line in the header
    file = WEIGHTS_FILE
    if info.format == "ours" or place.has(WEIGHTS_FILE) or not place.has(PICKLE_FILE):
        stored = place.read_safetensors(WEIGHTS_FILE, most_bytes)
    else:
        file = PICKLE_FILE
        stored = place.read_pickle(PICKLE_FILE, most_bytes)
    names = {name: _RELEASED_NAMES.get(name, name) if info.format == "released" else name for name in stored_shapes}
    for name in names.values():
        if name not in stored:
            raise place.fault(file, f"lacks the tensor {name}")
    for name in stored:
        if name not in names.values():
            raise place.fault(file, f"has an unknown tensor {shown(name)}")
    tensors = {}
    for name, shape in stored_shapes.items():
        tensor = _checked(place, info, file, names[name], stored[names[name]], shape)
        tensors[name] = tensor[: shapes[name][0]] if shape else tensor
    return tensors


def _checked(
    place: AdapterFolder, info: AdapterInfo, file: str, name: str, tensor: Any, shape: tuple[int, ...] | None = None
) -> Tensor:
    """The tensor as a new float32 one, checked: plain, finite, and of the right shape, which is checked first."""
    dtypes = (torch.float32,) if info.format == "ours" else (torch.float32, torch.bfloat16, torch.float16)
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise place.fault(file, f"{name} is no plain tensor")
    if shape is not None and tuple(tensor.shape) != shape:
        raise place.fault(file, f"{name} is {list(tensor.shape)}; by the config it is {list(shape)}")
    if tensor.dtype not in dtypes:
        raise place.fault(file, f"{name} is {tensor.dtype}; expected {dtypes[0]}")
    if not tensor.isfinite().all():
        raise place.fault(file, f"{name} holds NaN or infinity")
    return tensor.detach().float().clone(memory_format=torch.contiguous_format)


def _check_count(place: AdapterFolder, info: AdapterInfo, stored: Mapping[str, Tensor]) -> None:
    """Compare the count of numbers in a file with the count that follows from the config's sizes."""
    try:
        expected = sum(info.method_config.counts(info.facts()).values())
    except ConfigError:  # the count depends on the backbone's layers
        return
    if info.vision is not None:
        expected += (info.vision.width + 1) * (info.hidden_size or 0)
    held = sum(tensor.numel() for tensor in stored.values())
    if info.format == "ours" and held != expected:
        raise place.fault(WEIGHTS_FILE, f"holds {held:,} numbers; by the config there are {expected:,}")
