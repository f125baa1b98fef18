from __future__ import annotations

import signal
from pathlib import Path

import pytest

from lab.basics import failures

TRACEBACK = ["Traceback (most recent call last):", '  File "x.py", line 1, in <module>', "ValueError: odd"]


@pytest.mark.parametrize(
    ("code", "log", "memory_ran_out", "expected"),
    [
        (-signal.SIGKILL, [], False, failures.KILLED),
        (-signal.SIGKILL, [], None, "perhaps for lack of memory: resume"),
        (-signal.SIGKILL, ["step 3"], True, failures.NO_MEMORY),
        (-signal.SIGSEGV, ["error: of before"], False, "SIGSEGV"),
        (-(signal.SIGRTMIN + 1), [], False, f"signal {signal.SIGRTMIN + 1}"),
        (1, ["Traceback", "OSError: [Errno 28] No space left on device: 'x'"], False, failures.DISK_FULL),
        (1, ["RuntimeError: DefaultCPUAllocator: can't allocate memory"], False, failures.NO_MEMORY),
        (1, ["Traceback ...", "ValueError: odd"], False, "ValueError: odd"),
        (2, ["warning: x", "error: unknown task 'x'", "see tasks"], False, "unknown task 'x' see tasks"),
        (1, [*TRACEBACK, "a warning at its end"], False, "ValueError: odd"),
        (1, ["error: of before", *TRACEBACK], False, "ValueError: odd"),
        (2, [*TRACEBACK, "error: after it"], False, "after it"),
        (3, [], False, "code 3: resume"),
    ],
)
def test_the_reason_of_an_exit(code: int, log: list[str], memory_ran_out: bool | None, expected: str) -> None:
    reason = failures.reason_of_exit(code, log, memory_ran_out=memory_ran_out, advice=failures.RESUME)
    assert expected in reason and "\n" not in reason


def test_no_advice_where_there_is_none_to_give() -> None:
    assert failures.reason_of_exit(-signal.SIGKILL, []) == "its process was ended from outside (SIGKILL)"


def test_a_log_is_read_from_its_end_and_shows_no_place_or_control_character(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert failures.log_tail(run) == []
    (run / "log.txt").write_bytes(b"x" * 100_000 + f"\n\x1b[31mred\x1b[0m \x07{run}/a \xff\nlast\n".encode("latin-1"))
    lines = failures.log_tail(run)
    assert lines[-2:] == ["red RUNS/run/a \N{REPLACEMENT CHARACTER}", "last"]
    assert sum(map(len, lines)) < 20_000
    assert failures.tail(run / "log.txt", since=(run / "log.txt").stat().st_size - 5) == ["last"]


def test_a_runs_own_reason_says_what_to_do() -> None:
    assert failures.explain("RunError: the loss became nan at step 3: lower --prompt-lr") == (
        "the loss became nan at step 3: lower --prompt-lr"
    )
    assert failures.explain("OSError: [Errno 28] No space left on device") == failures.DISK_FULL
    assert failures.explain("out of memory: raise --gradient-accumulation") == (
        "out of memory: raise --gradient-accumulation"
    )
