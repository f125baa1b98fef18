"""The paper prints what we say it prints: every table is parsed out of its text and compared number by number."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean

import pytest

from dept.runs.settings import TrainConfig
from dept.tasks import list_tasks, load_task
from dept.tasks.splits import counts_from_hub
from lab.paper import numbers as paper
from lab.paper.numbers import FIGURE_3_SAVING, FIGURE_4, FIGURE_5, OVERALL_SAVING, TABLE_6, Printed, printed_speed

PRINTED = [
    *(speed.samples_per_s for speed in (*FIGURE_4, *TABLE_6)),
    *FIGURE_5.values(),
    FIGURE_3_SAVING,
    OVERALL_SAVING,
]
METHOD_OF = {  # as the paper's tables call them
    **{"Fine-tuning": "fine_tuning", "Fine Tuning": "fine_tuning", "FT": "fine_tuning"},
    **{"Adapter": "adapter", "Adapters": "adapter", "AD": "adapter", "AdapterDrop": "adapter_drop"},
    **{"BitFit": "bitfit", "LoRA": "lora", "LST": "lst", "P-Tuning": "p_tuning"},
    **{"PT": "prompt_tuning", "DEPT (ours)": "dept", "DEPT": "dept"},
    **{"Fine-tuning (m)": "fine_tuning_m", "Adapter (m)": "adapter_m"},
    **{"HyperFormer (m)": "hyperformer", "HF": "hyperformer", "HyperDecoder (m)": "hyperdecoder"},
    **{"SPoT": "spot", "ST": "spot", "ATTEMPT": "attempt", "ATP": "attempt", "MPT": "mpt"},
    **{"ATTEMPT (m)": "attempt_m", "MPT (m)": "mpt_m"},
}
COLUMN_OF = {
    **{"MNLI": "mnli", "QQP": "qqp", "QNLI": "qnli", "SST-2": "sst2", "STS-B": "stsb", "MRPC": "mrpc"},
    **{"RTE": "rte", "CoLA": "cola", "Multi": "multirc", "Bool": "boolq", "BooQ": "boolq", "WiC": "wic"},
    **{"WSC": "wsc", "CB": "cb", "NQ": "nq", "HP": "hotpotqa", "SQA": "searchqa", "News": "newsqa"},
    **{"WG": "winogrande", "Yelp": "yelp_polarity", "SciTail": "scitail", "PAWS": "paws"},
    **{"VQA Karpathy test Acc. (%)": "vqa", "MSCOCO Karpathy test CIDEr": "coco_captions"},
}
DATA_OF = {
    **COLUMN_OF,
    **{"MultiRC": "multirc", "BoolQ": "boolq", "ReCoRD": "record", "NaturalQuestions": "nq"},
    **{"HotpotQA": "hotpotqa", "SearchQA": "searchqa", "NewsQA": "newsqa", "WinoGrande": "winogrande"},
    **{"YelpPolarity": "yelp_polarity", "Visual Question Answering": "vqa", "MS CoCo Caption": "coco_captions"},
}
MEANS = {1: ("glue", "super_glue"), 2: ("mrqa", "other"), 5: ("glue", "super_glue")}
Number = tuple[str, str | None]  # the printed value and its deviation


@pytest.fixture(scope="module")
def text(shared: Path) -> list[str]:
    return (shared / "paper.txt").read_text(encoding="utf-8").splitlines()


def rows_after(text: list[str], start: str) -> list[list[str]]:
    """The cells of the table that begins with the line `start`, up to the next empty line."""
    begin = text.index(start)
    end = next(i for i in range(begin, len(text)) if not text[i].strip())
    return [[cell.strip() for cell in line.split("\t")] for line in text[begin:end]]


def number(cell: str) -> Number | None:
    """`72.0 _{0.1}` -> ("72.0", "0.1"); a dash -> None."""
    if cell == "-":
        return None
    found = re.fullmatch(r"([0-9.]+)(?: _\{([0-9.]+)\})?", cell)
    assert found, f"{cell!r} is no number"
    return found[1], found[2]


def amount(cell: str) -> int:
    """`76.8k` -> 76800, `96k*` -> 96000."""
    found = re.fullmatch(r"([0-9.]+)([KkM])\*?", cell)
    assert found, f"{cell!r} is no amount"
    return round(float(found[1]) * {"k": 1e3, "m": 1e6}[found[2].lower()])


def method_of(cell: str) -> tuple[str, str]:
    """`Adapter (m) ¹` -> (adapter_m, ¹)."""
    name = cell.rstrip(" ¹²³⁴")
    return METHOD_OF[name], cell[len(name) :].strip()


def columns(heads: list[str], table: int) -> list[str]:
    means = iter(MEANS.get(table, ()))
    return [next(means) if head in ("Mean", "Avg.") else COLUMN_OF[head] for head in heads]


def printed(text: list[str]) -> dict[tuple[int, str, str, str | int | None], Number]:
    """(table, method, column, shots or backbone) -> number, of Tables 1 to 6 without Table 6's speeds."""
    found: dict[tuple[int, str, str, str | int | None], Number | None] = {}

    def add(table: int, method: str, heads: list[str], cells: list[str], key: str | int | None = None) -> None:
        for column, cell in zip(heads, cells, strict=True):
            assert (table, method, column, key) not in found
            found[table, method, column, key] = number(cell)

    glue = next(line for line in text if line.startswith("Method	#Para	GLUE"))
    table = rows_after(text, glue)
    heads = columns(table[1][2:], 1)
    for cells in table[2:]:
        if len(cells) > 2 and cells[1]:
            add(1, method_of(cells[0])[0], heads, cells[2:])
    table = rows_after(text, next(line for line in text if line.startswith("Method	#Para	MRQA")))
    for cells in table[2:]:
        add(2, METHOD_OF[cells[0]], columns(table[1][2:], 2), cells[2:])
    table = rows_after(text, next(line for line in text if line.startswith("Method	Updated Params")))
    for cells in table[1:]:
        add(3, METHOD_OF[cells[0]], columns(table[0][2:], 3), cells[2:])
    table = rows_after(text, next(line for line in text if line.startswith("Task	k -shot #Para	FT")))
    methods = [METHOD_OF[head.split()[0]] for head in table[0][2:]]
    task = ""
    for cells in table[1:]:
        task = cells[0] or task
        for method, cell in zip(methods, cells[2:], strict=True):
            add(4, method, [COLUMN_OF[task]], [cell], int(cells[1]))
    table = rows_after(text, next(line for line in text if line.startswith("k -shot	Method	GLUE")))
    shots = 0
    for cells in table[2:]:
        shots = int(cells[0]) if cells[0] else shots
        add(5, METHOD_OF[cells[1]], columns(table[1][2:], 5), cells[2:], shots)
    for cells in rows_after(text, next(line for line in text if line.startswith("Method	Prompt Tuning")))[2:]:
        for method, cell in (("prompt_tuning", cells[1]), ("dept", cells[3])):
            add(6, method, ["sst2"], [cell], cells[0].lower())
    return {key: value for key, value in found.items() if value is not None}


