"""A sweep's grid: the shipped files, what is compared, searched and averaged, and everything that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dept.errors import ConfigError, DeptError
from lab.paper import numbers as paper
from lab.sweep.grid import Sweep, narrowed, parse_setting, read_sweep, shipped, trials

GRID = {
    "settings": {"data": "sample", "backbone": "random:t5-small", "max_train_rows": 8},
    "compare": {"task": ["rte", "cb"]},
    "choose": {"prompt_lr": [0.3, 0.5], "low_rank_lr": [0.001, 0.0005]},
    "seeds": [1, 2],
}


def test_every_shipped_sweep_is_what_its_figure_or_table_needs(tmp_path: Path) -> None:
    text_tasks = [task for name, tasks in paper.benchmarks().items() if name != "vision_language" for task in tasks]
    counts = {}
    for name in shipped():
        sweep = read_sweep(name)
        runs = trials(sweep, tmp_path)
        counts[name] = len(runs)
        assert sweep.about
        assert len({trial.job.key for trial in runs}) == len(runs), "no run stands there twice"
        assert not any(trial.job.test for trial in runs)
        assert {trial.job.config.preset for trial in runs} == {"paper"}
    # tasks x (3 x 3 x 4 for DePT, 3 for PT) x seeds; tasks x rates x seeds; sizes x tasks x (PT and five m) x seeds
    assert counts == {"table8": 21 * (36 + 3) * 3, "figure5": 8 * 3 * 3, "figure3": 3 * 8 * 6 * 3}

    table, grid = paper.settings(), read_sweep("table8")
    assert grid.compare["task"] == tuple(text_tasks)
    assert grid.cases["DePT"] == {
        "method": "dept",
        "num_virtual_tokens": table.num_virtual_tokens,
        "prompt_lr": table.prompt_lr,
        "low_rank_lr": table.low_rank_lr,
    }
    assert grid.cases["PT"] == {"method": "prompt_tuning", "prompt_lr": table.prompt_lr}
    glue = {"task": paper.benchmarks()["glue"]}
    assert read_sweep("figure5").compare == glue
    assert read_sweep("figure3").compare == {"backbone": ("t5-small", "t5-base", "t5-large"), **glue}
    rates = [(case["prompt_lr"], case["low_rank_lr"]) for case in read_sweep("figure5").cases.values()]
    assert rates == [(0.3, 0.3), (5e-4, 5e-4), (0.3, 5e-4)]


def test_rows_points_and_seeds_in_the_order_of_the_grid(tmp_path: Path) -> None:
    runs = trials(Sweep.from_dict("own", GRID), tmp_path, track="tensorboard")
    assert [run.group["task"] for run in runs] == ["rte"] * 8 + ["cb"] * 8
    assert [(run.point["prompt_lr"], run.point["low_rank_lr"], run.job.config.seed) for run in runs[:5]] == [
        (0.3, 0.001, 1),
        (0.3, 0.001, 2),
        (0.3, 0.0005, 1),
        (0.3, 0.0005, 2),
        (0.5, 0.001, 1),
    ]
    config = runs[4].job.config
    assert (config.task, config.prompt_lr, config.low_rank_lr, config.max_train_rows) == ("rte", 0.5, 0.001, 8)
    assert all(run.job.folder.parent == tmp_path and run.job.track == "tensorboard" for run in runs)
    assert [run.job for run in trials(Sweep.from_dict("own", GRID), tmp_path, track="tensorboard")] == [
        run.job for run in runs
    ], "the same grid finds the same folders"


def test_a_row_has_its_methods_own_part_of_the_grid(tmp_path: Path) -> None:
    values = {
        "settings": {"data": "sample", "backbone": "random:t5-small", "task": "rte", "num_virtual_tokens": 20},
        "compare": {"method": ["dept", "lora", "bitfit", "dept+lora"]},
        "choose": {"lora_rank": [2, 4], "lora_lr": [1e-3], "bias_lr": [1e-3, 1e-4]},
    }
    runs = trials(Sweep.from_dict("own", values), tmp_path)
    assert [(run.group["method"], *run.point.items()) for run in runs] == [
        ("dept",),
        ("lora", ("lora_rank", 2), ("lora_lr", 1e-3)),
        ("lora", ("lora_rank", 4), ("lora_lr", 1e-3)),
        ("bitfit", ("bias_lr", 1e-3)),
        ("bitfit", ("bias_lr", 1e-4)),
        ("dept+lora", ("lora_rank", 2), ("lora_lr", 1e-3)),
        ("dept+lora", ("lora_rank", 4), ("lora_lr", 1e-3)),
    ]
    assert [run.job.config.num_virtual_tokens for run in runs] == [20, None, None, None, None, 20, 20]
    for compared, message in (
        (["dept", "bitfit"], "lora_rank belongs to LoRA: set the method"),
        (["lorra"], "sweep own: method must be one of"),
    ):
        with pytest.raises(ConfigError, match=message):
            trials(Sweep.from_dict("own", {**values, "compare": {"method": compared}}), tmp_path)
    case = {"cases": {"LoRA": {"method": "lora", "rank": 4}}}
    with pytest.raises(ConfigError, match="rank belongs to DePT; the method here is LoRA"):
        trials(Sweep.from_dict("own", {"settings": {"data": "sample"}, **case}), tmp_path)
    assert parse_setting("lora-rank=4,8") == ("lora_rank", [4, 8])


def test_cases_are_rows_of_their_own_and_search_their_own_lists(tmp_path: Path) -> None:
    values = {
        "settings": {"data": "sample", "backbone": "random:t5-small", "num_virtual_tokens": 20},
        "choose": {"batch_size": [8, 16]},
        "cases": {
            "PT": {"method": "prompt_tuning", "num_virtual_tokens": None},
            "DePT": {"prompt_lr": [0.3, 0.4]},
        },
    }
    runs = trials(Sweep.from_dict("own", values), tmp_path)
    assert [(run.group["case"], *run.point.values()) for run in runs] == [
        ("PT", 8),
        ("PT", 16),
        ("DePT", 8, 0.3),
        ("DePT", 8, 0.4),
        ("DePT", 16, 0.3),
        ("DePT", 16, 0.4),
    ]
    assert [run.job.config.num_virtual_tokens for run in runs] == [None, None, 20, 20, 20, 20]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"axes": {}}, "unknown section 'axes'; known: about, settings"),
        ({"settings": [1]}, "settings must hold values by name"),
        ({"cases": {"a": 3}}, "cases: a must hold settings by name"),
        ({"settings": {"learning_rate": 0.3}}, "settings: unknown setting 'learning_rate'"),
        ({"choose": {"promt_lr": [0.3]}}, "choose: unknown setting 'promt_lr'"),
        ({"cases": {"a": {"ranks": 3}}}, "cases: a: unknown setting 'ranks'"),
        ({"settings": {"output_dir": "x"}}, "output_dir cannot be set: each run has its own folder"),
        ({"choose": {"seed": [1, 2]}}, "seed cannot be set: its values stand under `seeds`"),
        ({"choose": {"prompt_lr": []}}, "choose: prompt_lr has no values"),
        ({"choose": {"prompt_lr": [0.3, 0.3]}}, "choose: prompt_lr has a value twice"),
        ({"choose": {"prompt_lr": [[0.3]]}}, "choose: prompt_lr must be a list of plain values"),
        ({"seeds": []}, "seeds has no values"),
        ({"settings": {"prompt_lr": 0.3}, "choose": {"prompt_lr": [0.3]}}, "stands under .* and under"),
        ({"compare": {"rank": [4]}, "cases": {"a": {"rank": 3}}}, "stands under .* and under"),
        ({"settings": {"max_steps": -1}}, "max_steps must be between 1 and .* not -1 .in max_steps -1"),
        ({"settings": {"prompt_lr": [0.3]}}, "prompt_lr must be a finite number or null"),
        ({"choose": {"num_virtual_tokens": [20, 120]}}, "num_virtual_tokens .120. is more than budget_tokens"),
        ({"compare": {"task": ["rte", "rtee"]}}, "unknown task 'rtee'"),
        ({"seeds": ["a"]}, "seed must be a whole number"),
        ({"choose": {"seed_": [1]}}, "unknown setting 'seed_'"),
        ({"choose": {"batch_size": list(range(1, 400)), "eval_every": list(range(1, 400))}}, "more than 100,000 runs"),
    ],
)
def test_what_cannot_be_is_refused_by_name(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DeptError, match=message):
        trials(Sweep.from_dict("own", {"settings": {"data": "sample"}, **values}), tmp_path)


def test_unknown_sweeps_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown sweep 'table9': one of figure3, figure5, table8"):
        read_sweep("table9")
    with pytest.raises(ConfigError, match="missing.yaml cannot be read"):
        read_sweep(str(tmp_path / "missing.yaml"))
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="must hold settings by name"):
        read_sweep(str(tmp_path / "list.yaml"))
    (tmp_path / "own.yaml").write_text("choose: {low_rank_lr: [1e-4, 5e-4]}\nseeds: 7\n")
    sweep = read_sweep(str(tmp_path / "own.yaml"))
    assert sweep.choose == {"low_rank_lr": (1e-4, 5e-4)}, "YAML's numbers, as people write them"
    assert sweep.seeds == (7,)


def test_flags_take_the_place_of_the_files_values() -> None:
    sweep = Sweep.from_dict("own", GRID)
    other = narrowed(
        sweep,
        tasks=["mrpc"],
        backbones=["random:t5-base"],
        data="hub",
        seeds=[5],
        settings=["prompt_lr=0.4", "max-steps=20", "budget_tokens=50,100", "compile=true", "early_stopping=none"],
    )
    assert other.compare == {"task": ("mrpc",)}
    assert other.choose == {"prompt_lr": (0.4,), "low_rank_lr": (0.001, 0.0005), "budget_tokens": (50, 100)}
    assert other.settings == {
        "data": "hub",
        "backbone": "random:t5-base",
        "max_train_rows": 8,
        "max_steps": 20,
        "compile": True,
        "early_stopping": None,
    }
    assert other.seeds == (5,)
    assert narrowed(sweep) == sweep
    both = narrowed(sweep, backbones=["random:t5-base", "random:t5-small"])
    assert both.compare["backbone"] == ("random:t5-base", "random:t5-small"), "several backbones are compared"
    assert "backbone" not in both.settings
    with pytest.raises(ConfigError, match="belongs to the cases"):
        read_sweep("figure5").with_setting("prompt_lr", [0.1])


@pytest.mark.parametrize("text", ["max_steps", "max_steps=", "steps=3", "seed=3", "output_dir=x", "batch_size=a"])
def test_a_bad_set_flag_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--"):
        parse_setting(text)


def test_a_random_subset_is_the_same_each_time_and_for_every_row(tmp_path: Path) -> None:
    sweep = Sweep.from_dict("own", {**GRID, "choose": {"prompt_lr": [0.1, 0.2, 0.3, 0.4], "rank": [1, 2, 3, 4]}})
    every = [run.point for run in trials(sweep, tmp_path) if run.group["task"] == "rte"][::2]

    def drawn(count: int, seed: int) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for run in trials(sweep, tmp_path, draw=count, draw_seed=seed)[::2]:
            found.setdefault(str(run.group["task"]), []).append(run.point)
        return found

    some = drawn(5, seed=0)
    assert len(some["rte"]) == 5
    assert some["cb"] == some["rte"]
    assert some["rte"] == [point for point in every if point in some["rte"]], "in the grid's order"
    assert drawn(5, seed=0) == some
    assert drawn(5, seed=1) != some
    assert drawn(99, seed=0)["rte"] == every
