"""How long the inputs of a benchmark are: padded as in the paper, all alike, or a task's own lengths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dept.errors import ConfigError

if TYPE_CHECKING:
    pass

GLUE_MEAN_TOKENS = 45  # the mean source of GLUE's rows in batches grouped by length
_LENGTHS = re.compile(r"(padded|fixed):([1-9]\d{0,5})|(task):([\w./-]+)")


@dataclass(frozen=True)
class Lengths:
    """How long the sources of a batch are.

    Attributes:
        kind: `padded`: sources of GLUE-like lengths, each padded to `tokens` columns, as the authors' release does;
            `fixed`: every source has `tokens` tokens; `task`: a task's own lengths, batches grouped by length.
        tokens: of a padded or fixed source.
        task: whose rows, for `task`.
    """

    kind: Literal["padded", "fixed", "task"]
    tokens: int = 0
    task: str = ""

    @classmethod
    def parse(cls, text: str) -> Lengths:
        """`padded:256`, `fixed:45` or `task:sst2`.

        Raises:
            ConfigError: anything else.
        """
        found = _LENGTHS.fullmatch(text.strip())
        if found is None:
            raise ConfigError(f"--lengths takes padded:N, fixed:N or task:NAME (for example padded:256), not {text!r}")
        if found[3]:
            return cls("task", task=found[4])
        return cls("padded" if found[1] == "padded" else "fixed", tokens=int(found[2]))

    def __str__(self) -> str:
        return f"{self.kind}:{self.task or self.tokens}"
