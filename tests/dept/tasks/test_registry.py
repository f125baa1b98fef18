from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dept.errors import TaskError
from dept.tasks import Task, list_tasks, load_task
from dept.tasks.registry import MAX_FILE_BYTES, SHIPPED, TASK_NAMES

# Table 1's columns (Pearson for STS-B, F1 for MultiRC, Matthews for CoLA), token F1 for extractive answers.
MAIN_METRICS = {
    **{"stsb": "pearson", "multirc": "f1", "cola": "matthews", "vqa": "vqa_accuracy", "coco_captions": "cider"},
    **dict.fromkeys(("nq", "hotpotqa", "searchqa", "newsqa", "squad", "record"), "token_f1"),
}
LENGTHS = {"multirc": 348} | dict.fromkeys(("nq", "hotpotqa", "searchqa", "newsqa"), 512)

OWN = """\
columns: {review: str, verdict: str}
template: "review: {review}"
label_column: verdict
labels: [bad, good]
"""


def write(folder: Path, text: str | bytes, name: str = "my.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_shipped_file_is_a_listed_task() -> None:
    assert {file.stem for file in SHIPPED.glob("*.yaml")} == set(TASK_NAMES)
    assert [task.name for task in list_tasks()] == list(TASK_NAMES)
    assert len([task for task in list_tasks() if not task.source_task]) == 23, "as many as the paper has"


@pytest.mark.parametrize("task", list_tasks(), ids=TASK_NAMES)
def test_shipped_tasks_say_what_is_needed(task: Task) -> None:
    assert task.title and task.benchmark != "own" and task.hub_id and task.hub_rows["train"]
    assert task.main_metric == MAIN_METRICS.get(task.name, "accuracy")
    assert task.max_seq_length == LENGTHS.get(task.name, 256)
    assert task.source_task == (task.name in ("squad", "record"))
    assert (task.image_column is not None) == (task.benchmark == "vision_language")
    if task.labels is not None:
        assert task.verbalizers["digits"] == tuple(str(index) for index in range(len(task.labels)))
        words = task.verbalizers["words"]
        assert all(word.isalpha() and word.islower() for word in words)
        assert len({word[:3] for word in words}) == len(words)  # they part at the first token
    assert task.decoding == ("label_scoring" if task.labels else "generate")


def test_an_own_file_is_named_by_its_stem(tmp_path: Path) -> None:
    path = write(tmp_path, OWN)
    assert load_task(path) == load_task(str(path))
    task = load_task(path)
    assert (task.name, task.benchmark, task.main_metric, task.max_seq_length) == ("my", "own", "accuracy", 256)


@pytest.mark.parametrize("name", ["sts2", "", "../sst2", "sst2\0", "/etc/passwd"])
def test_an_unknown_name_says_what_to_do(name: str) -> None:
    with pytest.raises(TaskError, match="unknown task .*`dept tasks` lists them"):
        load_task(name)


def test_a_misspelt_name_gets_a_hint() -> None:
    with pytest.raises(TaskError, match="did you mean 'sst2'"):
        load_task("sst-2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected fields such as name"),
        ("- a\n- b", "expected fields such as name"),
        ("template: sentence: {sentence}", "line 1: not valid YAML: mapping values are not allowed here"),
        ("template: [", "not valid YAML"),
        (b"\xff\xfe\x00", "not valid YAML"),
        (b"title: \xe9", "not UTF-8 text"),
        ("title: \x00", "not valid YAML"),
        ("title: 2020-13-45", "not valid YAML: month must be in 1..12; put quotes"),
        ("title: !!python/object/apply:os.system ['true']", "YAML tags (!)"),
        ('title: !!bool "x"', "YAML tags (!)"),
        ("a: &a [x]\nb: *a", "anchors (&)"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested deeper than a task file is"),
        ("#" * (MAX_FILE_BYTES + 1), "larger than 64 KiB"),
        ("1: 2", "unknown field 1 (int)"),
        (OWN.replace("[bad, good]", "[no, yes]"), "labels: expected texts, found False (bool); put quotes"),
    ],
)
def test_a_bad_file_is_one_line_naming_it(tmp_path: Path, text: str | bytes, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(TaskError) as error:
        load_task(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="none.yaml: cannot be read"):
        load_task(str(tmp_path / "none.yaml"))
    with pytest.raises(TaskError, match="cannot be read"):
        load_task(tmp_path)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(OWN)), st.integers(0, 20), st.text(alphabet="{}[]:,-&*!|>'\"#%@`?0x_1. \n\tan", max_size=12))
def test_a_damaged_file_gives_a_task_or_one_line(tmp_path: Path, start: int, cut: int, put: str) -> None:
    path = write(tmp_path, OWN[:start] + put + OWN[start + cut :])
    try:
        load_task(path)
    except TaskError as error:
        assert "\n" not in str(error)


def test_listing_tasks_imports_no_heavy_library() -> None:
    code = (
        "import sys; from dept.tasks import list_tasks; from dept.tasks import splits; list_tasks(); "
        "print(*{'torch', 'transformers', 'datasets', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("", "")
