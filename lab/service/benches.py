"""Benchmarks started by the page's visitors: one at a time on the machine, each in a process of its own.

ROOT/<id>/bench.json    what `dept-lab bench` writes, each pair as soon as it is measured
          worker.json   the process, and its owner
          log.txt       the output of the process
"""

import contextlib
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dept.backbones.known import RANDOM
from dept.basics.files import read_json, write_json
from dept.errors import ConfigError, RunError
from lab.basics.child import Child
from lab.basics.failures import log_tail, reason_of_exit, without_place
from lab.basics.processes import find, our_environment, our_python, record, terminate
from lab.bench.config import BenchConfig
from lab.bench.read import read_bench
from lab.bench.run import Bench, schedule
from lab.service.allowed import Allowed
from lab.service.lent_bench import LentBench
from lab.service.owners import Visitor

_ID = re.compile(r"[0-9a-f]{24}")
_AGAIN = "start it again"
_STOP_SECONDS = 30.0  # a benchmark that is cancelled gets these to end its measurement, then it is killed
_KEPT = 200  # folders that are kept; the oldest are deleted first
_MOST = {"backbones": 3, "lengths": 2, "virtual_tokens": 6}
_MOST_NUMBERS = {"batch_size": 64, "repeats": 5, "passes": 5, "max_seq_length": 512, "budget_tokens": 300}


@dataclass(frozen=True)
class BenchState:
    """A benchmark's progress.

    Attributes:
        status: running, completed, stopped or failed.
        planned: the number of pairs to measure.
        elapsed_s: seconds since its start.
        left_s: expected seconds until its end; None before the first pair is measured.
        error: the reason of a failure.
    """

    bench_id: str
    status: str
    bench: Bench | None
    planned: int
    elapsed_s: float
    error: str | None
    may_change: bool

    @property
    def done(self) -> int:
        return len(self.bench.measured) if self.bench is not None else 0

    @property
    def left_s(self) -> float | None:
        return self.elapsed_s / self.done * (self.planned - self.done) if self.done else None


