"""Prompt tuning (Lester et al., 2021; paper 2.1): l vectors before the input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from dept.basics.checked import setting
from dept.errors import ConfigError
from dept.methods.budget import BudgetSplit, split_of
from dept.methods.contract import Facts, Footprint, Group, MethodConfig
from dept.methods.rates import PROMPT

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dept.parts.contract import Part

PromptInit = Literal["vocabulary", "text", "random"]


def num_virtual_tokens(default: int, least: int = 1) -> Any:
    """The field of a prompt's length."""
    return setting(
        default,
        "m, vectors of the prompt",
        label="Prompt length",
        letter="m",
        least=least,
        most=100_000,
        widget="slider",
        of="method",
    )


def prompt_init() -> Any:
    """The field of a prompt's start."""
    return setting("vocabulary", "the prompt's start: vocabulary, text or random", label="Prompt's start", of="method")


def prompt_init_text() -> Any:
    """The field of the text that a prompt starts from."""
    return setting(None, "the text, with --prompt-init text", label="Text", of="method")


def check_prompt_init(start: str, text: str | None) -> None:
    """Refuse a text without its kind of start, and the other way round."""
    if (start == "text") != bool(text):
        raise ConfigError("prompt_init_text must be given with prompt_init 'text', and only then")


@dataclass(frozen=True)
class PromptTuningConfig(MethodConfig):
    """Vanilla prompt tuning (paper 2.1).

    Attributes:
        num_virtual_tokens: l, vectors of the prompt.
        prompt_init: "vocabulary" samples the top vocabulary, "text" repeats a text's embeddings, "random".
        prompt_init_text: the text, with prompt_init "text" only.

    Raises:
        ConfigError: a field of the wrong type or out of range, by name.
    """

    num_virtual_tokens: int = num_virtual_tokens(100)
    prompt_init: PromptInit = prompt_init()
    prompt_init_text: str | None = prompt_init_text()

    name: ClassVar[str] = "prompt_tuning"
    title: ClassVar[str] = "PT"
    paper: ClassVar[str] = "Lester et al. (2021), https://arxiv.org/abs/2104.08691"
    since: ClassVar[int] = 1
    sentence: ClassVar[str] = "l trainable vectors stand before the input of the frozen backbone."
    groups: ClassVar[tuple[Group, ...]] = (PROMPT,)
    # Runs of schema 1 hold DePT's settings too.
    ignores: ClassVar[frozenset[str]] = frozenset({"rank", "low_rank_alpha", "low_rank_init", "low_rank_lr"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prompt_init(self.prompt_init, self.prompt_init_text)

    @classmethod
    def from_settings(cls, values: Mapping[str, Any]) -> Self:
        """As for every method; an open length is the budget, and a rank is refused."""
        if values.get("rank") not in (None, "auto", 0):
            raise ConfigError(f"rank {values['rank']} belongs to method dept; prompt_tuning has no low-rank update")
        length = values.get("num_virtual_tokens")
        return super().from_settings(
            {**values, "num_virtual_tokens": values.get("budget_tokens") if length is None else length}
        )

    def settings(self) -> dict[str, Any]:
        return {**self.to_dict(), "rank": 0}

    def counts(self, facts: Facts) -> dict[str, int]:
        return {"prompt": self.num_virtual_tokens * facts.hidden_size}

    def footprint(self, facts: Facts) -> Footprint:
        return Footprint(positions=self.num_virtual_tokens)

    def budget(self, facts: Facts, budget_tokens: int) -> BudgetSplit:
        return split_of(self.num_virtual_tokens, 0, facts.hidden_size, facts.max_seq_length, budget_tokens)

    def summary(self) -> str:
        return f"l = {self.num_virtual_tokens}"

    def parts(self, backbone: PreTrainedModel, facts: Facts) -> list[Part]:
        from dept.parts.soft_prompt import SoftPrompt

        return [SoftPrompt(self.num_virtual_tokens, facts.hidden_size, self.prompt_init, self.prompt_init_text)]

    def as_peft(self, backbone: PreTrainedModel) -> dict[str, Any]:
        return {
            "peft_type": "PROMPT_TUNING",
            "num_virtual_tokens": self.num_virtual_tokens,
            "prompt_tuning_init": "RANDOM",
            "prompt_tuning_init_text": None,
            "tokenizer_kwargs": None,
        }