def test_tables_1_to_6_number_by_number(text: list[str]) -> None:
    ours: dict[tuple[int, str, str, str | int | None], Number] = {}
    for score in paper.scores():
        digits = 2 if score.table == 6 else 1
        deviation = None if score.deviation is None else f"{score.deviation:.1f}"
        key = score.backbone if score.table == 6 else score.shots
        ours[score.table, score.method, score.task or score.benchmark, key] = f"{score.value:.{digits}f}", deviation
    assert ours == printed(text)
    assert len(ours) == len(paper.scores()), "no number twice"
    assert {table: sum(key[0] == table for key in ours) for table in range(1, 7)} == {
        **{1: 17 * 15 - 6 * 6, 2: 8 * 10, 3: 7 * 2, 4: 3 * 3 * 8, 5: 3 * 3 * 15, 6: 4}
    }


def test_parameters_and_sources_are_the_printed_ones(text: list[str]) -> None:
    footnotes = {"¹": "Asai et al. (2022)", "²": "Sung et al. (2022b)", "³": "Wang et al. (2023b)"}
    footnotes |= {"⁴": "the paper", "": "the paper"}
    ours = {(s.table, s.method): (s.parameters, s.source) for s in paper.scores() if s.shots is None}
    count = 0
    for cells in rows_after(text, next(line for line in text if line.startswith("Method	#Para	GLUE")))[2:]:
        if len(cells) > 2 and cells[1]:
            method, footnote = method_of(cells[0])
            assert ours[1, method] == (amount(cells[1]), footnotes[footnote])
            count += 1
    assert count == 17
    for cells in rows_after(text, next(line for line in text if line.startswith("Method	#Para	MRQA")))[2:]:
        source = "the paper" if cells[0].startswith("DEPT") else "Wang et al. (2023b)"
        assert ours[2, METHOD_OF[cells[0]]] == (amount(cells[1]), source)
    heads = rows_after(text, next(line for line in text if line.startswith("Task	k -shot #Para	FT")))[0]
    few_shot = {s.method: s.parameters for s in paper.scores() if s.table == 4}
    assert few_shot == {METHOD_OF[head.split()[0]]: amount(head.split()[1]) for head in heads[2:]}
    shares = {s.method: s.updated_percent for s in paper.scores() if s.table == 3}
    table = rows_after(text, next(line for line in text if line.startswith("Method	Updated Params")))
    assert shares == {METHOD_OF[cells[0]]: float(cells[1]) for cells in table[1:]}
    for number_of, source in ((2, "Wang et al. (2023b)"), (3, "Sung et al. (2022b)"), (4, "Wang et al. (2023b)")):
        caption = next(line for line in text if line.startswith(f"Table {number_of}:"))
        assert f"quoted from {source}" in caption


