"""The files of an adapter folder: located here or on the hub, read as untrusted input, written all or none.

Symbolic links are followed (the hub's cache consists of them). Anything but a regular file is refused, and so is a
file that is larger than its config allows.
"""

import json
import os
import pickle
import re
import shutil
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import safetensors.torch
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from torch import Tensor

from dept.errors import AdapterError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"  # the authors' release and older PEFT; never written here
OWN_FILE = "dept_config.json"  # our keys beside a PEFT config, which takes no unknown ones without a warning
CARD_FILE = "README.md"
ADAPTER_FILES = (CONFIG_FILE, WEIGHTS_FILE, PICKLE_FILE, OWN_FILE, CARD_FILE)

MAX_CONFIG_BYTES = 1_000_000
HUB_ID = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}")
HUB_ERRORS = (
    HTTPError,  # a connection that fails, and every refusal
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    OSError,  # no connection, or a disk that is full
)
# A damaged or hostile pickle makes torch's unpickler fail in any of these ways.
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


def shown(value: object, limit: int = 60) -> str:
    """`value` on one line, cut after `limit` characters, for a message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


@dataclass(frozen=True)
class AdapterFolder:
    """A folder to read an adapter from.

    Attributes:
        path: where the files are.
        name: the folder or hub id as the user wrote it; every message opens with it.
    """

    path: Path
    name: str

    def has(self, file: str) -> bool:
        return (self.path / file).is_file()

    def fault(self, file: str, reason: str) -> AdapterError:
        return AdapterError(f"{self.name}: {file} {reason}")

    def size(self, file: str) -> int:
        """The size of a file, in bytes.

        Raises:
            AdapterError: its size cannot be read.
        """
        try:
            return (self.path / file).stat().st_size
        except OSError as error:
            raise self.fault(file, f"cannot be read: {error.strerror or error}") from error

    def read(self, file: str, most_bytes: int) -> bytes:
        """A file's content.

        Raises:
            AdapterError: the file is missing, not regular, larger than `most_bytes`, or unreadable.
        """
        path = self.path / file
        try:
            if not path.is_file():
                raise self.fault(file, "is no regular file" if path.exists() else "is missing")
            size = path.stat().st_size
            if size > most_bytes:
                raise self.fault(file, f"has {size:,} bytes; at most {most_bytes:,} belong to this adapter")
            return path.read_bytes()
        except OSError as error:
            raise self.fault(file, f"cannot be read ({error.strerror})") from error

    def read_json(self, file: str) -> dict[str, Any]:
        """The JSON object in a file.

        Raises:
            AdapterError: the file is missing, too large, not UTF-8, not JSON or no object, or holds NaN or infinity.
        """
        content = self.read(file, MAX_CONFIG_BYTES)
        try:
            values = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant, parse_int=_short_number)
        except (ValueError, RecursionError) as error:
            raise self.fault(file, f"is no valid JSON ({error})") from error
        if not isinstance(values, dict):
            raise self.fault(file, f"must hold a JSON object, not {shown(values)}")
        return values

    def read_safetensors(self, file: str, most_bytes: int) -> dict[str, Tensor]:
        """Every tensor of a safetensors file.

        Raises:
            AdapterError: the file is missing, too large, truncated or damaged.
        """
        content = self.read(file, most_bytes)
        try:
            return safetensors.torch.load(content)
        except (safetensors.SafetensorError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise self.fault(file, f"is damaged or truncated ({_first_line(error)})") from error

    def read_pickle(self, file: str, most_bytes: int) -> dict[str, Tensor]:
        """Every tensor of a file that `torch.save` wrote, on the CPU; code in it is not run (`weights_only`).

        Raises:
            AdapterError: the file is missing, too large or damaged, or holds anything but tensors.
        """
        self.read(file, most_bytes)
        path = self.path / file
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > most_bytes:
                raise self.fault(file, f"unpacks to {unpacked:,} bytes; at most {most_bytes:,} belong to it")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the file is checked here; torch's warnings would not help
                tensors = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            reason = "holds more than tensors, or is damaged; it was not loaded, since a pickle can run code"
            raise self.fault(file, reason) from error
        except AdapterError:
            raise
        except _UNPICKLING_ERRORS as error:
            raise self.fault(file, f"is damaged or truncated ({_first_line(error)})") from error
        if not isinstance(tensors, dict):
            raise self.fault(file, f"must hold a dictionary of tensors, not {type(tensors).__name__}")
        return tensors


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed")


def _short_number(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


# Finding.


def find_folder(source: str | Path, revision: str | None = None, token: str | bool | None = None) -> AdapterFolder:
    """The folder of that name, or the hub's repository of that id (downloaded into the hub's cache).

    Raises:
        AdapterError: neither exists, or the hub refuses or does not answer.
    """
    path = Path(source)
    try:
        if path.is_dir():
            return AdapterFolder(path, str(source))
        if _previous(path).is_dir():  # `write_folder` was killed between its two renames
            return AdapterFolder(_previous(path), str(source))
        if path.exists():
            raise AdapterError(f"{source}: is a file; name the adapter's folder")
    except OSError as error:
        raise AdapterError(f"{shown(str(source))}: cannot be read ({error.strerror})") from error
    if not isinstance(source, str) or not HUB_ID.fullmatch(source):
        raise AdapterError(f"{shown(str(source))}: no such folder; name an adapter's folder or hub id")
    try:
        snapshot = snapshot_download(source, revision=revision, token=token, allow_patterns=list(ADAPTER_FILES))
    except HUB_ERRORS as error:
        raise AdapterError(f"{source}: no such folder, and {hub_fault(error, revision)}") from error
    return AdapterFolder(Path(snapshot), source)


def hub_fault(error: Exception, revision: str | None = None) -> str:
    """A message on an error of the hub and what to do; without the error's own text, which may hold a token."""
    if isinstance(error, GatedRepoError):
        return "its hub repository is gated: accept its terms on its page, then `hf auth login`"
    if isinstance(error, RevisionNotFoundError):
        return f"its hub repository has no revision {shown(revision)}"
    if isinstance(error, RepositoryNotFoundError | LocalTokenNotFoundError):
        return "the hub has no such repository for this login (private ones need `hf auth login` or a token)"
    if isinstance(error, HFValidationError):
        return "it is no hub id: write it as owner/name"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        hint = "log in with `hf auth login` or pass a token" if status in (401, 403) else "try again later"
        return f"the hub refused (HTTP {status}): {hint}"
    if isinstance(error, OSError) and not isinstance(error, ConnectionError | LocalEntryNotFoundError):
        return f"the hub's files could not be kept or sent ({error.strerror or type(error).__name__})"
    return "the hub cannot be reached (or HF_HUB_OFFLINE is set) and its files are not in the cache"


