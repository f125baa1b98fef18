"""Run folders read back: found wherever they are, damaged ones named; `dept-lab runs`, and what prune leaves alone."""

from __future__ import annotations

import copy
import functools
import html
import json
import operator
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from dept.data.names import Source
from dept.errors import RunError
from dept.methods.registry import method_config
from dept.training.result import SCHEMA_VERSION
from lab.cli import main
from lab.results.paper_figures import figures
from lab.results.render import as_csv, as_html, as_latex, as_markdown, as_rich
from lab.results.rows import results_of
from lab.runs.compare import differing_settings
from lab.runs.prune import PRUNABLE, to_prune
from lab.runs.read import DATA_SOURCES, READS_SCHEMA, SILENCE_S, find_runs, labels, read_run
from lab.runs.tables import compare_table, facts, show_table
from tests.lab.made_runs import made_run, running_here, write


def test_runs_are_found_and_damaged_ones_named(tmp_path: Path) -> None:
    made_run(tmp_path / "batch" / "deep" / "a")
    made_run(tmp_path / "b", status="failed", error="RunError: out of luck", steps=7)
    for name in ("cut", "list", "no-config", "wrong"):
        made_run(tmp_path / name)
    (tmp_path / "cut" / "result.json").write_text('{"status": "comp')
    write(tmp_path / "list" / "state.json", [1, 2])
    (tmp_path / "no-config" / "config.json").unlink()
    result = json.loads((tmp_path / "wrong" / "result.json").read_text())
    write(tmp_path / "wrong" / "result.json", {**result, "metrics": {**result["metrics"], "test": {"accuracy": "x"}}})
    backbone = tmp_path / "backbone"  # config.json is also the name of a backbone's settings
    backbone.mkdir()
    write(backbone / "config.json", {"model_type": "t5"})
    (tmp_path / "loop").symlink_to(tmp_path)
    runs, damaged = find_runs(tmp_path)
    assert [run.path.relative_to(tmp_path).as_posix() for run in runs] == ["b", "batch/deep/a"]
    assert {bad.path.name for bad in damaged} == {"cut", "list", "no-config", "wrong"}
    for bad in damaged:
        file = {"cut": "result.json", "list": "state.json", "no-config": "config.json", "wrong": "result.json"}
        assert file[bad.path.name] in bad.reason
    assert runs[0].status == "failed"
    with pytest.raises(RunError, match="no such folder"):
        find_runs(tmp_path / "nowhere")


