"""Numbers that the paper prints, each with the words it is printed in; nothing is read off a picture.

DePT: Decomposed Prompt Tuning for Parameter-Efficient Fine-Tuning (Shi & Lipani, ICLR 2024),
https://arxiv.org/abs/2309.05173
"""

from dataclasses import dataclass

HARDWARE = "one RTX 3090, Hugging Face Trainer (section 3.3)"


@dataclass(frozen=True)
class Printed:
    """A number as the paper prints it.

    Attributes:
        unit: what it counts.
        where: section or table.
        quote: the words or the table row that it stands in.
    """

    value: float
    unit: str
    where: str
    quote: str


@dataclass(frozen=True)
class PrintedSpeed:
    """Inference samples per second of one backbone and method.

    Attributes:
        method: prompt_tuning or dept.
        num_virtual_tokens: m, or l for prompt tuning.
        rank: r; None where the text does not say.
    """

    backbone: str
    method: str
    num_virtual_tokens: int
    rank: int | None
    samples_per_s: Printed


def _in_text(backbone: str, method: str, m: int, value: float, quote: str) -> PrintedSpeed:
    return PrintedSpeed(backbone, method, m, None, Printed(value, "samples/s", "section 3.3", quote))


# Figure 4's numbers, as far as section 3.3 prints them.
FIGURE_4 = (
    _in_text("t5-small", "prompt_tuning", 100, 167.3, "the vanilla PT evaluates 167.3 samples per second"),
    _in_text("t5-small", "dept", 20, 178.3, "while DEPT ($m = 20$) evaluates 178.3 samples per second"),
    _in_text("t5-large", "prompt_tuning", 100, 21.0, "the vanilla PT evaluates 21.0 samples per second"),
    _in_text("t5-large", "dept", 20, 24.8, "DEPT ($m = 20$) evaluates 24.8 samples per second"),
)

# Figure 3's, which the text gives in round figures: T5, m = 20, both training time and memory.
FIGURE_3_SAVING = Printed(
    25.0,
    "per cent saved of training time and memory, about",
    "section 3.3",
    "using a soft prompt length of 20 in DEPT with the T5 model leads to a better average performance on the GLUE "
    "benchmark to vanilla PT, while improving the efficiency of training and reducing memory utilization by "
    "approximately 25%",
)
OVERALL_SAVING = Printed(
    20.0,
    "per cent saved of training time and memory, more than",
    "section 1",
    "saving more than 20% in both training time and memory costs compared to the vanilla PT",
)

# LLaMA-2 on SST-2: PT with l = 100, DePT with m = 60 and r = 40 (appendix B).
_ROW_7B = "LLAMA-2-7B	94.48	3.895	94.95	4.857"
_ROW_13B = "LLAMA-2-13B	95.99	2.083	96.01	2.835"


def _table_6(backbone: str, method: str, m: int, rank: int | None, value: float, row: str) -> PrintedSpeed:
    return PrintedSpeed(backbone, method, m, rank, Printed(value, "samples/s", "Table 6", row))


TABLE_6 = (
    _table_6("llama-2-7b", "prompt_tuning", 100, None, 3.895, _ROW_7B),
    _table_6("llama-2-7b", "dept", 60, 40, 4.857, _ROW_7B),
    _table_6("llama-2-13b", "prompt_tuning", 100, None, 2.083, _ROW_13B),
    _table_6("llama-2-13b", "dept", 60, 40, 2.835, _ROW_13B),
)


def printed_speed(backbone: str, method: str, num_virtual_tokens: int) -> PrintedSpeed | None:
    """What the paper prints for a backbone's alias, a method and its prompt length; None where it prints nothing."""
    for speed in (*FIGURE_4, *TABLE_6):
        if (speed.backbone, speed.method, speed.num_virtual_tokens) == (backbone, method, num_virtual_tokens):
            return speed
    return None
