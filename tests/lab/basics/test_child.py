"""Child processes that behave badly: they are stopped, killed with all that they started, and explained in a line."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lab.basics import child as child_module
from lab.basics.child import Child
from lab.basics.failures import NO_MEMORY

WAIT_SECONDS = 60.0  # for what takes a moment, on a machine that is busy
Start = Callable[..., Child]

STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
READY = "from pathlib import Path\nPath('ready').touch()\n"
SLEEP = "import time\ntime.sleep(600)\n"
# A grandchild in the same session and one in a session of its own, as a notebook's kernel has.
GRANDCHILDREN = f"""
import subprocess, sys
for own_session in (False, True):
    code = {STUBBORN + SLEEP!r}
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=own_session)
    open("pids", "a").write(f"{{process.pid}}\\n")
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a child that runs Python code in the test's folder; what is left of it is killed after the test."""
    children = []

    def start(code: str, **arguments: Any) -> Child:
        command = [sys.executable, "-c", code]
        children.append(Child(command, tmp_path / "log.txt", folder=tmp_path, **arguments))
        return children[-1]

    yield start
    for child in children:
        child.kill()


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.02)


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def pids(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "pids").read_text().splitlines()]


def test_a_child_answers_and_what_it_prints_to_stderr_is_in_its_log(start: Start, tmp_path: Path) -> None:
    question = "x" * 1_000_000  # more than a pipe holds
    child = start("import sys\nsys.stderr.write('to the log')\nprint(len(sys.stdin.read()))", question=question)
    assert child.wait() == child.poll() == child.code == 0
    assert child.answer == "1000000\n"
    assert (tmp_path / "log.txt").read_text() == "to the log"
    assert not child.late and os.getsid(0) != child.pid


def test_a_child_without_a_question_reads_nothing_and_writes_to_its_log_alone(start: Start, tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("of before\n")
    child = start("import os, sys\nprint(sys.stdin.read() == '', os.getpid() == os.getsid(0))")
    assert child.wait() == 0 and child.answer == ""
    assert (tmp_path / "log.txt").read_text() == "of before\nTrue True\n"


def test_a_child_that_ends_when_asked_is_not_killed(start: Start, tmp_path: Path) -> None:
    code = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
    child = start(code + READY + SLEEP)
    wait_for((tmp_path / "ready").exists)
    child.stop(WAIT_SECONDS)
    assert child.wait() == 7 and not child.late


def test_a_child_that_ignores_sigterm_is_killed_when_its_grace_is_over(start: Start, tmp_path: Path) -> None:
    child = start(STUBBORN + READY + SLEEP)
    wait_for((tmp_path / "ready").exists)
    child.stop()
    assert child.poll() is None, "it may take the time that it needs"
    child.stop(0.2)
    assert child.wait() == -signal.SIGKILL
    assert not child.late


def test_a_child_over_its_time_is_stopped_then_killed_with_its_grandchildren(start: Start, tmp_path: Path) -> None:
    child = start(STUBBORN + GRANDCHILDREN + READY + SLEEP, limit_s=0.0, grace_s=float("inf"))
    wait_for((tmp_path / "ready").exists)
    assert child.poll() is None and child.late
    child.stop(0.0)
    assert child.wait() == -signal.SIGKILL
    assert len(pids(tmp_path)) == 2 and all(map(ended, pids(tmp_path)))


def test_a_limit_ends_a_child_by_itself(start: Start) -> None:
    child = start(SLEEP, limit_s=0.1)
    assert child.wait() == -signal.SIGTERM and child.late
    assert child.reason() == "its process was ended by SIGTERM"


def test_a_child_that_fails_leaves_nothing_of_its_session(start: Start, tmp_path: Path) -> None:
    child = start(GRANDCHILDREN + "sys.exit('error: no rows')")
    wait_for(lambda: child.poll() is not None)
    in_session, apart = pids(tmp_path)
    assert child.code == 1 and ended(in_session)
    assert child.reason() == "no rows"
    os.kill(apart, signal.SIGKILL)  # whose parent had ended before anybody looked: nothing says whose it was


def test_a_child_that_succeeds_may_leave_something_behind(start: Start, tmp_path: Path) -> None:
    child = start(GRANDCHILDREN)
    assert child.wait() == 0
    child.kill()
    assert not any(map(ended, pids(tmp_path)))
    for pid in pids(tmp_path):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("kills", "reason"),
    [
        ((0, 0), "its process was ended from outside (SIGKILL): begin anew"),
        ((3, 4), NO_MEMORY),
        ((None, None), "its process was ended from outside (SIGKILL), perhaps for lack of memory: begin anew"),
    ],
)
def test_a_child_that_the_system_kills(
    start: Start, kills: tuple[int | None, int | None], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter(kills)
    monkeypatch.setattr(child_module, "_memory_kills", lambda: next(counts))
    child = start("print('step 3', flush=True)\nimport os\nos.kill(os.getpid(), 9)")
    assert child.wait() == -signal.SIGKILL
    assert child.reason("begin anew") == reason


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("sys.exit('warning: x\\nerror: unknown task\\nsee dept tasks\\n')", "unknown task see dept tasks"),
        ("def f():\n    raise ValueError('odd')\nf()", "ValueError: odd"),
        ("sys.exit(3)", "its process ended with code 3"),
    ],
)
def test_the_reason_is_in_what_this_child_wrote(start: Start, tmp_path: Path, code: str, reason: str) -> None:
    (tmp_path / "log.txt").write_text("error: of the attempt before\n")
    child = start(f"import sys\n{code}")
    assert child.wait() != 0
    assert child.reason() == reason


@pytest.mark.skipif(sys.platform != "linux", reason="the file is Linux's")
def test_memory_is_taken_from_an_expendable_child_first(start: Start) -> None:
    child = start(SLEEP, expendable=True)
    assert Path(f"/proc/{child.pid}/oom_score_adj").read_text().strip() == "1000"
