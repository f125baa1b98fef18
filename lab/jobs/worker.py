"""Do one job: `python -m lab.jobs.worker PARENT` reads it as JSON from stdin and prints one JSON line.

PARENT is the process that started this one; this one ends when it does. On SIGTERM the run finishes its step, saves
and ends.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Sequence

from dept.errors import DeptError, RunError
from dept.runs.folder import RunFolder
from lab.basics.child import end_with, stdout_for_the_answer
from lab.jobs.job import Job, Status

_ORPHAN_SECONDS = 15.0


def execute(job: Job) -> tuple[Status, str | None]:
    """Do the job; return its status and, if that is not completed, one line that says why."""
    try:
        _wait_for_orphans(job)
        if job.notebook is not None:
            from lab.jobs.notebook import execute_notebook

            return execute_notebook(job.notebook)
        return _train(job)
    except DeptError as fault:
        return "failed", " ".join(str(fault).split())


def _train(job: Job) -> tuple[Status, str | None]:
    from rich.console import Console

    from dept.training.loop import Reporter, train
    from dept.training.progress import Bar
    from dept.training.trackers import mirrored

    resume = RunFolder(job.folder).config_file.exists()
    bar = Bar(Console(stderr=True, width=200))
    watcher: Reporter = bar
    if job.pruning is not None:
        from lab.jobs.pruning import Pruned

        watcher = Pruned(job.pruning.pruner, job.pruning.rivals, bar)
    with bar, mirrored(job.track, watcher) as reporter:
        result = train(job.config, resume=resume, reporter=reporter, test=job.test)
    if result["status"] == "completed":
        return "completed", None
    return "stopped", result["stop_reason"] or f"at step {result['steps']}"


def _wait_for_orphans(job: Job) -> None:
    """Wait until the processes of a killed batch have noticed it and released the folder."""
    if not job.folder.exists():
        return
    until = time.monotonic() + _ORPHAN_SECONDS
    while True:
        try:
            with RunFolder(job.folder).lock():
                return
        except RunError:
            if time.monotonic() > until:
                raise
        time.sleep(0.2)


def main(argv: Sequence[str]) -> int:
    """Do the job on stdin and print its outcome; an unexpected error leaves a traceback in the job's log."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})  # Ray's processes block them
    end_with(int(argv[0]))
    with stdout_for_the_answer() as answer:
        status, error = execute(Job.from_dict(json.loads(sys.stdin.read())))
        print(json.dumps({"status": status, "error": error}), file=answer)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
