"""Write files whole or not at all (temporary name, sync, rename), and find the cache's folder."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dept.errors import RunError

TEMPORARY = ".dept-tmp-"  # names start so while a file is unfinished; a killed process may leave one behind


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; NaN is refused, since other readers do."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of a run folder.

    Raises:
        RunError: the file is missing or damaged; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} is missing: {path.parent} is not a run folder, or it has not got that far") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as fault:
        raise RunError(f"{path} cannot be read ({fault})") from None


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file that replaces `path` when the block ends without an exception."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=TEMPORARY, delete=False) as file:
        temporary = Path(file.name)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that replaces `path` when the block ends without an exception."""
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=TEMPORARY))
    try:
        yield temporary
        for file in temporary.iterdir():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        temporary.chmod(0o755)
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=TEMPORARY))
            path.replace(old)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def default_cache_dir() -> Path:
    """The cache's folder: $DEPT_CACHE, or ~/.cache/dept-lab."""
    configured = os.environ.get("DEPT_CACHE")
    return Path(configured).expanduser() if configured else Path("~/.cache/dept-lab").expanduser()
