from __future__ import annotations

import signal
from pathlib import Path

import pytest

from lab.basics import failures


@pytest.mark.parametrize(
    ("code", "log", "memory_ran_out", "expected"),
    [
        (-signal.SIGKILL, [], False, failures.KILLED),
        (-signal.SIGKILL, ["step 3"], True, failures.NO_MEMORY),
        (-signal.SIGSEGV, [], False, "SIGSEGV"),
        (1, ["Traceback", "OSError: [Errno 28] No space left on device: 'x'"], False, failures.DISK_FULL),
        (1, ["RuntimeError: DefaultCPUAllocator: can't allocate memory"], False, failures.NO_MEMORY),
        (1, ["Traceback ...", "ValueError: odd"], False, "ValueError: odd"),
        (2, ["warning: x", "error: unknown task 'x'", "see tasks"], False, "unknown task 'x' see tasks"),
        (3, [], False, "code 3"),
    ],
)
def test_the_reason_of_an_exit(code: int, log: list[str], memory_ran_out: bool, expected: str) -> None:
    assert expected in failures.reason_of_exit(code, log, memory_ran_out=memory_ran_out)


def test_a_log_is_read_from_its_end_and_shows_no_place_or_control_character(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert failures.log_tail(run) == []
    (run / "log.txt").write_bytes(b"x" * 100_000 + f"\n\x1b[31mred\x1b[0m \x07{run}/a \xff\nlast\n".encode("latin-1"))
    lines = failures.log_tail(run)
    assert lines[-2:] == ["red RUNS/run/a \N{REPLACEMENT CHARACTER}", "last"]
    assert sum(map(len, lines)) < 20_000
    assert failures.log_tail(run, since=(run / "log.txt").stat().st_size - 5) == ["last"]


def test_a_runs_own_reason_says_what_to_do() -> None:
    assert failures.explain("RunError: the loss became nan at step 3: lower --prompt-lr") == (
        "the loss became nan at step 3: lower --prompt-lr"
    )
    assert failures.explain("OSError: [Errno 28] No space left on device") == failures.DISK_FULL
    assert failures.explain("out of memory: raise --gradient-accumulation") == (
        "out of memory: raise --gradient-accumulation"
    )
