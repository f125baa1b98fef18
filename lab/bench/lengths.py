"""The input lengths of a benchmark: padded as in the paper, all of one length, or a task's own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from dept.errors import ConfigError

if TYPE_CHECKING:
    pass

GLUE_MEAN_TOKENS = 45  # mean source length of GLUE's rows in batches grouped by length
_LENGTHS = re.compile(r"(padded|fixed):([1-9]\d{0,5})|(task):([\w./-]+)")


@dataclass(frozen=True)
class Lengths:
    """The source lengths of a batch.

    Attributes:
        kind: `padded`: sources of GLUE-like lengths, each padded to `tokens` columns, as the authors' release does;
            `fixed`: every source has `tokens` tokens; `task`: a task's own lengths, batches grouped by length.
        tokens: the length of a padded or fixed source.
        task: the task's name, for the kind `task`.
    """

    kind: Literal["padded", "fixed", "task"]
    tokens: int = 0
    task: str = ""

    @classmethod
    def parse(cls, text: str) -> Lengths:
        """Read a text such as `padded:256`, `fixed:45` or `task:sst2`.

        Raises:
            ConfigError: the text has another form.
        """
        parts = _LENGTHS.fullmatch(text.strip())
        if parts is None:
            raise ConfigError(f"--lengths takes padded:N, fixed:N or task:NAME (for example padded:256), not {text!r}")
        if parts[3]:
            return cls("task", task=parts[4])
        return cls("padded" if parts[1] == "padded" else "fixed", tokens=int(parts[2]))

    def __str__(self) -> str:
        return f"{self.kind}:{self.task or self.tokens}"
