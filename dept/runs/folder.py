"""Write a run's folder: settings, metrics line by line, state, checkpoints, the adapter, the result.

Files are replaced atomically (temporary name, sync, rename); a lock keeps a second writer out.
"""

import contextlib
import json
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from dept.basics.files import TEMPORARY, read_json, write_json, write_text
from dept.errors import RunError

LOG = "job.log"  # file in the run folder: the stderr of the job's process

HEARTBEAT_SECONDS = 2.0
FINGERPRINTS = "fingerprints"  # key of config.json, beside the settings: fingerprints of data, task and backbone


class RunFolder:
    """The folder of one run; see `docs/run_folder.md` for its files.

    Args:
        path: the folder; `lock` creates it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = FileLock(self.path / ".lock")
        self._beat = 0.0
        self._state: dict[str, Any] = {}

    @property
    def config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def state_file(self) -> Path:
        return self.path / "state.json"

    @property
    def result_file(self) -> Path:
        return self.path / "result.json"

    @property
    def predictions_file(self) -> Path:
        return self.path / "predictions.json"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for this process.

        Raises:
            RunError: another process holds it, or the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"{self.path} is being trained by another process: wait for it, or use another folder"
            ) from None
        except OSError as fault:
            raise RunError(f"{self.path} cannot be used as a run folder: {fault.strerror or fault}") from None
        try:
            for leftover in self.path.glob(f"{TEMPORARY}*"):  # files of a process that was killed
                if leftover.is_dir():
                    shutil.rmtree(leftover)
                else:
                    leftover.unlink()
            yield
        finally:
            self._lock.release()

    def set_state(self, status: str, **details: Any) -> None:
        """Write state.json: status, this process with its start time, a heartbeat, and details such as the step."""
        process = psutil.Process()
        self._state = {
            "status": status,
            "pid": process.pid,
            "pid_started": process.create_time(),
            "host": socket.gethostname(),
            "owner": self._state.get("owner") or _owner(self.state_file),
            "heartbeat": time.time(),
            **details,
        }
        self._beat = time.monotonic()
        write_json(self.state_file, self._state)

    def beat(self, **details: Any) -> None:
        """Refresh the heartbeat, at most every few seconds; cheap to call at each step."""
        if time.monotonic() - self._beat >= HEARTBEAT_SECONDS:
            self.set_state(self._state["status"], **{**_details(self._state), **details})

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Append one object to metrics.jsonl; numbers that are not finite become null."""
        clean = {key: _finite(value) for key, value in line.items()}
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(clean, allow_nan=False) + "\n")

    def forget_metrics_after(self, step: int) -> None:
        """Drop the lines that a killed process wrote after the checkpoint of `step`, with tests and half a line."""
        write_text(
            self.metrics_file,
            "".join(
                json.dumps(line) + "\n"
                for line in read_metrics(self.metrics_file)
                if line["step"] <= step and line["split"] != "test"
            ),
        )

    def checkpoints(self) -> list[Path]:
        """The existing checkpoints, the latest last."""
        by_step = [(int(path.name.rpartition("-")[2]), path) for path in self.path.glob("checkpoint-[0-9]*")]
        return [path for _, path in sorted(by_step)]


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; a last line that is half-written is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _owner(state_file: Path) -> str | None:
    """The owner that a queue wrote before the run started."""
    if not state_file.exists():
        return None
    state = read_json(state_file)
    return state.get("owner") if isinstance(state, dict) else None


def _details(state: Mapping[str, Any]) -> dict[str, Any]:
    fixed = {"status", "pid", "pid_started", "host", "owner", "heartbeat"}
    return {key: value for key, value in state.items() if key not in fixed}
