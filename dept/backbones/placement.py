"""Placement of a backbone: quantised weights, weights spread over several GPUs, a compiled forward pass."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from dept.basics.faults import first_line
from dept.errors import BackboneError, ConfigError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

Quantize = Literal["int8", "nf4"]
DeviceMap = Literal["auto"] | Mapping[str, Any]

INSTALL_QUANTIZE = "pip install 'dept-lab[quantize]'"


def loading_arguments(quantize: Quantize | None, device_map: DeviceMap | None, dtype: torch.dtype) -> dict[str, Any]:
    """The arguments of transformers' `from_pretrained` for this placement, besides the dtype.

    Args:
        quantize: int8 (LLM.int8()) or nf4 (QLoRA's 4-bit normal floats, their scales quantised too); the embeddings
            and the head stay in `dtype`.
        device_map: "auto" fills the available GPUs; a mapping of module names to devices is passed on.
        dtype: the dtype of the computation, and of the weights that are not quantised.

    Raises:
        ConfigError: an unknown kind of quantisation or device map.
        BackboneError: bitsandbytes is missing or broken, or supports none of this machine's devices.
    """
    arguments: dict[str, Any] = {}
    if device_map is not None:
        if device_map != "auto" and not isinstance(device_map, Mapping):
            raise ConfigError(f"device_map: {device_map!r} is unknown; auto, or a mapping of modules to devices")
        arguments["device_map"] = device_map if isinstance(device_map, str) else dict(device_map)
    if quantize is not None:
        if quantize not in ("int8", "nf4"):
            raise ConfigError(f"quantize: {quantize!r} is unknown; int8 or nf4")
        _check_bitsandbytes(quantize)
        from transformers import BitsAndBytesConfig

        arguments["quantization_config"] = (
            BitsAndBytesConfig(load_in_8bit=True)
            if quantize == "int8"
            else BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=dtype,
            )
        )
    return arguments


def _check_bitsandbytes(quantize: Quantize) -> None:
    logging.getLogger("bitsandbytes").setLevel(
        logging.ERROR
    )  # it would log a warning about a cast for each layer and step
    try:
        import bitsandbytes  # noqa: F401 - imported before transformers tries to, whose message would not help
        from transformers.integrations import validate_bnb_backend_availability
    except ModuleNotFoundError as fault:
        raise BackboneError(
            f"quantize {quantize} needs the optional package bitsandbytes: {INSTALL_QUANTIZE}"
        ) from fault
    except (ImportError, OSError, RuntimeError) as fault:  # its compiled library does not fit this machine
        raise BackboneError(f"quantize {quantize}: bitsandbytes does not work here ({first_line(fault)})") from fault
    if not validate_bnb_backend_availability():
        raise BackboneError(f"quantize {quantize}: bitsandbytes supports none of this machine's devices; leave it out")


def keep_trainable(backbone: PreTrainedModel) -> None:
    """Stop bitsandbytes from changing the layout of 4-bit weights in evaluation, as it does on CPUs with AVX512-BF16.

    That layout computes without gradients, so training after an evaluation would silently go wrong.
    """
    if getattr(backbone, "is_loaded_in_4bit", False):
        import bitsandbytes

        for layer in backbone.modules():
            if isinstance(layer, bitsandbytes.nn.Linear4bit):
                layer.support_avx512bf16_for_cpu = False


@contextlib.contextmanager
def fitting(name: str) -> Iterator[None]:
    """Within the block, transformers' error about quantised layers that do not fit becomes a BackboneError."""
    try:
        yield
    except ValueError as fault:
        if "CPU or the disk" not in str(fault):
            raise
        raise _too_large(name) from fault


def check_in_memory(backbone: PreTrainedModel, name: str) -> None:
    """Refuse a backbone with layers left on the CPU or disk for lack of memory: each step would fetch them again.

    Raises:
        BackboneError: some layers are not in the devices' memory.
    """
    if any(weight.is_meta for weight in backbone.parameters()):
        raise _too_large(name)


def _too_large(name: str) -> BackboneError:
    return BackboneError(
        f"{name} does not fit into the memory of this machine's devices: "
        "try quantize int8 or nf4, dtype bfloat16, or more GPUs"
    )


def is_placed(backbone: PreTrainedModel) -> bool:
    """Whether the weights must stay where they are, being quantised or on several devices."""
    if getattr(backbone, "is_quantized", False) or len(getattr(backbone, "hf_device_map", ())) > 1:
        return True
    return len({weight.device for weight in backbone.parameters()}) > 1


def compile_backbone(backbone: PreTrainedModel) -> None:
    """Compile the backbone's forward pass in place (torch.compile, for batches of any size and length).

    The first pass takes a minute or more. Names of weights, state dicts and the fingerprint stay what they are.
    Dropout draws other random numbers than in an uncompiled model.

    Raises:
        BackboneError: there is no working compiler.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.compile(torch.square, dynamic=True)(torch.ones(2, device=device))
    except (RuntimeError, ImportError, OSError) as fault:
        need = "a C++ compiler (g++)" if device == "cpu" else "triton and a C compiler"
        raise BackboneError(
            f"compile: torch.compile does not work on this machine, it needs {need} ({first_line(fault)})"
        ) from fault
    backbone.compile(dynamic=True)
