"""Run jobs as tasks of a Ray cluster: the same processes, on any machine with room.

A machine that shares this machine's disk works in the job's folder. Any other gets the folder's files with the task
(so that an interrupted run goes on) and sends them back at the end. A job whose worker is lost starts again, from its
last checkpoint if the disk is shared.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray import exceptions

from dept.basics.files import read_json, write_json
from dept.errors import ConfigError, RunError
from lab.basics.guards import stop_signals
from lab.jobs.engine import Event
from lab.jobs.job import Job, Notebook, Outcome, is_done
from lab.jobs.process import JobProcess

RETRIES = 3  # new starts of a job whose worker was lost
POLL_SECONDS = 0.2
_CONNECT_SECONDS = 10.0
_ADDRESS = re.compile(r"(?:ray://)?(?P<host>[^/\s]+):(?P<port>[0-9]+)")
_ASK_SECONDS = 1.0  # how often a task asks whether it should stop
_AUTH_MODE = "RAY_AUTH_MODE"
_AUTH_HINT = f"\none that was started with token authentication asks for {_AUTH_MODE}=token in the environment"
_LOST = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
    exceptions.LocalRayletDiedError,
)
Files = dict[str, bytes]  # path within a folder -> content


class RayEngine:
    """See `lab.jobs.engine.Engine`; at most `workers` jobs are submitted at a time, and Ray places them.

    Args:
        address: a running cluster (host:port, auto, ray://host:port); None starts one here until the jobs end.
        shared_disk: whether the machines share this machine's disk; None checks it for each job.

    Raises:
        ConfigError: the address has another form.
        RunError: nothing listens at the address.
    """

    def __init__(self, address: str | None = None, shared_disk: bool | None = None) -> None:
        _check_address(address)
        self._address, self._shared_disk = address, shared_disk

    def run(self, jobs: Sequence[Job], *, workers: int, on_event: Callable[[Event], None]) -> list[Outcome]:
        """See `Engine.run`.

        Raises:
            RunError: no cluster answers at the address, or none of its machines has what a job asks for.
        """
        outcomes: dict[int, Outcome] = {}

        def ended(number: int, outcome: Outcome) -> None:
            outcomes[number] = outcome
            on_event(Event("ended", jobs[number], outcome))

        waiting = []
        for number, job in enumerate(jobs):
            if is_done(job):
                ended(number, Outcome(job, "completed", attempts=0))
            else:
                waiting.append(number)
        if waiting:
            unfinished = [jobs[number] for number in waiting]
            with self._cluster(), _token(unfinished, self._shared_disk) as token:
                _check_room(unfinished)
                _Run(jobs, workers, on_event, ended, token).go(waiting)
        return [
            outcomes.get(number, Outcome(job, "stopped", "not started", attempts=0)) for number, job in enumerate(jobs)
        ]

    @contextlib.contextmanager
    def _cluster(self) -> Iterator[None]:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            # "local", since for None Ray would take RAY_ADDRESS or a cluster that somebody else started here.
            where = self._address or "local"
            ray.init(where, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (
            OSError,
            RuntimeError,
            exceptions.RayError,
        ) as fault:  # RuntimeError: the cluster has another version of Ray
            hint = "" if self._address is None or _AUTH_MODE in os.environ else _AUTH_HINT
            raise _no_cluster(self._address, fault, hint) from fault
        try:
            yield
        finally:
            ray.shutdown()


def _check_address(address: str | None) -> None:
    """Check that something listens at the address, since Ray itself would go on trying for minutes."""
    if address in (None, "auto"):
        return
    parsed = _ADDRESS.fullmatch(str(address))
    if parsed is None:
        raise ConfigError(f"--address is HOST:PORT, ray://HOST:PORT or auto, not {address!r}")
    try:
        host_and_port = parsed["host"].strip("[]"), int(parsed["port"])
        socket.create_connection(host_and_port, timeout=_CONNECT_SECONDS).close()
    except (
        OSError,
        OverflowError,
        UnicodeError,
    ) as fault:  # OverflowError: no such port, UnicodeError: no such host name
        raise _no_cluster(address, fault) from fault


def _no_cluster(address: str | None, fault: Exception, hint: str = "") -> RunError:
    reason = " ".join(str(fault).split())[:200]
    what = "could be started here" if address is None else f"answers at {address}"
    return RunError(f"no Ray cluster {what} ({reason}){hint}")


def _check_room(jobs: Sequence[Job]) -> None:
    """Check that each job fits on some machine, since Ray itself would wait for such a machine for ever."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for resources in dict.fromkeys(job.resources for job in jobs):
        needed = {"CPU": float(resources.cpus), "GPU": resources.gpus or 0.0}
        if not any(all(has.get(name, 0.0) >= amount for name, amount in needed.items()) for has in machines):
            raise RunError(
                f"no machine of the Ray cluster has {needed['CPU']:g} cores and {needed['GPU']:g} GPUs for a job: "
                "ask for less with --cpus-per-job and --gpus-per-job"
            )


class _Run:
    """The jobs that have been submitted."""

    def __init__(
        self,
        jobs: Sequence[Job],
        workers: int,
        on_event: Callable[[Event], None],
        ended: Callable[[int, Outcome], None],
        token: str | None,
    ) -> None:
        self._jobs, self._workers, self._on_event, self._ended, self._token = jobs, workers, on_event, ended, token
        self._has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        self._stop = _Stop.remote()  # type: ignore[attr-defined]
        self._on_the_way: dict[Any, tuple[int, int]] = {}  # a task's future: the job's number, its attempts

    def go(self, waiting: Sequence[int]) -> None:
        """Submit the jobs in order; Ctrl-C stops those that run, a second Ctrl-C kills them."""
        left = list(waiting)
        try:
            with stop_signals():
                while left or self._on_the_way:
                    while left and len(self._on_the_way) < self._workers:
                        number = left.pop(0)
                        self._on_event(Event("started", self._jobs[number]))
                        self._send(number, 1)
                    self._collect()
        except KeyboardInterrupt:
            with stop_signals(), contextlib.suppress(KeyboardInterrupt):
                self._stop.ask.remote()
                while self._on_the_way:
                    self._collect(again=False)
        finally:
            for future, (number, attempts) in self._on_the_way.items():
                ray.cancel(future, force=True)
                self._ended(number, Outcome(self._jobs[number], "stopped", "killed on request", attempts=attempts))

    def _send(self, number: int, attempts: int) -> None:
        job = self._jobs[number]
        gpus = (1 if self._has_gpus else 0) if job.resources.gpus is None else job.resources.gpus
        task = _work.options(num_cpus=job.resources.cpus, num_gpus=gpus, name=job.name)
        future = task.remote(job.to_dict(), self._token, _sent(job), self._stop)
        self._on_the_way[future] = number, attempts

    def _collect(self, again: bool = True) -> None:
        """Collect finished tasks, and submit lost jobs again."""
        done, _ = ray.wait(list(self._on_the_way), timeout=POLL_SECONDS)
        for future in done:
            number, attempts = self._on_the_way.pop(future)
            job = self._jobs[number]
            try:
                answer, files = ray.get(future)
            except _LOST as fault:
                why = f"its worker was lost ({type(fault).__name__})"
                if again and attempts <= RETRIES:
                    self._on_event(Event("again", job, note=f"{why}: started again, {attempts} of {RETRIES}"))
                    self._send(number, attempts + 1)
                else:
                    self._ended(number, Outcome(job, "failed", f"{why}, {attempts} times", attempts=attempts))
                continue
            except exceptions.RayError as fault:  # the code is missing there, the task cannot be placed, ...
                reason = str(fault).strip().splitlines()[-1][:300]
                self._ended(number, Outcome(job, "failed", reason, attempts=attempts))
                continue
            if files is not None:
                _keep(job, files)
            outcome = Outcome(job, **{**answer, "attempts": attempts})
            if outcome.status == "completed" and not is_done(job):
                outcome = dataclasses.replace(outcome, status="failed", error="its files have not arrived")
            self._ended(number, outcome)


@ray.remote(num_cpus=0)
class _Stop:
    """An actor that tells the tasks whether to stop; it ends with the process that submitted them."""

    def __init__(self) -> None:
        self._asked = False

    def ask(self) -> None:
        self._asked = True

    def is_asked(self) -> bool:
        return self._asked


@ray.remote(max_retries=0)
def _work(values: dict[str, Any], token: str | None, files: Files, stop: Any) -> tuple[dict[str, Any], Files | None]:
    """Do a job on a worker; return the outcome, and the job's files if the sender does not share this disk."""
    job = Job.from_dict(values)
    if token is not None and Path(token).exists():
        return _process(job, stop), None
    with tempfile.TemporaryDirectory(prefix="dept-job-") as scratch:
        moved = _moved(job, Path(scratch), files)
        return _process(moved, stop), _found(moved)


def _process(job: Job, stop: Any) -> dict[str, Any]:
    process = JobProcess(job)
    stop_sent = False
    ask_at = time.monotonic() + _ASK_SECONDS
    outcome = None
    try:
        while (outcome := process.poll()) is None:
            time.sleep(POLL_SECONDS)
            if not stop_sent and time.monotonic() > ask_at:
                ask_at = time.monotonic() + _ASK_SECONDS
                stop_sent = ray.get(stop.is_asked.remote())
                if stop_sent:
                    process.stop("stopped", "on request")
    finally:
        if outcome is None:
            process.kill()
    return {"status": outcome.status, "error": outcome.error, "seconds": outcome.seconds}


@contextlib.contextmanager
def _token(jobs: Sequence[Job], shared_disk: bool | None) -> Iterator[str | None]:
    """A file beside the run folders, by which a machine recognises a shared disk; None if it need not look."""
    if shared_disk is False:
        yield None
        return
    folder = jobs[0].folder.parent
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / f".dept-disk-{uuid.uuid4().hex}"
    token.touch()
    try:
        yield str(token)
    finally:
        token.unlink(missing_ok=True)


# Names of a job's files in transfer: run/... and notebook.ipynb; to the worker also source.ipynb


def _sent(job: Job) -> Files:
    """The files that a machine with another disk needs: the run so far, and the notebook to execute."""
    files = {f"run/{name}": content for name, content in _read(job.folder).items()}
    if job.notebook is not None:
        files["source.ipynb"] = job.notebook.source.read_bytes()
    return files


def _moved(job: Job, scratch: Path, files: Files) -> Job:
    """The job moved to a folder of this machine, with its files written there."""
    _write(scratch, files)
    config = dataclasses.replace(job.config, output_dir=str(scratch / "run"))
    notebook = job.notebook
    if notebook is not None:
        parameters: Mapping[str, Any] = {**notebook.parameters, "output_dir": config.output_dir}
        notebook = Notebook(scratch / "source.ipynb", scratch / "notebook.ipynb", parameters)
    return dataclasses.replace(job, config=config, notebook=notebook)


def _found(moved: Job) -> Files:
    files = {f"run/{name}": content for name, content in _read(moved.folder).items()}
    if moved.notebook is not None and moved.notebook.output.exists():
        files["notebook.ipynb"] = moved.notebook.output.read_bytes()
    return files


def _keep(job: Job, files: Files) -> None:
    """Put a worker's files where a local job would have written them; the folder appears whole."""
    notebook = files.pop("notebook.ipynb", None)
    if job.notebook is not None and notebook is not None:
        job.notebook.output.parent.mkdir(parents=True, exist_ok=True)
        job.notebook.output.write_bytes(notebook)
    new = job.folder.with_name(f".{job.folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    _write(new, {name.removeprefix("run/"): content for name, content in files.items()})
    for name in ("config.json", "result.json"):
        if (new / name).exists():
            values = read_json(new / name)
            settings = values["config"] if name == "result.json" else values
            settings["output_dir"] = str(job.folder)
            write_json(new / name, values)
    if job.folder.exists():
        shutil.rmtree(job.folder)
    new.replace(job.folder)


def _read(folder: Path) -> Files:
    if not folder.is_dir():
        return {}
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
