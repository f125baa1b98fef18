"""The `dept` command as a user meets it: what it prints, how it fails, what it leaves."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dept.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The message of a command that must fail the agreed way: one or two lines, exit 2."""
    code, out, err = run(capsys, *arguments)
    assert code == 2, (out, err)
    assert err.startswith("error: ")
    assert 1 <= len(err.strip().splitlines()) <= 2, err
    assert "Traceback" not in err
    return err


def test_tasks_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "tasks", "--json")
    known = json.loads(out)
    assert code == 0
    keys = ("name", "benchmark", "hub_id", "hub_config", "metrics", "main_metric", "labels", "max_seq_length")
    assert {tuple(task) for task in known} == {(*keys, "source_task")}
    names = {task["name"] for task in known}
    assert {"mnli", "multirc", "newsqa", "winogrande", "paws", "squad", "record"} <= names
    assert {task["name"] for task in known if task["source_task"]} == {"squad", "record"}


def test_budget_of_t5_base(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "budget", "--backbone", "t5-base", "--json")
    table = json.loads(out)
    assert code == 0
    assert [split["num_virtual_tokens"] for split in table] == [0, 20, 40, 60, 80, 100]
    assert [split["rank"] for split in table] == [75, 60, 45, 30, 15, 0]
    assert {split["trainable_parameters"] for split in table} == {76_800}
    assert [split["input_length"] for split in table] == [256, 276, 296, 316, 336, 356]


@pytest.mark.parametrize("backbone", ["t5-small", "gpt2-large", "llama-2-13b"])
def test_a_budget_that_does_not_divide_says_what_is_left(capsys: pytest.CaptureFixture[str], backbone: str) -> None:
    table = json.loads(run(capsys, "budget", "--backbone", backbone, "--json")[1])
    assert any(split["left_over"] > 0 for split in table)
    assert all(split["left_over"] >= 0 for split in table)


