"""Execute a notebook by papermill in a kernel of this Python, over IPC sockets in a private folder."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from papermill.exceptions import PapermillExecutionError

from dept.errors import ConfigError
from lab.jobs.job import Notebook, Status

_START_SECONDS = 120


class _Kernel(AsyncKernelManager):
    """A kernel of the running Python, whatever kernel is installed under the notebook's kernel name."""

    @property
    def kernel_spec(self) -> KernelSpec:
        # The launcher removes the current folder from the path (so no -P), and ignore_cwd keeps it away: a folder
        # `lab` or `dept` in the user's current folder is not ours.
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        command.append("--InteractiveShellApp.ignore_cwd=True")
        return KernelSpec(argv=command, display_name="Python 3", language="python")


class _StopAskedError(Exception):
    """Raised between two cells after SIGTERM."""


class _Watch:
    """Watches the running cell and passes SIGTERM on to it: the training loop then finishes its step and saves."""

    def __init__(self, kernel: AsyncKernelManager) -> None:
        self._kernel = kernel
        self.asked = False
        self.cell = 0

    def ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        process = getattr(self._kernel.provisioner, "process", None)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):  # the kernel has just died, which is reported elsewhere
                os.killpg(process.pid, signal.SIGINT)

    def starts(self, cell: Any, cell_index: int) -> None:
        if self.asked:
            raise _StopAskedError
        self.cell = cell_index


def execute_notebook(notebook: Notebook) -> tuple[Status, str | None]:
    """Execute a notebook and save the output after each cell; return the status, and one line if not completed.

    A cell's error, a dead kernel and a stop on SIGTERM have different statuses. A completed notebook may still have
    left no run behind, which the caller must check.

    Raises:
        ConfigError: parameters that the notebook does not have.
    """
    parameters = checked(notebook.source, notebook.parameters)
    notebook.output.parent.mkdir(parents=True, exist_ok=True)
    with _kernel() as kernel:
        watch = _Watch(kernel)
        signal.signal(signal.SIGTERM, watch.ask)
        try:
            papermill.execute_notebook(
                notebook.source,
                notebook.output,
                parameters,
                progress_bar=False,
                start_timeout=_START_SECONDS,
                autosave_cell_every=10,
                km=kernel,
                on_cell_start=watch.starts,
            )
        except _StopAskedError:
            return "stopped", f"before cell {watch.cell + 1}"
        except PapermillExecutionError as fault:
            reason = f"{fault.ename}: {fault.evalue}".splitlines()[0][:300]
            return "stopped" if watch.asked else "cell error", f"In [{fault.exec_count}]: {reason}"
        except RuntimeError as fault:  # nbclient's DeadKernelError, or the error about a kernel that never answers
            if not str(fault).startswith("Kernel"):
                raise
            return "dead kernel", f"{fault}, in cell {watch.cell + 1} of the notebook{_how(kernel)}"
    return "completed", None


@contextlib.contextmanager
def _kernel() -> Iterator[AsyncKernelManager]:
    """A kernel manager, not started yet; its kernel ends with the block."""
    with tempfile.TemporaryDirectory(prefix="dept-kernel-") as folder:
        os.environ["IPYTHONDIR"] = folder  # ignore the user's start-up files, write no history
        kernel = _Kernel(kernel_name="python3", transport="ipc", connection_file=str(Path(folder) / "kernel.json"))
        try:
            yield kernel
        finally:
            if kernel.has_kernel:
                run_sync(kernel.shutdown_kernel)(now=True)


def _how(kernel: AsyncKernelManager) -> str:
    code = getattr(getattr(kernel.provisioner, "process", None), "returncode", None)
    if code == -signal.SIGKILL:
        return ": it was killed; out of memory?"
    return f" ({signal.Signals(-code).name})" if code is not None and code < 0 else ""


def checked(notebook: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as plain JSON.

    Raises:
        ConfigError: the notebook's cell tagged `parameters` lacks one of them, or one is no JSON.
    """
    known = declared(notebook)
    for name in parameters:
        if name not in known:
            raise ConfigError(f"{notebook.name} has no parameter {name!r}; it has {', '.join(known)}")
    return {name: plain(value, name) for name, value in parameters.items()}


def declared(notebook: Path) -> list[str]:
    """The names of a notebook's own parameters.

    Raises:
        ConfigError: the notebook cannot be read, or declares no parameters.
    """
    try:
        names = list(papermill.inspect_notebook(str(notebook)))
    except (OSError, ValueError, nbformat.ValidationError) as fault:
        raise ConfigError(f"{notebook} cannot be read as a notebook ({str(fault).splitlines()[0][:160]})") from fault
    if not names:
        raise ConfigError(f"{notebook} has no cell tagged `parameters`")
    return names


def plain(value: Any, name: str) -> Any:
    """A value as plain JSON: paths become text, tuples lists, NumPy's numbers Python's.

    Raises:
        ConfigError: the value is anything else; the message names the parameter.
    """
    if value is None or isinstance(value, bool | int | float | str):
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise ConfigError(f"parameter {name!r} is {value}, which JSON does not have") from None
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [plain(item, name) for item in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain(item, name) for key, item in value.items()}
    if hasattr(value, "dtype") and hasattr(value, "item"):
        return plain(value.item(), name)
    raise ConfigError(f"parameter {name!r} is of type {type(value).__name__}: notebooks take plain JSON values")
