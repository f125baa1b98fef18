"""Where a GPU is lent for a call, what uses it is marked so; elsewhere it is the plain function."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from lab.service.zero_gpu import lent_gpu, on_zero_gpu


def plain(number: int) -> int:
    return number + 1


def test_elsewhere_nothing_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert not on_zero_gpu()
    assert lent_gpu(60)(plain) is plain


def test_a_zero_gpu_space_lends_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def gpu(duration: int) -> Any:
        asked.append(duration)
        return lambda function: lambda *values: ("lent", function(*values))

    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    assert on_zero_gpu()
    assert lent_gpu(60)(plain)(1) == ("lent", 2)
    assert asked == [60]
