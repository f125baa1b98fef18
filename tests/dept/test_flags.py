"""Files of settings and flags: what they mean, and how they fail."""

import inspect
import json
import math
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dept import DeptConfig, TrainConfig
from dept.basics.checked import settings_of
from dept.basics.settings_file import parse_value, read_config
from dept.errors import ConfigError, DataError
from dept.flags import STOPPED, run_app, with_flags


def given_file(folder: Path, content: str | bytes, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(read_config(path))
    message = str(caught.value)
    assert message and len(message.splitlines()) == 1 and len(message) < 1500
    return message


# Files.


def test_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    values = {"task": "rte", "prompt_lr": 0.3, "rank": "auto", "max_steps": 30, "adam_epsilon": 1e-06, "seed": 1}
    yaml = given_file(tmp_path, "".join(f"{name}: {value}\n" for name, value in values.items()))
    for indent in (2, "\t", None):
        assert read_config(given_file(tmp_path, json.dumps(values, indent=indent), "config.json")) == values
    assert read_config(yaml) == values
    assert read_config(given_file(tmp_path, json.dumps(values))) == values  # JSON under any name


def test_a_run_s_own_config_is_a_file_of_settings(tmp_path: Path) -> None:
    config = TrainConfig(task="rte", gradient_checkpointing=True)
    written = json.dumps({**config.to_dict(), "fingerprints": {"data": "0f"}}, indent=2)
    for name in ("config.json", "config.yaml"):
        assert TrainConfig.from_dict(read_config(given_file(tmp_path, written, name))) == config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("5E-4", 5e-4),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("-2.", -2.0),
        ("3", 3),
        ("no", "no"),
        ("off", "off"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1e-6'", "1e-6"),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        ("t5-base", "t5-base"),
        (".inf", math.inf),
    ],
)
def test_plain_values_mean_what_they_look_like(tmp_path: Path, text: str, value: object) -> None:
    found = read_config(given_file(tmp_path, f"key: {text}\n"))["key"]
    assert found == value and type(found) is type(value)


def test_mixed_precision_no_needs_no_quotes(tmp_path: Path) -> None:
    assert TrainConfig.from_dict(read_config(given_file(tmp_path, "mixed_precision: no"))).mixed_precision == "no"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "- task",
        "sst2",
        "3",
        "task: [",
        "task: 'sst2",
        "task: sst2\n task: rte",
        "\ttask: sst2",
        "{task: sst2",
        "? [a]\n: b",
        "3: 4",
        "null: 4",
        "task: !!bool maybe",
        'task: !!int ""',
        'task: !!float ""',
        "task: !!timestamp soon",
        "task: 2024-13-45",
        "task: !!binary '&&&'",
        "task: !!python/object/apply:os.system ['true']",
        "task: !unknown x",
        "task: *nowhere",
        "task: &a [*a]",
        "task: " + "1" * 5000,
        "max_steps: 0x" + "f" * 9000,
        "prompt_lr: 1e999",
        "prompt_lr: .nan",
        "weight_decay: " + ":".join(["59"] * 300) + ".5",
        "task: {a: 1}",
        "[" * 3000,
        "task: " + "{a: " * 2000,
        "--- {}\n--- {}",
        "task: \0",
        "task: \ufffe",
        'task: "\\ud800"',
        "rank: yes",
        "task: 2024-01-01",
        "low_rank_alpha: none",
        "gradient_checkpointing: 'true'",
        b"\xff\xfe\x00",
        b"task: \xe9",
        b"\x80" * 30,
        "x" * 1_000_001,
        "<<: 3",
        "<<: [1, 2]",
        "%YAML 9.9\n---\ntask: x",
        "%TAG ! ! !\n--- !x y",
        "unknown: 1",
        "fingerprints: 1\nunknown: 1",
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: str | bytes) -> None:
    refused(given_file(tmp_path, content))
    with pytest.raises(ConfigError):  # none of them is JSON either
        TrainConfig.from_dict(read_config(given_file(tmp_path, content, "config.json")))


def test_an_alias_bomb_does_not_explode(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)]
    refused(given_file(tmp_path, "\n".join([*lines, "task: *a19"])))
    only = "task: &a0 [x, x]\n" + "".join(f"f{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40)) + "rank: *a39"
    refused(given_file(tmp_path, only))
    assert "task must be text" in refused(given_file(tmp_path, "task: &a [[x, x], [x, x]]"))


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "missing.yaml")
    assert "directory" in refused(tmp_path)
    refused(tmp_path / ("x" * 300))
    refused(Path("a\0b"))
    assert "too large" in refused(given_file(tmp_path, "x" * 1_000_001))
    assert "settings by name" in refused(given_file(tmp_path, "- task"))


YAML_PIECES = st.sampled_from(
    ["task", "rank", "prompt_lr", "max_steps", "!!int ", "!!bool ", "!!float ", "!!set ", "!!omap ", "!!timestamp "]
    + ["!!binary ", "1e-3", "0x1f", "0b1", "1:30", "2024-01-02", "auto", "yes", "---\n", "...\n", "|\n", ">\n"]
    + ["&a ", "*a", ": ", "- ", "? ", "# ", "  ", "<<", "\\x", *":\n\t[]{}'\"1~%@`é"]
)


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.lists(YAML_PIECES, max_size=10).map("".join) | st.text(max_size=40) | st.binary(max_size=40))
def test_any_file_gives_a_valid_config_or_one_line(tmp_path: Path, content: str | bytes) -> None:
    for name in ("fuzz.yaml", "fuzz.json"):
        path = given_file(
            tmp_path, content if isinstance(content, bytes) else content.encode("utf-8", "replace"), name
        )
        try:
            TrainConfig.from_dict(read_config(path))
        except ConfigError:
            refused(path)


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(["task", "rank", "max_steps", "prompt_lr", "gradient_checkpointing", "prompt_init_text"]),
    text=st.lists(YAML_PIECES, max_size=4).map("".join) | st.text(max_size=12),
)
def test_any_value_in_a_file_gives_a_valid_config_or_one_line(tmp_path: Path, name: str, text: str) -> None:
    path = given_file(tmp_path, f"{name}: {text}".encode("utf-8", "replace"))
    try:
        TrainConfig.from_dict(read_config(path))
    except ConfigError:
        refused(path)