@pytest.mark.parametrize("command", [["--help"], ["tasks"], ["budget"], ["train", "--help"], ["predict", "--help"]])
def test_light_commands_import_no_torch(command: list[str]) -> None:
    """What makes them answer within a second."""
    code = (
        "import sys, dept\nfrom dept.cli import main\n"
        f"main({command!r})\n"
        "heavy = {'torch', 'transformers', 'datasets', 'scipy', 'sklearn', 'accelerate'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def trained(tiny_t5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("cli") / "run"
    code = main([
        "train", "--quiet", "--task", "sst2", "--backbone", str(tiny_t5), "--data", "sample",
        "--output-dir", str(output), "--num-virtual-tokens", "4",
        "--budget-tokens", "20", "--max-seq-length", "64", "--max-steps", "4",
        "--batch-size", "8", "--max-train-rows", "40", "--max-validation-rows", "16", "--max-test-rows", "16",
    ])  # fmt: skip
    assert code == 0
    return output


def test_evaluate_gives_the_result_again(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "evaluate", trained, "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts.keys() == {"split", "rows", "metrics", "main_metric", "decoding", "samples_per_s"}
    assert (facts["split"], facts["rows"], facts["decoding"]) == ("test", 16, "label_scoring")
    result = json.loads((trained / "result.json").read_text())
    assert facts["metrics"] == result["metrics"]["test"]
    assert json.loads(run(capsys, "evaluate", trained, "--split", "validation", "--json")[1])["rows"] == 16
    generated = json.loads(run(capsys, "evaluate", trained, "--decoding", "generate", "--json")[1])
    assert generated["decoding"] == "generate"


def test_predict_texts_and_lines(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run(capsys, "predict", trained, "--text", "a fine film", "--text", "a bad one", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [line["text"] for line in lines] == ["a fine film", "a bad one"]
    for line in lines:
        assert line.keys() == {"text", "prediction", "probabilities"}
        assert line["probabilities"].keys() == {"0", "1"}
        assert sum(line["probabilities"].values()) == pytest.approx(1)
        assert line["prediction"] == max(line["probabilities"], key=line["probabilities"].__getitem__)
    monkeypatch.setattr("sys.stdin", io.StringIO("a fine film\na bad one\n"))
    code, out, _ = run(capsys, "predict", trained)
    assert out.split() == [line["prediction"] for line in lines]


def test_predict_rows_of_a_task_with_several_texts(
    tiny_t5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "rte"
    code, _, err = run(
        capsys, "train", "--quiet", "--task", "rte", "--backbone", tiny_t5, "--data", "sample", "--output-dir", output,
        "--max-steps", 1, "--budget-tokens", 20, "--num-virtual-tokens", 4, "--max-train-rows", 8,
        "--max-validation-rows", 8, "--max-test-rows", 8,
    )  # fmt: skip
    assert code == 0, err
    row = json.dumps({"sentence1": "A dog barks.", "sentence2": "An animal barks."})
    as_row = run(capsys, "predict", output, "--text", row, "--json")[1]
    source = "sentence1: A dog barks. sentence2: An animal barks."
    as_text = run(capsys, "predict", output, "--text", source, "--json")[1]
    assert json.loads(as_row)["probabilities"] == json.loads(as_text)["probabilities"]
    assert "sentence1" in fails(capsys, "predict", output, "--text", "hello world")
    assert "sentence2" in fails(capsys, "predict", output, "--text", '{"sentence1": "A dog barks."}')


def test_predict_reads_a_bare_adapter_folder(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "predict", trained / "adapter", "--text", "a fine film")[0] == 0


def test_your_own_task(tiny_t5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a table's columns to predictions."""
    table = tmp_path / "mail.csv"
    words = ("bill", "book", "form")
    rows = [f"please send the {word} again,{kind}" for word in words for kind in ("ham", "spam")] * 6
    table.write_text("message,kind\n" + "\n".join(rows) + "\n")
    code, yaml, _ = run(capsys, "tasks", "--new", table)
    task = tmp_path / "mail.yaml"
    task.write_text(yaml)
    assert code == 0
    code, out, _ = run(capsys, "tasks", "--check", task, "--data", table)
    assert code == 0
    assert "please send the bill again" in out
    output = tmp_path / "run"
    code, _, err = run(
        capsys, "train", "--quiet", "--task", task, "--data", table, "--backbone", tiny_t5, "--output-dir", output,
        "--max-steps", 2, "--budget-tokens", 20, "--num-virtual-tokens", 4, "--max-seq-length", 64, "--batch-size", 4,
    )  # fmt: skip
    assert code == 0, err
    assert run(capsys, "evaluate", output)[0] == 0
    code, out, _ = run(capsys, "predict", output, "--text", "please send the bill again", "--json")
    assert json.loads(out)["probabilities"].keys() == {"0", "1"}


def test_a_table_that_does_not_fit_its_task_is_shown_and_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "mail.csv"
    table.write_text("message,kind\n" + "hello,ham\nbuy now,spam\n" * 5)
    task = tmp_path / "mail.yaml"
    task.write_text(run(capsys, "tasks", "--new", table)[1])
    table.write_text("message,kind\n" + "hello,ham\nbuy now,offer\n" * 5)
    code, out, _ = run(capsys, "tasks", "--check", task, "--data", table)
    assert code == 2
    assert "offer" in out


def test_settings_from_a_file_and_flags_over_them(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run's own config.json is a file of settings; a flag wins over it."""
    output = tmp_path / "again"
    code, _, err = run(
        capsys, "train", "--quiet", "--config", trained / "config.json", "--output-dir", output, "--seed", 7
    )
    assert code == 0, err
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (trained, output))
    assert after["seed"] == 7
    assert {name for name in before if before[name] != after[name]} == {"seed", "output_dir", "fingerprints"}


BAD_COMMANDS: list[tuple[list[str], str]] = [
    (["train", "--task", "sst3"], "sst2"),
    (["train", "--rank", "-1"], "rank"),
    (["train", "--num-virtual-tokens", "101"], "budget_tokens"),
    (["train", "--max-steps", "0"], "max_steps"),
    (["train", "--prompt-lr", "nan"], "prompt_lr"),
    (["train", "--method", "lorra"], "method"),
    (["train", "--batch-size", "many"], "batch-size"),
    (["train", "--no-such-flag", "1"], "no-such-flag"),
    (["train", "--config", "missing.yaml"], "missing.yaml"),
    (["train", "--data", "no/such/folder"], "no/such/folder"),
    (["train", "--data", "sample", "--backbone", "no/such/model/here"], "no/such/model/here"),
    (["train", "--data", "sample", "--backbone", "random:t5-small"], "--tokenizer"),
    (["train", "--output-dir", "pyproject.toml", "--data", "sample"], "pyproject.toml"),
    (["train", "--resume", "--output-dir", "no/such/run"], "config.json"),
    (["budget", "--backbone", "random:t5-huge"], "t5-huge"),
    (["budget", "--budget-tokens", "0"], "budget_tokens"),
    (["evaluate", "no/such/run"], "no/such/run"),
    (["predict", "no/such/run", "--text", "x"], "no/such/run"),
    (["evaluate", "tests"], "tests"),
    (["tasks", "--check", "no.yaml", "--data", "x.csv"], "no.yaml"),
    (["tasks", "--new", "no.csv"], "no.csv"),
    (["nonsense"], "nonsense"),
]


@pytest.mark.parametrize(("arguments", "named"), BAD_COMMANDS, ids=lambda value: " ".join(value)[:50])
def test_bad_input_is_one_clear_line(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    if arguments[0] == "train" and "--output-dir" not in arguments:
        arguments = [*arguments, "--output-dir", str(tmp_path / "run")]
    assert named in fails(capsys, *arguments)
    assert not (tmp_path / "run").exists()


def test_the_hub_out_of_reach_names_the_other_choices(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path)
    message = fails(capsys, "train", "--task", "rte", "--output-dir", tmp_path / "run")
    assert "--data FOLDER" in message
    assert "--data sample" in message


SETTINGS = ["task", "rank", "num_virtual_tokens", "prompt_lr", "max_steps", "seed", "method", "data", "oops"]
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-10, 2**70), st.floats(), st.text(max_size=8), st.lists(st.integers())
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.sampled_from(SETTINGS), JUNK, min_size=1))
def test_any_file_of_settings_is_used_or_refused_in_one_line(
    values: dict[str, Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Whatever the file says: it fails the agreed way, since none of these has a usable backbone."""
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({**values, "backbone": "no/such/folder/here", "output_dir": str(tmp_path / "run")}))
    fails(capsys, "train", "--config", file)
    assert not (tmp_path / "run").exists()
