"""Seconds and large numbers in words."""

import pytest

from lab.basics.units import duration, si


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3 s"), (119, "119 s"), (150, "2.5 min"), (3600, "60 min"), (9000, "2.5 h"), (864_000, "10.0 days")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_large_numbers() -> None:
    assert (si(1_234_567_890), si(76_800), si(12)) == ("1.23 G", "76.8 k", "12 ")
