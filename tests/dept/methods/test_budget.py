"""The budget: l*d = m*d + (s+d)*r."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dept.errors import BudgetError
from dept.methods.budget import BudgetSplit, budget_table, rank_for, split_of

HIDDEN_SIZES = {"t5-small": 512, "t5-base": 768, "t5-large": 1024, "gpt2-large": 1280, "llama-2-7b": 4096}


def test_t5_base_is_the_paper_s_table() -> None:
    table = budget_table(768)
    assert [(split.num_virtual_tokens, split.rank) for split in table] == [
        (0, 75),
        (20, 60),
        (40, 45),
        (60, 30),
        (80, 15),
        (100, 0),
    ]
    assert all(split.trainable_parameters == 76_800 and split.left_over == 0 for split in table)
    assert [split.input_length for split in table] == [256, 276, 296, 316, 336, 356]


@pytest.mark.parametrize(("name", "size"), HIDDEN_SIZES.items())
def test_the_paper_s_backbones_stay_within_the_budget(name: str, size: int) -> None:
    for split in budget_table(size):
        exact = (100 - split.num_virtual_tokens) * size / (256 + size)
        assert exact - 1 < split.rank <= exact
        assert split.trainable_parameters == split.num_virtual_tokens * size + (256 + size) * split.rank
        assert split.left_over == 100 * size - split.trainable_parameters
        assert 0 <= split.left_over < 256 + size
        assert not split.over_budget


@pytest.mark.parametrize(
    ("name", "m", "rank", "left_over"),
    [("t5-small", 0, 66, 512), ("gpt2-large", 0, 83, 512), ("gpt2-large", 40, 50, 0), ("llama-2-7b", 0, 94, 512)],
)
def test_a_rank_that_is_no_whole_number_is_rounded_down(name: str, m: int, rank: int, left_over: int) -> None:
    (split,) = budget_table(HIDDEN_SIZES[name], prompt_lengths=[m])
    assert (split.rank, split.left_over) == (rank, left_over)


@given(st.integers(1, 8192), st.integers(1, 2048), st.integers(1, 300), st.data())
def test_rank_is_the_largest_within_the_budget(size: int, length: int, budget: int, data: st.DataObject) -> None:
    m = data.draw(st.integers(0, budget))
    rank = rank_for(m, size, length, budget)
    assert split_of(m, rank, size, length, budget).left_over >= 0
    assert split_of(m, rank + 1, size, length, budget).over_budget


def test_an_explicit_split_over_the_budget_says_by_how_much() -> None:
    split = split_of(60, 30, 768, max_seq_length=348)  # the paper's MultiRC
    assert split == BudgetSplit(60, 30, 79_560, -2_760, 408)
    assert split.over_budget


def test_other_budgets_list_the_lengths_that_fit() -> None:
    assert [split.num_virtual_tokens for split in budget_table(768, budget_tokens=50)] == [0, 20, 40, 50]
    assert [split.num_virtual_tokens for split in budget_table(768, budget_tokens=130)] == [
        0,
        20,
        40,
        60,
        80,
        100,
        130,
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"num_virtual_tokens": 101, "hidden_size": 768},
            r"num_virtual_tokens \(101\) is more than budget_tokens \(100\)",
        ),
        ({"num_virtual_tokens": -1, "hidden_size": 768}, "num_virtual_tokens must be .* at least 0, not -1"),
        ({"num_virtual_tokens": 2.5, "hidden_size": 768}, "num_virtual_tokens"),
        ({"num_virtual_tokens": True, "hidden_size": 768}, "num_virtual_tokens"),
        ({"num_virtual_tokens": 1, "hidden_size": 0}, "hidden_size"),
        ({"num_virtual_tokens": 1, "hidden_size": 768, "max_seq_length": 0}, "max_seq_length"),
        ({"num_virtual_tokens": 0, "hidden_size": 768, "budget_tokens": 0}, "budget_tokens"),
    ],
)
def test_impossible_budgets_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BudgetError, match=message) as caught:
        rank_for(**arguments)
    assert "\n" not in str(caught.value)
    lengths = {k: v for k, v in arguments.items() if k != "num_virtual_tokens"}
    with pytest.raises(BudgetError, match=message):
        budget_table(prompt_lengths=[arguments["num_virtual_tokens"]], **lengths)


def test_the_budget_needs_no_torch() -> None:
    code = "import sys, dept; dept.rank_for(40, 768); dept.DeptConfig(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