def test_table_7_row_by_row(text: list[str]) -> None:
    table = rows_after(text, next(line for line in text if "<i>GLUE Benchmark</i>" in line))
    found = {}
    for cells in table:
        if len(cells) < 7 or cells[0] not in DATA_OF:
            continue
        counts = paper.data_counts()[DATA_OF[cells[0]]]
        found[counts.task] = counts
        assert counts.kind == cells[6]
        for split, cell in zip(("train", "validation", "test"), cells[3:6], strict=True):
            if counts.images is None:
                assert counts.rows[split] == int(cell.replace(",", "")), (counts.task, split)
            else:
                assert [counts.images[split], counts.rows[split]] == [amount(part) for part in cell.split("/")]
        words = ["-" if value is None else f"{value:.1f}" for value in (counts.source_words, counts.target_words)]
        assert words == cells[1:3]
    assert found.keys() == paper.data_counts().keys()
    assert len(found) == 24


def test_our_splits_have_table_7s_counts_but_for_two_that_the_hub_does_not_have() -> None:
    ours = {task.name: counts_from_hub(task) for task in list_tasks() if task.name in paper.data_counts()}
    for task in ("vqa", "coco_captions"):  # printed in thousands; a row of captions is an image
        counts = paper.data_counts()[task]
        printed = counts.images if task == "coco_captions" else counts.rows
        assert {split: round(rows, -2) for split, rows in ours.pop(task).items()} == {
            **(printed or {}),
            **({"train": 113_300} if task == "coco_captions" else {}),
        }, task
    differing = {
        (task, split): (rows, paper.data_counts()[task].rows[split])
        for task, counts in ours.items()
        for split, rows in counts.items()
        if rows != paper.data_counts()[task].rows[split]
    }
    qqp = differing.pop(("qqp", "test"))
    assert qqp == (40430, 40431)
    assert {task for task, _ in differing} <= {"record"}, "the paper counts record after one example per answer"