# Flags.


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any] | None, str]:
    """Exit code, what a command with a run's flags was given, and stderr."""
    app = typer.Typer(add_completion=False)
    seen: list[dict[str, Any]] = []

    @app.command()
    @with_flags(TrainConfig)
    def train(given: dict[str, Any], loud: bool = False) -> None:
        """Train."""
        TrainConfig.from_dict(given)
        seen.append({**given, "loud": True} if loud else given)

    @app.command()
    def other() -> None:
        """Another."""

    code = run_app(app, ["train", *arguments])
    return code, seen[0] if seen else None, capsys.readouterr().err


def test_flags_become_the_config_s_values(capsys: pytest.CaptureFixture[str]) -> None:
    code, values, _ = run(
        capsys, "--task", "rte", "--rank", "45", "--prompt-lr", "0.3", "--low-rank-alpha", "none",
        "--gradient-checkpointing", "--num-virtual-tokens", "40", "--mixed-precision", "no", "--loud",
    )  # fmt: skip
    assert code == 0
    assert values == {
        "task": "rte",
        "rank": 45,
        "prompt_lr": 0.3,
        "low_rank_alpha": None,
        "gradient_checkpointing": True,
        "num_virtual_tokens": 40,
        "mixed_precision": "no",
        "loud": True,
    }
    assert run(capsys) == (0, {}, "")
    assert run(capsys, "--rank", "auto", "--no-gradient-checkpointing")[1] == {
        "rank": "auto",
        "gradient_checkpointing": False,
    }


def test_flags_override_the_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = given_file(tmp_path, "task: rte\nmax_steps: 30\nprompt_lr: 3e-1\n")
    code, values, _ = run(capsys, "--config", str(path), "--max-steps", "40")
    assert (code, values) == (0, {"task": "rte", "max_steps": 40, "prompt_lr": 0.3})


def test_flags_stand_in_the_place_of_their_parameter_and_may_have_no_file() -> None:
    @with_flags(TrainConfig, "settings", file=False)
    def command(first: int = 1, *, settings: dict[str, Any], last: int = 2) -> None:
        """A command."""

    names = list(inspect.signature(command).parameters)
    assert (names[0], names[-1]) == ("first", "last")
    assert names[1:-1] == list(TrainConfig().to_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rank", "-1"], "rank must be between 0"),
        (["--rank", "many"], "rank must be a whole number or 'auto', not 'many'"),
        (["--rank", "none"], "rank"),
        (["--max-steps", "3.5"], "--max-steps takes a number, not '3.5'"),
        (["--prompt-lr", "fast"], "--prompt-lr takes a number"),
        (["--prompt-lr", "nan"], "prompt_lr must be a finite number"),
        (["--method", "lorra"], "method must be"),
        (["--num-virtual-tokens", "101"], "more than budget_tokens"),
        (["--no-such-flag", "1"], "No such option"),
        (["--config", "missing.yaml"], "missing.yaml cannot be read as settings: No such file"),
        (["--task"], "requires an argument"),
        (["surplus"], "unexpected extra argument"),
    ],
)
def test_a_wrong_flag_is_a_line_and_exit_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, values, stderr = run(capsys, *arguments)
    assert (code, values) == (2, None)
    assert stderr.startswith("error: ") and message in stderr and len(stderr.splitlines()) <= 2


def test_help_names_every_flag_with_its_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERMINAL_WIDTH", "300")
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(with_flags(TrainConfig)(lambda given: None))
    assert run_app(app, ["--help"]) == 0
    text = capsys.readouterr().out
    for name in TrainConfig().to_dict():
        assert f"--{name.replace('_', '-')}" in text
    for part in (
        "[default: 16]",
        "[default: 1e-06]",
        "dept, prompt_tuning, bitfit, lora, peft",
        "INTEGER|auto",
        "NUMBER",
        "[default: t5-base]",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("fault", "code", "line"),
    [
        (DataError("row 3 has no label; add one"), 2, "error: row 3 has no label; add one\n"),
        (KeyboardInterrupt(), STOPPED, ""),
    ],
)
def test_faults_of_a_command(capsys: pytest.CaptureFixture[str], fault: BaseException, code: int, line: str) -> None:
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise fault

    assert run_app(app, []) == code
    assert capsys.readouterr().err == line


def test_an_exit_code_is_passed_on() -> None:
    app = typer.Typer()

    @app.command()
    def leave() -> None:
        raise typer.Exit(7)

    assert run_app(app, []) == 7


def test_a_bug_stays_visible() -> None:
    app = typer.Typer()

    @app.command()
    def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_app(app, [])


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3", int | None, 3),
        ("None", int | None, None),
        ("3", float, 3.0),
        ("1e-3", float | None, 1e-3),
        ("3", str, "3"),
        ("none", str, "none"),
        ("none", str | None, None),
        (True, bool, True),
        ("9" * 5000, settings_of(DeptConfig)["rank"].kind, "9" * 5000),
    ],
)
def test_parse_value(text: object, kind: Any, value: object) -> None:
    assert parse_value("name", text, kind) == value