class BenchJobs:
    """The benchmarks in a folder.

    Args:
        root: made when the first benchmark starts.
        lent_gpu: measure in this process, since only it can be lent a GPU.
    """

    def __init__(self, root: Path, *, lent_gpu: bool = False) -> None:
        self.root, self._lent_gpu = root, lent_gpu
        self._children: dict[str, Child] = {}
        self._lent: dict[str, LentBench] = {}
        self._lock = threading.Lock()

    def start(self, config: BenchConfig, allowed: Allowed, visitor: Visitor) -> str:
        """Start a benchmark; return its id.

        Raises:
            DeptError: a setting is not allowed here or cannot be measured, or another benchmark runs.
        """
        _check(config, allowed)
        planned = len(schedule(config))
        if visitor.owner is None and not visitor.is_operator:
            raise RunError("this browser has no token to own a measurement with: allow the page to store data")
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.root / ".lock", timeout=5):
                if self.running() is not None:
                    raise RunError("another measurement is running, and two would blur each other: wait for its end")
                self._make_room()
                return self._begin(config, planned, visitor)
        except Timeout:
            raise RunError("the machine is busy: try again in a moment") from None

    def _begin(self, config: BenchConfig, planned: int, visitor: Visitor) -> str:
        bench_id = secrets.token_hex(12)
        folder = self.root / bench_id
        folder.mkdir()
        if self._lent_gpu:
            lent = LentBench(config, folder)
            pid = None
            with self._lock:
                self._lent[bench_id] = lent
            lent.start()
        else:
            pid = self._process(config, folder).pid
        about = {"owner": visitor.owner, "planned": planned, "started": time.time()}
        write_json(folder / "worker.json", {**record(pid), **about})
        return bench_id

    def _process(self, config: BenchConfig, folder: Path) -> Child:
        words = {
            "what": config.what,
            "backbones": config.backbones,
            "virtual-tokens": config.virtual_tokens,
            "lengths": config.lengths,
        }
        flags = [f"--{name}={','.join(map(str, values))}" for name, values in words.items()]
        for name in ("batch_size", "budget_tokens", "max_seq_length", "repeats", "passes"):
            flags.append(f"--{name.replace('_', '-')}={getattr(config, name)}")
        command = our_python("lab.cli", "bench", *flags, "--output-dir", str(folder))
        child = Child(command, folder / "log.txt", environment=our_environment())  # it outlives this server
        with self._lock:
            self._children[folder.name] = child
        return child

    def cancel(self, bench_id: str, visitor: Visitor) -> None:
        """End a benchmark; its measurements are kept.

        Raises:
            RunError: no such benchmark, or somebody else's.
        """
        if not self.state(bench_id, visitor).may_change:
            raise RunError("this measurement was started by somebody else")
        lent, child = self._lent.get(bench_id), self._child(bench_id)
        if lent is not None:
            lent.stop()
        elif child is not None:
            child.stop(_STOP_SECONDS)
            threading.Thread(target=child.wait, daemon=True).start()  # kills it in time though nobody looks
        else:  # an earlier server started it
            terminate(read_json(self.root / bench_id / "worker.json"))

    def state(self, bench_id: object, visitor: Visitor) -> BenchState:
        """A benchmark's progress; anybody who knows its id may see it.

        Raises:
            RunError: no such benchmark.
        """
        folder = self.root / str(bench_id)
        if not isinstance(bench_id, str) or not _ID.fullmatch(bench_id) or not (folder / "worker.json").is_file():
            raise RunError("there is no such measurement: it may have been deleted")
        worker: Mapping[str, Any] = read_json(folder / "worker.json")
        alive = self._is_alive(bench_id, worker)
        bench = read_bench(folder / "bench.json") if (folder / "bench.json").is_file() else None
        status = bench.status if bench is not None else "running"
        error = None
        if not alive and status in ("running", "failed"):
            child = self._child(bench_id)
            if child is not None and child.stopped:
                status = "stopped"
            else:
                status, error = "failed", self._reason(folder)
        elapsed = bench.elapsed_s if bench is not None and not alive else time.time() - worker["started"]
        may_change = visitor.may_change(worker.get("owner"))
        return BenchState(bench_id, status, bench, worker["planned"], elapsed, error, may_change)

    def latest(self, visitor: Visitor) -> str | None:
        """The id of the visitor's newest benchmark (the running one, if it is theirs); None if there is none."""
        own_benches = []
        for folder in self._folders():
            with contextlib.suppress(RunError):
                worker = read_json(folder / "worker.json")
                if visitor.may_change(worker.get("owner")):
                    own_benches.append((worker["started"], folder.name))
        return max(own_benches)[1] if own_benches else None

    def running(self) -> str | None:
        """The id of the running benchmark, whoever owns it."""
        for folder in self._folders():
            with contextlib.suppress(RunError):
                if self._is_alive(folder.name, read_json(folder / "worker.json")):
                    return folder.name
        return None

    def _is_alive(self, bench_id: str, worker: Mapping[str, Any]) -> bool:
        if self._lent_gpu:
            lent = self._lent.get(bench_id)
            return lent is not None and lent.is_alive()
        child = self._child(bench_id)
        if child is not None:
            return child.poll() is None  # polling leaves no zombie
        return find(worker) is not None

    def _child(self, bench_id: str) -> Child | None:
        """The process of a benchmark that this server started; None for an earlier server's, or a lent one."""
        with self._lock:
            return self._children.get(bench_id)

    def _reason(self, folder: Path) -> str:
        """Why a benchmark failed; the exit code of an earlier server's is unknown."""
        child = self._child(folder.name)
        if child is not None:
            return without_place(child.reason(_AGAIN), folder)
        return reason_of_exit(1, log_tail(folder), advice=_AGAIN)

    def _folders(self) -> list[Path]:
        if not self.root.is_dir():
            return []
        with os.scandir(self.root) as items:
            return [Path(item.path) for item in items if _ID.fullmatch(item.name)]

    def _make_room(self) -> None:
        by_age = sorted(self._folders(), key=lambda folder: folder.stat().st_mtime)
        for folder in by_age[: max(0, len(by_age) - _KEPT + 1)]:
            shutil.rmtree(folder)


def _check(config: BenchConfig, allowed: Allowed) -> None:
    for name, most in _MOST.items():
        if len(getattr(config, name)) > most:
            raise ConfigError(f"{name.replace('_', ' ')}: at most {most} at a time")
    for name, largest in _MOST_NUMBERS.items():
        if getattr(config, name) > largest:
            raise ConfigError(f"{name.replace('_', ' ')} may be at most {largest} here")
    for name in config.backbones:
        allowed.backbone(name.removeprefix(RANDOM))
