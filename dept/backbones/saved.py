"""Read a folder that transformers saved: its config, model and tokenizer. An unusable file gives an error of one line.

Code that comes with a model is never run, and weights are read from safetensors only: a pickle is refused
even where `weights_only` would make it safe, since that guarantee has been broken before and any model can be
saved again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dept.backbones.embeddings import word_embeddings
from dept.backbones.fingerprints import fingerprint_of_files, remember
from dept.backbones.known import Source
from dept.backbones.placement import fitting
from dept.basics.faults import first_line
from dept.errors import BackboneError

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
)

# The files fetched from the hub: never a pickle, never code.
CONFIG_PATTERNS = ["config.json"]
TOKENIZER_PATTERNS = ["*.json", "*.model", "*.txt", "*.jinja"]
WEIGHT_PATTERNS = ["model*.safetensors", *TOKENIZER_PATTERNS]


@contextlib.contextmanager
def explained(where: Path | str, what: str) -> Iterator[None]:
    """Within the block, transformers' errors about an unusable config or folder become one line that names it."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    try:
        yield
    except BackboneError:
        raise
    except (
        StrictDataclassError,
        SafetensorError,
        ImportError,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        NotImplementedError,
        RuntimeError,
    ) as fault:
        raise BackboneError(f"{where} {what}: {first_line(fault)}") from fault


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within the block, silence transformers' load reports (missing weights are refused here) and progress bars."""
    from transformers.utils import logging

    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


@quiet()
def load_folder(
    folder: Path, name: str, source: Source, dtype: torch.dtype, placement: dict[str, Any]
) -> PreTrainedModel:
    """Load the model saved in `folder` in `dtype`; refuse it if a weight is missing.

    Args:
        placement: more arguments of transformers' `from_pretrained` (`dept.backbones.placement.loading_arguments`).

    Raises:
        BackboneError: a file is absent, damaged or pickled, a weight is missing, the kind is unsupported, it is
            quantised already, or it does not fit.
    """
    import torch

    config = read_config(folder, name)
    model_class = auto_class(config, name)
    files = checked_weight_files(folder, name, source)
    quantised = "quantization_config" in placement
    if quantised and getattr(config, "quantization_config", None) is not None:
        raise BackboneError(f"{name} is quantised already: leave out quantize")
    with explained(folder, "cannot be loaded"), fitting(name):
        backbone, report = model_class.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # reported below, by name
            output_loading_info=True,
            **placement,
        )
    # transformers fills missing weights with random numbers and goes on; a backbone must be complete.
    if report["mismatched_keys"]:
        weight, stored_shape, config_shape = sorted(report["mismatched_keys"])[0]
        raise BackboneError(
            f"{folder}: {weight} is {tuple(stored_shape)} in the weights, {tuple(config_shape)} by config.json"
        )
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise BackboneError(f"{folder}: {len(missing)} weights are missing, the first is {missing[0]}")
    if quantised or dtype == torch.float16:  # weights in memory are rounded: they don't identify the checkpoint
        with torch.device("meta"):
            skeleton = model_class.from_config(config)
        remember(backbone, fingerprint_of_files(files, skeleton))
    return backbone


def read_config(folder: Path, name: str) -> PretrainedConfig:
    """Read the config in `folder`; refuse an architecture that transformers itself does not have."""
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    path = folder / "config.json"
    if not path.is_file():
        adapter = (folder / "adapter_config.json").is_file()
        hint = "it is an adapter, not a backbone" if adapter else "a backbone is saved with save_pretrained"
        raise BackboneError(f"{folder} has no config.json: {hint}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise BackboneError(f"{path} is damaged: {fault}") from fault
    kind = config.get("model_type") if isinstance(config, dict) else None
    if not isinstance(kind, str):
        raise BackboneError(f"{path} names no model_type: it is not the config of a transformers model")
    if kind not in CONFIG_MAPPING_NAMES:
        raise BackboneError(
            f"{name} is of the kind {kind!r}, which transformers {transformers.__version__} does not have "
            "(code that comes with a model is never run)"
        )
    with explained(path, "cannot be used"):
        read: PretrainedConfig = transformers.AutoConfig.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    return read


def auto_class(config: PretrainedConfig, name: str) -> Any:
    """The transformers class for a config: encoder-decoder or decoder-only language models, nothing else."""
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.models.auto import modeling_auto as known

    kind = type(config)
    other_input = [sub for sub in config.sub_configs if sub.startswith(("vision", "audio"))]
    if not other_input and config.is_encoder_decoder:
        if kind in known.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING:
            return AutoModelForSeq2SeqLM
    elif not other_input and kind in known.MODEL_FOR_CAUSAL_LM_MAPPING:
        # BERT and its like can be asked to decode, but are encoders unless their config says otherwise.
        encoder_only = kind in known.MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False)
        if not encoder_only:
            return AutoModelForCausalLM
    raise BackboneError(
        f"{name} ({config.model_type}) is neither an encoder-decoder nor a decoder-only text model; "
        "use one such as t5-base, gpt2 or smollm2-135m"
    )


def checked_weight_files(folder: Path, name: str, source: Source) -> list[Path]:
    """The files of the weights. Missing, pickled and truncated ones are refused by name, before transformers looks."""
    from safetensors import SafetensorError, safe_open

    index = folder / "model.safetensors.index.json"
    files = [folder / "model.safetensors"]
    if not files[0].is_file() and index.is_file():
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            files = [folder / Path(shard).name for shard in sorted(shards)]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
            raise BackboneError(f"{index} is damaged: {fault}") from fault
    mend = {
        "hub": "connect to the hub to download it again",
        "package": f"delete {folder} and it is made again",
    }.get(source, "copy the folder again")
    for file in files:
        if not file.is_file():
            pickles = sorted(path.name for path in folder.glob("*.bin"))
            pickle_note = f" (only {pickles[0]}, a pickle, which is not read)" if pickles else ""
            raise BackboneError(
                f"{name} has no {file.name}{pickle_note}; {mend}, or save the model again with transformers' "
                "save_pretrained"
            )
        try:
            with safe_open(file, "pt"):
                pass
        except (SafetensorError, OSError) as fault:
            raise BackboneError(f"{file} is damaged: {fault}; {mend}") from fault
    return files


def has_tokenizer(folder: Path) -> bool:
    return any((folder / file).is_file() for file in _TOKENIZER_FILES)


@quiet()
def load_tokenizer(folder: Path, backbone: PreTrainedModel) -> PreTrainedTokenizerBase:
    """The tokenizer in `folder`, with a padding token, checked against the backbone's vocabulary."""
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
    except Exception as fault:  # the tokenizers library raises bare Exception for a damaged file
        raise BackboneError(f"the tokenizer in {folder} cannot be loaded: {first_line(fault)}") from fault
    if tokenizer.eos_token_id is None:
        raise BackboneError(f"the tokenizer in {folder} has no end-of-text token, which targets end in")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    rows = word_embeddings(backbone).shape[0]
    if len(tokenizer) > rows:
        raise BackboneError(
            f"the tokenizer in {folder} has {len(tokenizer):,} tokens, the backbone's vocabulary {rows:,}; "
            "name the one that the backbone was made with"
        )
    return tokenizer
