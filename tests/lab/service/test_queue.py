"""The queue without a worker: its only slot is held, so that nothing starts. `test_worker.py` has the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dept.basics.files import write_json
from dept.errors import ConfigError, DeptError, RunError
from dept.runs.folder import RunFolder
from lab.basics.failures import DISK_FULL, GONE
from lab.basics.processes import record
from lab.service.owners import OPERATOR, Visitor
from lab.service.queue import RunQueue
from lab.service.queue_folder import QueueFolder
from tests.lab.service.helpers import SMALL, queue_in, somebody


@pytest.fixture
def queue(tmp_path: Path, tiny_t5: Path) -> Iterator[RunQueue]:
    queue = queue_in(tmp_path / "runs", tiny_t5, waiting=4, per_visitor=3, kept=6)
    with queue.folder.slot(0):
        yield queue


def _pretend(queue: RunQueue, run_id: str, status: str, process: dict[str, Any], **more: Any) -> None:
    """What a run that trains writes."""
    path = queue.folder.root / run_id / "state.json"
    write_json(path, {**json.loads(path.read_text()), "status": status, **process, **more})
    queue._forget()


def _dead_process() -> dict[str, Any]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    written = record(process.pid)
    process.communicate()
    return written


def test_no_place_of_this_machine_leaves_it(queue: RunQueue, tiny_t5: Path) -> None:
    me = somebody()
    (run_id,) = queue.submit([SMALL], me)
    folder, adapter = queue.folder.root / run_id, queue.folder.root / run_id / "adapter"
    adapter.mkdir()
    said = f"{tiny_t5} and {folder}/own/task.yaml"
    for name in ("adapter_config.json", "README.md", "adapter_model.safetensors"):
        (adapter / name).write_text(said)
    (folder / "log.txt").write_text(said)
    _pretend(queue, run_id, "failed", {}, error=said)
    told = "path/to/tiny and RUNS/" + f"{run_id}/own/task.yaml"
    files = queue.adapter_files(run_id, somebody())
    assert files["README.md"].decode() == files["adapter_config.json"].decode() == told
    assert files["adapter_model.safetensors"].decode() == said  # numbers, left as they are
    assert queue.log(run_id, me) == [told] and queue.run(run_id, me).error == told
    with pytest.raises(RunError, match="no such run"):
        queue.adapter_files("../..", me)


def test_first_in_first_out_and_seen_by_its_owner(queue: RunQueue) -> None:
    me, other = somebody(), somebody()
    first, second = queue.submit([SMALL, {**SMALL, "method": "prompt_tuning", "num_virtual_tokens": None}], me)
    (third,) = queue.submit([SMALL], other)
    assert [(run.run_id, run.position, run.status) for run in queue.runs(me)] == [
        (first, 1, "queued"),
        (second, 2, "queued"),
    ]
    assert [run.run_id for run in queue.runs(other)] == [third] and queue.run(third, me).position == 3
    assert [run.run_id for run in queue.runs(OPERATOR)] == [first, second, third]
    assert queue.runs(somebody()) == queue.runs(Visitor()) == []
    assert queue.load() == (0, 3)
    shown = queue.run(first, me)
    assert (shown.task, shown.method, shown.backbone, shown.max_steps) == ("sst2", "dept", "folder:tiny", 4)
    assert shown.may_change and not queue.run(first, other).may_change
    assert second.startswith("sst2-pt-")
    settings = json.loads((queue.path(first, me) / "settings.json").read_text())
    assert settings["backbone"] == str(queue.allowed.backbone_folders["tiny"])
    # Out of the queue, and at its end again.
    queue.stop(first, me)
    assert queue.run(first, me).status == "stopped" and queue.run(second, me).position == 1
    queue.resume(first, me)
    assert [queue.run(run, me).position for run in (second, third, first)] == [1, 2, 3]
    assert queue.run(first, me).error is None
    # Another process reads the same.
    assert [run.run_id for run in RunQueue(queue.folder.root).runs(OPERATOR)] == [second, third, first]


def test_only_who_started_a_run_or_the_operator_changes_it(queue: RunQueue) -> None:
    me = somebody()
    (run,) = queue.submit([SMALL], me)
    for stranger in (somebody(), Visitor(), Visitor(owner="")):
        for change in (queue.stop, queue.kill, queue.resume, queue.delete):
            with pytest.raises(RunError, match="somebody else"):
                change(run, stranger)
    with pytest.raises(RunError, match="no token"):
        queue.submit([SMALL], Visitor())
    assert queue.run(run, me).status == "queued"
    queue.stop(run, OPERATOR)
    queue.delete(run, OPERATOR)
    assert queue.runs(OPERATOR) == []
    assert not (queue.folder.root / run).exists() and not list(queue.folder.own.glob("deleted-*/*"))


def test_limits_of_people_and_of_the_queue(queue: RunQueue) -> None:
    me, other = somebody(), somebody()
    runs = queue.submit([SMALL] * 3, me)
    with pytest.raises(RunError, match="you have 3 runs"):
        queue.submit([SMALL], me)
    with pytest.raises(RunError, match="queue is full"):
        queue.submit([SMALL] * 2, other)  # both or none
    assert len(queue.runs(OPERATOR)) == 3
    queue.submit([SMALL], other)
    for run in runs:
        queue.stop(run, me)
    queue.submit([SMALL] * 2, other)
    with pytest.raises(RunError, match="6 runs are kept"):
        queue.submit([SMALL], me)
    queue.resume(runs[0], me)  # needs no new folder
    with pytest.raises(RunError, match="queue is full"):
        queue.resume(runs[1], me)
    with pytest.raises(ConfigError, match="max_steps"):
        queue.submit([{**SMALL, "max_steps": 10**6}], me)


HOSTILE_IDS = ["", ".", "..", "../x", "/etc", ".queue", ".uploads", "a/b", "a\0b", "x" * 300, "\ud800", "*", "nul\n"]


@pytest.mark.parametrize("run_id", [*HOSTILE_IDS, None, 3, ["x"], {"a": 1}])
def test_ids_are_no_paths(queue: RunQueue, tmp_path: Path, run_id: Any) -> None:
    (queue.folder.root / "state.json").write_text('{"status": "completed", "owner": null}')
    for look in (queue.run, queue.curves, queue.log, queue.path, queue.stop, queue.kill, queue.resume, queue.delete):
        with pytest.raises(RunError, match="no such run"):
            look(run_id, OPERATOR)
    with pytest.raises(RunError, match="no such run"):
        queue.repeat(run_id, {}, OPERATOR)


def test_a_link_out_of_the_folder_and_damaged_folders_are_no_runs(queue: RunQueue, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "state.json").write_text('{"status": "completed"}')
    (queue.folder.root / "link").symlink_to(outside)
    for name, text in (("damaged", "{"), ("other", "[1]"), ("odd", '{"status": "odd"}')):
        (queue.folder.root / name).mkdir()
        (queue.folder.root / name / "state.json").write_text(text)
    assert queue.runs(OPERATOR) == []
    for name in ("link", "damaged", "other", "odd"):
        with pytest.raises(RunError, match="no such run"):
            queue.delete(name, OPERATOR)


def test_a_run_whose_process_is_gone_has_failed_at_once_and_can_be_resumed(queue: RunQueue) -> None:
    me = somebody()
    (run,) = queue.submit([SMALL], me)
    _pretend(queue, run, "running", record(), step=3)
    assert queue.run(run, me).status == "running"
    for change in (queue.resume, queue.delete):
        with pytest.raises(RunError, match="is running"):
            change(run, me)
    gone = _dead_process()
    _pretend(queue, run, "running", gone, step=3)
    assert (queue.run(run, me).status, queue.run(run, me).error) == ("failed", GONE)  # before anybody wrote it
    # The same number, another process.
    _pretend(queue, run, "running", {**record(), "pid_started": gone["pid_started"] - 100})
    assert queue.run(run, me).status == "failed"
    (queue.path(run, me) / "log.txt").write_text("OSError: [Errno 28] No space left on device\n")
    queue._dispatcher.tick()
    state = json.loads((queue.path(run, me) / "state.json").read_text())
    assert (state["status"], state["error"], state["step"], state["owner"]) == ("failed", DISK_FULL, 3, me.owner)
    queue.resume(run, me)
    assert queue.run(run, me).status == "queued"


def test_a_run_that_holds_its_lock_is_left_alone(queue: RunQueue) -> None:
    me = somebody()
    (run,) = queue.submit([SMALL], me)
    _pretend(queue, run, "running", _dead_process())
    with RunFolder(queue.path(run, me)).lock():
        queue._dispatcher.tick()
        assert json.loads((queue.path(run, me) / "state.json").read_text())["status"] == "running"
        with pytest.raises(RunError, match="another process"):
            queue.delete(run, me)


def test_a_process_on_another_machine_counts_as_long_as_it_is_heard_of(queue: RunQueue) -> None:
    me = somebody()
    (run,) = queue.submit([SMALL], me)
    _pretend(queue, run, "running", {**record(), "host": "elsewhere", "heartbeat": time.time() - 30})
    assert queue.run(run, me).status == "running"
    _pretend(queue, run, "running", {**record(), "host": "elsewhere", "heartbeat": time.time() - 90})
    assert queue.run(run, me).status == "failed"


def test_runs_started_by_hand_are_the_operators_to_see(queue: RunQueue) -> None:
    by_hand = queue.folder.root / "rte-dept"
    by_hand.mkdir()
    write_json(by_hand / "config.json", {"task": "rte", "method": "dept", "backbone": "t5-base", "fingerprints": {}})
    write_json(by_hand / "state.json", {"status": "completed", **record(), "owner": None, "step": 5, "max_steps": 5})
    (seen,) = queue.runs(OPERATOR)
    assert (seen.run_id, seen.task, seen.status, seen.submitted) == ("rte-dept", "rte", "completed", None)
    assert queue.runs(somebody()) == []
    with pytest.raises(RunError, match="no such run"):  # its name can be guessed
        queue.run("rte-dept", somebody())


def test_own_rows_go_into_the_run_and_from_run_to_run(queue: RunQueue, tmp_path: Path) -> None:
    me = somebody()
    file = tmp_path / "mail.csv"
    file.write_text("text,label\n" + "hello,ham\nbuy,spam\n" * 10)
    table = queue.uploads.receive(file, "mail.csv", me)
    own = {**SMALL, "task": "own", "data": f"upload:{table.upload_id}"}
    with pytest.raises(DeptError, match="choose the text columns"):
        queue.submit([own], me)
    queue.uploads.choose(table.upload_id, ["text"], "label", me)
    (run,) = queue.submit([own], me)
    settings = json.loads((queue.path(run, me) / "settings.json").read_text())
    assert settings["data"] == str(queue.path(run, me) / "own" / "rows.jsonl")
    again = queue.repeat(run, {"seed": 7}, me)
    assert (queue.path(again, me) / "own" / "task.yaml").is_file()
    assert queue.run(again, me).request == {**own, "data": f"run:{run}", "seed": 7}
    with pytest.raises(DeptError, match="no such table"):
        queue.check(own, somebody())


def test_looking_is_cheap(queue: RunQueue) -> None:
    """Hundreds of kept runs, each looked at by many: files that have not changed are not parsed again."""
    for number in range(300):
        path = queue.folder.root / f"run-{number}"
        path.mkdir()
        (path / "config.json").write_text('{"task": "rte", "method": "dept"}')
        (path / "state.json").write_text('{"status": "completed", "owner": null}')
    assert len(queue.runs(OPERATOR)) == 200
    started = time.process_time()
    for _ in range(5):
        queue.runs(OPERATOR)
    assert (time.process_time() - started) / 5 < 0.1


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be used as a folder of runs"):
        QueueFolder(tmp_path / "file")
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(RunError, match="cannot be used"):
            QueueFolder(tmp_path / "closed")