def test_table_8_line_by_line(text: list[str]) -> None:
    lines = dict(rows_after(text, "Hyperparameter	Assignment"))
    table = paper.settings()

    def floats(name: str) -> tuple[float, ...]:
        return tuple(float(part) for part in lines[name].split(","))

    steps, every = (int(n.replace(",", "")) for n in re.findall(r"[\d,]{3,}", lines["number of steps"]))
    assert (table.max_steps, table.eval_every) == (steps, every)
    assert table.batch_size == int(lines["batch size"])
    assert table.prompt_lr == floats("maximum learning rate (α_1)")
    assert table.low_rank_lr == floats("maximum learning rate (α_2)")
    assert table.num_virtual_tokens == floats("length of the soft prompt (m)")
    assert table.max_seq_length == int(lines["maximum sequence length"])
    assert table.optimizer == lines["learning rate optimizer"]
    assert (table.adam_epsilon,) == floats("Adam epsilon")
    assert table.adam_betas == floats("Adam beta weights")
    assert lines["learning rate scheduler"] == "Warmup linear"
    assert (table.weight_decay,) == floats("Weight decay")
    assert (table.warmup_proportion,) == floats("Warmup proportion")
    words = "\n".join(text)
    assert "SuperGLUE-MultiRC where the max sequence length is set as 348" in words
    assert "more than 100,000 training example" in words
    assert "up to 300,000 steps" in words
    assert "We train MNLI with longer steps, 200k steps in total" in words
    assert "number of virtual tokens l as 100 across all tasks" in words
    assert (table.max_seq_length_of, table.max_steps_of) == ({"multirc": 348}, {"mnli": 200_000})
    assert (table.large_data_rows, table.max_steps_large_data, table.budget_tokens) == (100_000, 300_000, 100)


def test_what_the_paper_preset_trains_is_table_8() -> None:
    from dept.runs.resolve import resolve

    open_rates = {"prompt_lr": 0.01, "low_rank_lr": 0.01}

    for task in list_tasks():
        rows = counts_from_hub(task)["train"]
        config = resolve(TrainConfig(task=task.name, preset="paper"), task, rows, True, open_rates)
        table = paper.settings()
        assert config.max_steps == table.steps(task.name, rows)
        assert config.eval_every == table.eval_every
        assert config.prompt_lr in table.prompt_lr
        assert config.low_rank_lr in table.low_rank_lr
        for name in ("batch_size", "adam_epsilon", "weight_decay", "warmup_proportion"):
            assert getattr(config, name) == getattr(table, name)


def test_metrics_are_the_tasks_own() -> None:
    for score in paper.scores():
        if score.task is not None:
            assert score.metric == load_task(score.task).main_metric, score.task


def test_printed_means_are_means_of_the_printed_scores_but_for_those_in_the_deviations() -> None:
    wrong = []
    for mean in (score for score in paper.scores() if score.task is None):
        parts = [
            s.value
            for s in paper.scores()
            if s.task is not None
            and (s.table, s.method, s.benchmark, s.shots) == (mean.table, mean.method, mean.benchmark, mean.shots)
        ]
        # Rounded parts leave the mean of unrounded ones within 0.05, and rounding it adds 0.05.
        if abs(fmean(parts) - mean.value) > 0.1 + 1e-9:
            wrong.append((mean.table, mean.method, mean.benchmark, mean.shots, mean.value, round(fmean(parts), 2)))
    assert wrong == []


@pytest.mark.parametrize("printed", PRINTED, ids=lambda printed: f"{printed.where} {printed.value}")
def test_a_number_stands_in_the_papers_words(printed: Printed, shared: Path) -> None:
    words = (shared / "paper.txt").read_text(encoding="utf-8")
    assert printed.quote in words
    assert f"{printed.value}" in printed.quote or f"{printed.value:g}%" in printed.quote


def test_table_6_rows_give_pt_before_dept() -> None:
    for speed in TABLE_6:
        cells = speed.samples_per_s.quote.split("\t")
        assert cells[0].lower() == speed.backbone
        assert float(cells[2 if speed.method == "prompt_tuning" else 4]) == speed.samples_per_s.value


def test_only_what_is_printed_is_found() -> None:
    found = printed_speed("t5-large", "dept", 20)
    assert found is not None
    assert found.samples_per_s.value == 24.8
    assert printed_speed("t5-base", "dept", 20) is None
    assert printed_speed("t5-large", "dept", 40) is None
    rte = paper.score("dept", "rte")
    assert rte is not None
    assert (rte.value, rte.where, rte.backbone) == (79.1, "Table 1", "t5-base")
    few = paper.score("dept", "boolq", shots=4)
    assert few is not None
    assert (few.value, few.deviation) == (62.7, 5.4)
    assert paper.score("lora", "rte", backbone="gpt2") is None
    glue = paper.mean("dept", "glue")
    assert glue is not None
    assert glue.value == 85.9
    assert paper.mean("lora", "super_glue") is None, "a dash in the paper"
