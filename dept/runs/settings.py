"""What can be set: frozen dataclasses that check themselves and name the bad field.

A field's `help` in its metadata is the help text of the command-line flag of the same name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Union

from dept.basics.checked import Checked, setting
from dept.errors import ConfigError

Method = Literal["dept", "prompt_tuning"]
PromptInit = Literal["vocabulary", "text", "random"]
LowRankInit = Literal["kaiming", "gaussian"]
Decoding = Literal["label_scoring", "generate", "answer_list"]
Rank = Union[int, Literal["auto"]]  # noqa: UP007 - a name for annotations that are read at run time


def _check_prompt_init(prompt_init: str, prompt_init_text: str | None) -> None:
    if (prompt_init == "text") != bool(prompt_init_text):
        raise ConfigError("prompt_init_text must be given with prompt_init 'text', and only then")


@dataclass(frozen=True)
class PromptTuningConfig(Checked):
    """Vanilla prompt tuning (paper 2.1).

    Attributes:
        num_virtual_tokens: l, vectors of the prompt.
        prompt_init: "vocabulary" samples the top vocabulary, "text" repeats a text's embeddings, "random".
        prompt_init_text: the text, with prompt_init "text" only.

    Raises:
        ConfigError: a field of the wrong type or out of range, by name.
    """

    num_virtual_tokens: int = 100
    prompt_init: PromptInit = "vocabulary"
    prompt_init_text: str | None = None

    method: ClassVar[Method] = "prompt_tuning"
    _ranges: ClassVar[Mapping[str, tuple[float, float | None]]] = {"num_virtual_tokens": (1, 100_000)}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_prompt_init(self.prompt_init, self.prompt_init_text)


@dataclass(frozen=True)
class DeptConfig(Checked):
    """Decomposed prompt tuning (paper 2.2).

    Attributes:
        num_virtual_tokens: m, vectors of the short prompt; 0 leaves it out.
        rank: r of the update; 0 leaves it out (plain prompt tuning); "auto" spends what `budget_tokens`
            leaves, never more.
        max_seq_length: s, rows of the update.
        budget_tokens: l, length of the prompt-tuning prompt whose parameters are matched by "auto".
        low_rank_alpha: the update's scale is alpha / sqrt(rank) (the release); null gives Eq. 2 unscaled.
        low_rank_init: "kaiming" (the release) or "gaussian" (the paper).
        prompt_init, prompt_init_text: as in `PromptTuningConfig`.

    Raises:
        ConfigError: a field of the wrong type or out of range, by name.
    """

    num_virtual_tokens: int = 40
    rank: Rank = "auto"
    max_seq_length: int = 256
    budget_tokens: int = 100
    low_rank_alpha: float | None = 8.0
    low_rank_init: LowRankInit = "kaiming"
    prompt_init: PromptInit = "vocabulary"
    prompt_init_text: str | None = None

    method: ClassVar[Method] = "dept"
    _ranges: ClassVar[Mapping[str, tuple[float, float | None]]] = {
        "num_virtual_tokens": (0, 100_000),
        "rank": (0, 100_000),
        "max_seq_length": (1, 1_000_000),
        "budget_tokens": (1, 100_000),
        "low_rank_alpha": (1e-6, 1e6),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_prompt_init(self.prompt_init, self.prompt_init_text)
        if self.num_virtual_tokens == 0 and self.rank == 0:
            raise ConfigError("num_virtual_tokens and rank are both 0: there is nothing to train")
        if self.rank == "auto" and self.num_virtual_tokens > self.budget_tokens:
            raise ConfigError(
                f"num_virtual_tokens ({self.num_virtual_tokens}) is more than budget_tokens "
                f"({self.budget_tokens}): shorten the prompt, raise the budget or set a rank"
            )


MethodConfig = DeptConfig | PromptTuningConfig


@dataclass(frozen=True)
class TrainConfig(Checked):
    """A run: what to train, on what, how. Every field is a flag of `dept train`.

    None ("auto" in the flags' help) is filled in by `dept.training.prepare.resolve` from the task and the backbone;
    the run folder's `config.json` holds the filled-in values.

    Raises:
        ConfigError: a field of the wrong type or out of range, by name.
    """

    task: str = setting("sst2", "task name, or the path of your own task's YAML")
    method: Method = setting("dept", "dept or prompt_tuning")
    backbone: str = setting("t5-base", "alias, hub id, local folder or random:<alias>")
    vision_backbone: str | None = setting(
        None,
        "image encoder, for tasks with images: alias, hub id, folder or random:<alias> "
        "[clip-vit-base-patch32; mini-t5: mini-clip]",
    )
    tokenizer: str | None = setting(None, "tokenizer folder or hub id [the backbone's own]")
    data: str = setting("hub", "hub, sample, easy-vqa, a data folder, or a table for your own task")
    output_dir: str = setting("runs/run", "the run folder")

    num_virtual_tokens: int | None = setting(None, "m, vectors of the prompt [40; prompt_tuning: the budget]")
    rank: Rank = setting("auto", "r of the update; auto spends the rest of the budget")
    budget_tokens: int = setting(100, "l, length of the PT prompt whose parameters are matched")
    max_seq_length: int | None = setting(None, "s, source tokens [the task's]")
    low_rank_alpha: float | None = setting(8.0, "the update's scale is alpha/sqrt(r); none: Eq. 2 unscaled")
    low_rank_init: LowRankInit = setting("kaiming", "A's start: kaiming (the release) or gaussian (the paper)")
    prompt_init: PromptInit = setting("vocabulary", "the prompt's start: vocabulary, text or random")
    prompt_init_text: str | None = setting(None, "the text, with --prompt-init text")

    preset: Literal["paper"] | None = setting(None, "paper: the paper's labels, rates and steps (Table 8)")
    prompt_lr: float | None = setting(None, "alpha_1, the prompt's maximum rate [the backbone's]")
    low_rank_lr: float | None = setting(None, "alpha_2, A's and B's maximum rate [the backbone's]")
    projection_lr: float | None = setting(
        None, "the visual projection's maximum rate [the backbone's, else low_rank_lr]"
    )
    max_steps: int | None = setting(None, "optimiser steps [1000]")
    batch_size: int = setting(16, "examples per step, over all processes and accumulation")
    gradient_accumulation: int = setting(1, "parts that a step's batch is cut into")
    eval_every: int | None = setting(None, "steps between evaluations on validation [a tenth of the steps]")
    eval_batch_size: int = setting(64, "examples per evaluation batch")
    early_stopping: int | None = setting(None, "stop after so many evaluations without improvement")
    warmup_proportion: float = setting(0.06, "share of the steps with a rising rate")
    weight_decay: float = setting(0.01, "AdamW's weight decay")
    adam_epsilon: float = setting(1e-6, "AdamW's epsilon")
    adam_beta1: float = setting(0.9, "AdamW's first beta")
    adam_beta2: float = setting(0.98, "AdamW's second beta")
    max_grad_norm: float = setting(1.0, "gradients are clipped to this norm; 0 turns it off")
    seed: int = setting(42, "seed of the prompt, the order of rows and dropout")

    verbalizer: Literal["digits", "words"] | None = setting(
        None, "label texts: digits (paper) or words [decoder-only: words, else digits]"
    )
    decoding: Decoding | None = setting(
        None,
        "label_scoring, generate, or answer_list: the most frequent training answers alone, for tasks that have such "
        "a list [label_scoring where the task has labels]",
    )
    max_train_rows: int | None = setting(None, "use at most so many rows; sample data: make so many")
    max_validation_rows: int | None = setting(None, "the same for validation")
    max_test_rows: int | None = setting(None, "the same for test")

    dtype: Literal["float32", "bfloat16", "float16"] = setting("float32", "the frozen backbone's dtype")
    mixed_precision: Literal["no", "bf16", "fp16"] = setting("no", "autocast of the computation")
    gradient_checkpointing: bool = setting(False, "recompute activations: less memory, more time")
    quantize: Literal["int8", "nf4"] | None = setting(
        None, "int8 or nf4: the backbone's linear layers, by bitsandbytes"
    )
    device_map: Literal["auto"] | None = setting(None, "auto: spread the backbone over this machine's GPUs")
    compile: bool = setting(False, "compile the training step (torch.compile): a slow start, then faster")

    _ranges: ClassVar[Mapping[str, tuple[float, float | None]]] = {
        "num_virtual_tokens": (0, 100_000),
        "rank": (0, 100_000),
        "budget_tokens": (1, 100_000),
        "max_seq_length": (1, 1_000_000),
        "low_rank_alpha": (1e-6, 1e6),
        "prompt_lr": (0, 1e3),
        "low_rank_lr": (0, 1e3),
        "projection_lr": (0, 1e3),
        "max_steps": (1, 10_000_000),
        "batch_size": (1, 100_000),
        "gradient_accumulation": (1, 100_000),
        "eval_every": (1, 10_000_000),
        "eval_batch_size": (1, 100_000),
        "early_stopping": (1, 10_000_000),
        "warmup_proportion": (0, 1),
        "weight_decay": (0, 1e3),
        "adam_epsilon": (0, 1),
        "adam_beta1": (0, 0.999999),
        "adam_beta2": (0, 0.999999),
        "max_grad_norm": (0, 1e6),
        "seed": (0, 2**32 - 1),
        "max_train_rows": (1, None),
        "max_validation_rows": (1, None),
        "max_test_rows": (1, None),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < self.gradient_accumulation:
            raise ConfigError(
                f"gradient_accumulation ({self.gradient_accumulation}) is more than batch_size ({self.batch_size})"
            )
        for name in ("task", "backbone", "data", "output_dir"):
            if not getattr(self, name).strip():
                raise ConfigError(f"{name} is empty")
        if self.method == "prompt_tuning" and self.rank not in ("auto", 0):
            raise ConfigError(f"rank {self.rank} belongs to method dept; prompt_tuning has no low-rank update")
        if self.compile and self.device_map is not None:
            raise ConfigError("compile works on one device: leave out compile or device_map")
        self.method_config()  # names an impossible combination now rather than when the run starts

    def method_config(self) -> MethodConfig:
        """The method's own config; lengths that are still open take the paper's defaults.

        Raises:
            ConfigError: an impossible combination.
        """
        if self.method == "prompt_tuning":
            return PromptTuningConfig(
                num_virtual_tokens=self.budget_tokens if self.num_virtual_tokens is None else self.num_virtual_tokens,
                prompt_init=self.prompt_init,
                prompt_init_text=self.prompt_init_text,
            )
        return DeptConfig(
            num_virtual_tokens=40 if self.num_virtual_tokens is None else self.num_virtual_tokens,
            rank=self.rank,
            max_seq_length=256 if self.max_seq_length is None else self.max_seq_length,
            budget_tokens=self.budget_tokens,
            low_rank_alpha=self.low_rank_alpha,
            low_rank_init=self.low_rank_init,
            prompt_init=self.prompt_init,
            prompt_init_text=self.prompt_init_text,
        )