def test_a_result_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    assert READS_SCHEMA == SCHEMA_VERSION
    assert get_args(Source) == DATA_SOURCES
    folder = made_run(tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    write(folder / "result.json", {**result, "schema_version": SCHEMA_VERSION + 1})
    with pytest.raises(RunError, match="newer version"):
        read_run(folder)


def test_a_run_whose_process_is_gone_is_interrupted(tmp_path: Path) -> None:
    assert read_run(made_run(tmp_path / "dead", status="running")).status == "interrupted"
    assert read_run(made_run(tmp_path / "here", status="running", state=running_here())).status == "running"
    other = {"host": "another-machine", "heartbeat": time.time()}
    assert read_run(made_run(tmp_path / "away", status="running", state=other)).status == "running"
    silent = {**other, "heartbeat": time.time() - SILENCE_S - 1}
    assert read_run(made_run(tmp_path / "silent", status="running", state=silent)).status == "interrupted"
    reused = {**running_here(), "pid_started": 1.0}
    assert read_run(made_run(tmp_path / "reused", status="running", state=reused)).status == "interrupted"
    # Killed between the result and the last word of the state: the result counts.
    done = made_run(tmp_path / "done", state={"status": "running"})
    assert read_run(done).status == "completed"


def test_labels_tell_runs_apart(tmp_path: Path) -> None:
    a = read_run(made_run(tmp_path / "x" / "run"))
    b = read_run(made_run(tmp_path / "y" / "run"))
    pt = read_run(made_run(tmp_path / "z", method="prompt_tuning"))
    assert labels([a, pt]) == ["DePT", "PT"]
    assert labels([a, b]) == ["DePT x/run", "DePT y/run"]


def test_settings_that_differ(tmp_path: Path) -> None:
    a = read_run(made_run(tmp_path / "a", seed=1))
    b = read_run(made_run(tmp_path / "b", seed=2, prompt_lr=0.4))
    assert differing_settings([a, b]) == {"seed": [1, 2], "prompt_lr": [0.3, 0.4]}
    assert differing_settings([a, a]) == {}


def test_list_show_and_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    made_run(tmp_path / "a", data="sample", test=77.75)
    made_run(tmp_path / "b", "sst2", status="failed", error="RunError: the loss became nan", steps=3)
    made_run(tmp_path / "broken")
    (tmp_path / "broken" / "config.json").write_text("{")
    assert main(["runs", "list", str(tmp_path)]) == 0
    found = capsys.readouterr()
    assert "sample data" in found.out
    assert "77.8" in found.out
    assert "damaged" in found.err
    assert "broken" in found.err
    assert main(["runs", "list", str(tmp_path), "--json", "--status", "completed"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(run["task"], run["test"], run["marks"]) for run in listed] == [("rte", 77.75, ["sample data"])]
    assert main(["runs", "list", str(tmp_path), "--status", "done"]) == 2
    assert "completed" in capsys.readouterr().err
    assert main(["runs", "show", str(tmp_path / "b")]) == 0
    assert "the loss became nan" in capsys.readouterr().out
    assert main(["runs", "show", str(tmp_path / "a"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["metrics"]["test"] == {"accuracy": 77.75}
    assert main(["runs", "show", str(tmp_path / "broken")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    page = tmp_path / "page.html"
    made_run(tmp_path / "c", seed=7)
    assert main(["runs", "compare", str(tmp_path / "a"), str(tmp_path / "c"), "--output", str(page)]) == 0
    out = capsys.readouterr().out
    assert "seed" in out
    assert "77.8" in out
    assert "sample data" in page.read_text()
    assert main(["runs", "compare", str(tmp_path / "a")]) == 2
    assert main(["runs", "compare", str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(page)]) == 2


@pytest.mark.parametrize(
    ("method", "title", "rate"),
    [("bitfit", "BitFit", "Learning rate of the biases"), ("lora", "LoRA", "Learning rate of LoRA's matrices")],
)
def test_runs_of_other_peoples_methods_are_listed_shown_and_compared(
    method: str,
    title: str,
    rate: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    made_run(tmp_path / "own", method=method)
    made_run(tmp_path / "pt", method="prompt_tuning")
    assert main(["runs", "list", str(tmp_path)]) == 0
    assert title in capsys.readouterr().out
    assert main(["runs", "show", str(tmp_path / "own")]) == 0
    shown = capsys.readouterr().out
    assert f"method {method}" in shown and f"{method_config(method).groups[0].setting_name} 0.0003" in shown
    assert "low_rank_alpha" not in shown, "other methods' settings are left out"
    page = tmp_path / "page.html"
    assert main(["runs", "compare", str(tmp_path / "own"), str(tmp_path / "pt"), "--output", str(page)]) == 0
    assert title in capsys.readouterr().out
    written = page.read_text()
    for heading in (rate, "Learning rate of the prompt"):
        assert html.escape(heading) in written
    assert "Learning rate of A and B" not in written


def test_prune_asks_and_takes_only_what_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = [made_run(tmp_path / "completed"), made_run(tmp_path / "stopped", status="stopped")]
    kept.append(made_run(tmp_path / "running", status="running", state=running_here()))
    failed = made_run(tmp_path / "failed", status="failed")
    (failed / "checkpoint-20").mkdir()
    (failed / "tensorboard").mkdir()
    (failed / "job.log").write_text("loading")
    command = ["runs", "prune", str(tmp_path)]
    assert main(command) == 2  # nobody to ask
    assert "--yes" in capsys.readouterr().err
    assert main([*command, "--dry-run"]) == 0
    assert failed.is_dir()
    assert "would delete" in capsys.readouterr().out
    assert main([*command, "--older-than", str(time.time()), "--yes"]) == 0
    assert failed.is_dir()
    assert main([*command, "--yes"]) == 0
    assert not failed.exists()
    assert all(folder.is_dir() for folder in kept)
    assert main([*command, "--status", "running", "--yes"]) == 2
    assert main([*command, "--status", "stopped,interrupted", "--yes"]) == 0
    assert [folder.is_dir() for folder in kept] == [True, False, True]


def test_prune_leaves_what_is_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = tmp_path / "elsewhere"
    failed = made_run(tmp_path / "runs" / "failed", status="failed")
    (failed / "notes.txt").write_text("mine")
    shutil.move(failed / "adapter", elsewhere)
    (failed / "adapter").symlink_to(elsewhere)
    inside = made_run(failed / "inside")
    damaged = made_run(tmp_path / "runs" / "damaged", status="failed")
    (damaged / "state.json").write_text("{")
    assert main(["runs", "prune", str(tmp_path / "runs"), "--yes"]) == 0
    assert sorted(path.name for path in failed.iterdir()) == ["inside", "notes.txt"]
    assert "notes.txt" in capsys.readouterr().out
    assert (elsewhere / "adapter_config.json").is_file()
    assert (inside / "result.json").is_file()
    assert (damaged / "result.json").is_file()


def test_prune_leaves_a_run_that_another_process_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from filelock import FileLock

    failed = made_run(tmp_path / "failed", status="failed")
    with FileLock(failed / ".lock", thread_local=False):
        assert main(["runs", "prune", str(tmp_path), "--yes"]) == 0
    assert "not deleted" in capsys.readouterr().out
    assert (failed / "config.json").is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root opens every folder")
def test_a_folder_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        assert [bad.path for bad in find_runs(tmp_path)[1]] == [closed]
    finally:
        closed.chmod(0o700)


@pytest.mark.parametrize("name", ["result.json", "config.json", "state.json"])
@pytest.mark.parametrize("junk", [None, "x", ["a"], {"a": 1}, True, -1], ids=str)
def test_a_wrong_value_anywhere_is_named_or_harmless(name: str, junk: Any, tmp_path: Path) -> None:
    # A running one has its process looked up.
    folder = made_run(tmp_path / "run", status="running" if name == "state.json" else "completed")
    other = read_run(made_run(tmp_path / "other"))
    original = json.loads((folder / name).read_text())
    refused = 0
    for path in keys_of(original):
        changed = copy.deepcopy(original)
        functools.reduce(operator.getitem, path[:-1], changed)[path[-1]] = junk
        write(folder / name, changed)
        try:
            run = read_run(folder)
        except RunError as fault:
            assert name in str(fault)
            assert "\n" not in str(fault)
            refused += 1
            continue
        results = results_of([run, other])
        for use in (as_csv, as_html, as_latex, as_markdown, as_rich, figures):
            use(results)
        facts(run)
        show_table(run)
        compare_table([run, other])
        to_prune([run], PRUNABLE)
    assert refused


def keys_of(value: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, inner in value.items():
        yield (*before, key)
        if isinstance(inner, dict):
            yield from keys_of(inner, (*before, key))