# Writing.


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Replace an adapter folder's content by these files, all of them or none, synced to the disk.

    A new folder is completed under a temporary name beside `folder` and renamed; if the process is killed between the
    two renames, the previous adapter remains, and `find_folder` finds it. In the working directory, or a folder with
    files that are no adapter's, those stay, and the adapter's are renamed one by one, the weights first.

    Raises:
        AdapterError: the folder cannot be written; its previous content is kept.
    """
    try:
        target = folder.resolve()
        if target.exists() and not target.is_dir():
            raise AdapterError(f"{folder}: is a file; name a folder for the adapter")
        shared = target.is_dir() and (
            target == Path.cwd() or any(entry.name not in ADAPTER_FILES for entry in target.iterdir())
        )
        partial = (target if shared else target.parent) / f".{target.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            for name, content in files.items():
                _write_synced(partial / name, content)
            _sync_folder(partial)
            if shared:
                _move_files(partial, target, files)
            else:
                _exchange(partial, target)
            _sync_folder(target.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except (OSError, RuntimeError, ValueError) as error:  # ValueError, RuntimeError: impossible paths
        if isinstance(error, AdapterError):
            raise
        reason = getattr(error, "strerror", None) or _first_line(error)
        raise AdapterError(f"{folder}: the adapter could not be written ({reason})") from error


def _previous(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.previous"


def _exchange(partial: Path, target: Path) -> None:
    previous = _previous(target)
    if target.is_dir():
        shutil.rmtree(previous, ignore_errors=True)
        target.rename(previous)
    try:
        partial.rename(target)
    except OSError:
        if previous.is_dir():
            previous.rename(target)
        raise
    shutil.rmtree(previous, ignore_errors=True)


def _move_files(partial: Path, target: Path, files: Mapping[str, bytes]) -> None:
    for name in sorted(files, key=lambda name: name != WEIGHTS_FILE):
        (partial / name).replace(target / name)
    for name in ADAPTER_FILES:
        if name not in files:  # left by an adapter of another format
            (target / name).unlink(missing_ok=True)


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # other systems cannot open a folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
