"""The benchmark: what it plans, its arithmetic on made-up measurements, real tiny runs through fresh processes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from dept.backbones.known import default_tower
from dept.errors import BudgetError, ConfigError
from lab.basics.commas import numbers, words
from lab.bench.batches import source_batches
from lab.bench.config import BenchConfig, Group
from lab.bench.cost import needed_bytes, pass_cost
from lab.bench.figures import family, relative_cost, relative_speed, samples_per_second
from lab.bench.lengths import Lengths
from lab.bench.plan import MeasuredPair, MeasureJob, Measurement, Pair, groups, job_of, pairs
from lab.bench.read import read_bench
from lab.bench.report import left_out, paper_rows, provenance, rows, write_report
from lab.bench.run import Bench, run_bench, schedule
from lab.bench.summary import best_matmul, does_not_fit, summarise
from lab.bench.variant import BACKBONE, variant_of
from lab.cli import main
from lab.paper.numbers import FIGURE_4, TABLE_6

PT = variant_of("prompt_tuning", {"num_virtual_tokens": 100})
DEPT = variant_of("dept", {"num_virtual_tokens": 20, "rank": 53})
TRAIN = Group("train", "random:t5-small", "padded:256")
INFERENCE = Group("inference", "random:t5-small", "padded:256")


def made(seconds: float, peak: int = 100, flops: int | None = None, samples: int = 16) -> Measurement:
    return Measurement(
        fits=True,
        pass_seconds=(seconds * 3, seconds, seconds * 0.9),
        samples=samples,
        steps=1,
        peak_bytes=peak,
        flops=flops,
        matmul_peak=1e3,
        threads=2,
    )


def made_pairs(group: Group = TRAIN) -> list[MeasuredPair]:
    pair = Pair(group, PT, DEPT)
    return [
        MeasuredPair(pair, 0, made(4.0, 1000, flops=2000), made(2.0, 700, flops=1000)),
        MeasuredPair(pair, 1, made(8.0, 1000), made(6.0, 800)),
        MeasuredPair(pair, 2, made(5.0, 1000), made(2.0, 600)),
    ]


# Parsing and planning


def test_a_task_with_images_brings_its_encoders_positions(tiny_t5: Path, tmp_path: Path) -> None:
    config = BenchConfig(backbones=(str(tiny_t5),), lengths=("task:vqa", "fixed:8"), batch_size=4, max_seq_length=64)
    named = dataclasses.replace(config, vision_backbone="random:clip-vit-large-patch14")
    seeing, blind = groups(dataclasses.replace(config, what=("train",)))
    batches = source_batches(config, seeing)
    job = job_of(named, seeing, DEPT, batches)
    assert job.tower is not None and (job.tower.width, job.tower.positions) == (1024, 256)
    default = job_of(config, seeing, DEPT, batches).tower
    assert default is not None and default.name == default_tower(str(tiny_t5))
    assert job_of(named, blind, DEPT, [[8]]).tower is None
    bench = run_bench(
        dataclasses.replace(named, repeats=1, virtual_tokens=(4,)), tmp_path, measure=lambda job: made(1.0)
    )
    assert read_bench(tmp_path / "bench.json").towers == bench.towers == [job.tower]
    told = write_report(bench, tmp_path).read_text()
    assert "256 positions of an image (random:clip-vit-large-patch14, width 1024)" in told
    assert "positions of an image" not in provenance(Bench(config, made_pairs(blind)))


def test_an_encoder_without_images_and_two_ways_to_name_a_task_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = str(tmp_path / "bench")
    for flags, message in (
        (["--vision-backbone", "clip-vit-base-patch32"], "goes with a task that has images"),
        (["--task", "vqa", "--lengths", "task:sst2"], "give one of the two"),
        (["--task", "nothing"], "unknown task"),
    ):
        assert main(["bench", *flags, "--output-dir", folder]) == 2
        assert message in capsys.readouterr().err
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("padded:256", Lengths("padded", 256)),
        (" fixed:45 ", Lengths("fixed", 45)),
        ("task:sst2", Lengths("task", task="sst2")),
    ],
)
def test_lengths_are_read(text: str, expected: Lengths) -> None:
    assert Lengths.parse(text) == expected
    assert str(expected) == text.strip()


@pytest.mark.parametrize(
    "text", ["", "padded", "padded:0", "fixed:-3", "fixed:1.5", "task:", "other:3", "padded:256x"]
)
def test_other_lengths_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--lengths takes padded:N"):
        Lengths.parse(text)


def test_lists_are_read() -> None:
    assert words(" a, b,,a ") == ("a", "b")
    assert numbers("0, 20,20", "--virtual-tokens") == (0, 20)
    with pytest.raises(ConfigError, match="--virtual-tokens takes whole numbers"):
        numbers("20;40", "--virtual-tokens")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--what", "speed"], "--what: 'speed' is none of train"),
        (["--what", ","], "--what is empty"),
        (["--virtual-tokens", "101"], "more than budget_tokens (100)"),
        (["--lengths", "fixed:300"], "more than --max-seq-length 256"),
        (["--batch-size", "0"], "--batch-size must be at least 1"),
        (["--dtype", "int8"], "--dtype: 'int8' is none of"),
        (["--backbones", "random:t5-tiny"], "t5-tiny"),
        (["--methods", "prefix"], "method must be one of dept, prompt_tuning"),
        (["--methods", "dept"], "--methods: dept is compared anyway"),
        (["--methods", "peft"], "method peft needs --peft-config FILE"),
        (["--methods", "lora", "--set", "rank=3"], "--set rank=3: name=value of one of lora_alpha, "),
        (["--methods", "lora", "--set", "lora_rank=0"], "lora_rank must be between 1 and 10,000, not 0"),
        (["--lengths", "task:sst9"], "unknown task 'sst9'"),
        (["--lengths", "task:sst2", "--tokenizer", "/nowhere"], "name one with --tokenizer FOLDER"),
    ],
)
def test_bad_input_is_one_line(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "bench"
    assert main(["bench", *flags, "--output-dir", str(output)]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("error: ")
    assert message in complaint
    assert complaint.count("\n") == 1
    assert not output.exists(), "nothing is written for bad input"


def test_dept_stands_beside_pt_at_the_same_budget() -> None:
    config = BenchConfig(backbones=("random:t5-base",), virtual_tokens=(20, 60))
    found = pairs(config, Group("train", "random:t5-base", "padded:256"))
    assert [pair.baseline for pair in found] == [PT, PT]
    assert [(pair.variant.num_virtual_tokens, pair.variant.rank) for pair in found] == [(20, 60), (60, 30)]
    with pytest.raises(BudgetError):
        BenchConfig(virtual_tokens=(120,))


def test_other_methods_stand_beside_pt_too() -> None:
    names = ("bitfit", "lora", "adept", "lopt", "dept+lora")
    config = BenchConfig(virtual_tokens=(20,), methods=names, method_settings=("lora_rank=8", "lopt-rank=4"))
    compared = pairs(config, TRAIN)
    assert {pair.baseline for pair in compared} == {PT}
    shown = ["DePT m=20", "BitFit", "LoRA", "ADePT m=60", "LoPT m=100", "DePT + LoRA m=40"]
    assert [pair.variant.name for pair in compared] == shown
    settings = [dict(pair.variant.settings) for pair in compared]
    assert settings[2]["lora_rank"] == settings[5]["lora_rank"] == 8 and settings[4]["lopt_rank"] == 4
    assert (settings[3]["adept_rank"], settings[5]["rank"]) == (19, 40), "the budget's, resolved"
    saved = json.loads(json.dumps([pair.to_dict() for pair in compared]))
    assert [Pair.from_dict(pair) for pair in saved] == compared
    assert [(pair["variant"]["num_virtual_tokens"], pair["variant"]["rank"]) for pair in saved] == [
        (20, 53), (0, 0), (0, 0), (60, 0), (100, 0), (40, 40)
    ]  # fmt: skip
    cached = pairs(config, Group("inference", "random:gpt2", "fixed:45", "cached"))
    assert {pair.variant.cache_prompt for pair in cached} == {True}


def test_a_method_of_peft_is_benched_by_its_own_config(tmp_path: Path) -> None:
    file = tmp_path / "adapter_config.json"
    file.write_text(
        json.dumps({"peft_type": "IA3", "target_modules": ["k", "v", "wo"], "feedforward_modules": ["wo"]})
    )
    config = BenchConfig(virtual_tokens=(20,), methods=("peft",), method_settings=(f"peft_config={file}",))
    job = job_of(config, TRAIN, pairs(config, TRAIN)[-1].variant, [[8]])
    assert MeasureJob.from_dict(json.loads(json.dumps(job.to_dict()))) == job
    assert pass_cost(job) is None and needed_bytes(job) > 0, "what it costs is not known from sizes"


def test_decoder_only_inference_exists_twice() -> None:
    config = BenchConfig(backbones=("random:gpt2", "random:t5-small"), virtual_tokens=(20,))
    found = list(groups(config))
    assert [(g.what, g.backbone, g.way) for g in found] == [
        ("train", "random:gpt2", ""),
        ("train", "random:t5-small", ""),
        ("inference", "random:gpt2", "plain"),
        ("inference", "random:gpt2", "cached"),
        ("inference", "random:t5-small", ""),
    ]
    cached = pairs(config, found[3])
    assert all(pair.variant.cache_prompt for pair in cached)
    assert cached[-1].baseline.method == BACKBONE
    assert cached[-1].variant == dataclasses.replace(PT, cache_prompt=True)
    assert not any(v.cache_prompt for pair in pairs(config, found[2]) for v in (pair.baseline, pair.variant))


def test_every_pair_comes_once_before_any_comes_again() -> None:
    plan = schedule(BenchConfig(virtual_tokens=(20, 40), repeats=2))
    assert [(repeat, pair.group.what, pair.variant.num_virtual_tokens) for repeat, pair in plan] == [
        (repeat, what, m) for repeat in (0, 1) for what in ("train", "inference") for m in (20, 40)
    ]


def test_quick_asks_the_small_question_first() -> None:
    config = BenchConfig().as_quick()
    plan = schedule(config)
    assert config.virtual_tokens == (20,)
    assert {pair.group.backbone for _, pair in plan[:4]} == {"random:t5-small"}
    assert {(pair.group.backbone, pair.group.way) for _, pair in plan[4:]} == {
        ("random:gpt2", "plain"),
        ("random:gpt2", "cached"),
    }


def test_padded_inputs_have_all_columns_and_glue_like_masks() -> None:
    config = BenchConfig(batch_size=400)
    [batch] = source_batches(config, TRAIN)
    assert 40 < sum(batch) / len(batch) < 50
    assert max(batch) <= 256
    assert job_of(config, TRAIN, PT, [batch]).pad_to == 256
    assert source_batches(config, Group("train", "random:t5-small", "fixed:7")) == [[7] * 400]


@pytest.mark.parametrize("what", ["train", "inference"])
def test_a_tasks_own_lengths_spread_over_its_batches(what: str, tiny_t5: Path) -> None:
    config = BenchConfig(data="sample", batch_size=4)
    batches = source_batches(config, Group(what, f"random:{tiny_t5}", "task:sst2"))
    assert len(batches) == 8
    assert {len(batch) for batch in batches} == {4}
    longest = [max(batch) for batch in batches]
    assert longest == sorted(longest)
    assert longest[0] < longest[-1] <= 256
    assert batches == source_batches(config, Group(what, f"random:{tiny_t5}", "task:sst2"))


# Arithmetic


def test_medians_and_paired_ratios() -> None:
    pt, dept = summarise(made_pairs())
    assert (pt.variant, pt.time, pt.baseline) == (PT, None, None)
    assert pt.step_s == 5.0
    assert pt.samples_per_s == 16 / 5
    assert pt.fraction_of_peak == pytest.approx(2000 / 5 / 1000), "the median of 2000 / (4, 8, 5) / 1000"
    assert dept.baseline == PT
    assert dept.step_s == 2.0
    assert dept.time is not None and dept.speed is not None and dept.memory is not None
    # Of pairs: 2/4, 6/8, 2/5; not the ratio of the medians (2/5).
    assert (dept.time.median, dept.time.least, dept.time.greatest, dept.time.pairs) == (0.5, 0.4, 0.75, 3)
    assert dept.speed.median == pytest.approx(2.0)
    assert dept.memory.median == 0.7
    assert best_matmul(made_pairs()) == 1e3


def test_half_pairs_and_what_does_not_fit_give_no_ratio() -> None:
    pair = Pair(TRAIN, PT, DEPT)
    too_large = Measurement(fits=False, reason="needs 50 GiB, 3 GiB are free")
    measured = [MeasuredPair(pair, 0, too_large, made(2.0)), MeasuredPair(pair, 1, made(4.0))]
    found = {row.variant: row for row in summarise(measured)}
    assert found[DEPT].time is None
    assert found[DEPT].measurements == found[PT].measurements == 1
    assert does_not_fit(measured) == [(TRAIN, PT, "needs 50 GiB, 3 GiB are free")]
    bench = Bench(BenchConfig(), measured=measured, status="stopped")
    assert "does not fit (needs 50 GiB" in left_out(bench)[0]
    assert "Stopped" in left_out(bench)[-1]


# Figures and report


def test_figures_hold_the_measured_ratios_and_the_papers_numbers_apart() -> None:
    summaries = summarise([*made_pairs(), *made_pairs(INFERENCE)])
    [(heading, cost)] = relative_cost(summaries)
    assert "Figure 3" in heading
    traces = {trace.name: trace for trace in cost.data}
    assert list(traces["training time, ours"].x) == [20, 100]
    assert list(traces["training time, ours"].y) == [50.0, 100]
    assert list(traces["peak memory, ours"].y) == [70.0, 100]
    paper = [trace for name, trace in traces.items() if "paper" in name]
    assert [list(trace.y) for trace in paper] == [[75.0]]

    [(heading, speed)] = samples_per_second(summaries)
    assert "Figure 4" in heading
    assert [list(trace.y) for trace in speed.data] == [[16 / 2], [16 / 5]]
    assert list(speed.data[0].text) == ["2.00x"]

    [(_, relative)] = relative_speed(summaries)
    ours = [trace for trace in relative.data if trace.name.endswith("ours")]
    printed = [trace for trace in relative.data if "the paper's" in trace.name]
    assert list(ours[0].y) == [pytest.approx(2.0), 1]
    assert list(printed[0].y) == [pytest.approx(178.3 / 167.3)]


def test_other_methods_are_marks_in_the_figures() -> None:
    measured = [
        MeasuredPair(Pair(group, PT, variant_of("lora", {"lora_rank": 8})), 0, made(4.0, 1000), made(3.0, 900))
        for group in (TRAIN, INFERENCE)
    ]
    summaries = summarise([*made_pairs(), *made_pairs(INFERENCE), *measured])
    [(_, cost)] = relative_cost(summaries)
    marks = {trace.name: (list(trace.x), list(trace.y)) for trace in cost.data if "LoRA" in trace.name}
    assert marks == {"LoRA: training time, ours": ([0], [75.0]), "LoRA: peak memory, ours": ([0], [90.0])}
    [(_, speed)] = samples_per_second(summaries)
    assert [(trace.name, list(trace.x), list(trace.text)) for trace in speed.data] == [
        ("DePT, ours", ["20"], ["2.00x"]), ("PT, ours", ["100"], [""]), ("LoRA, ours", ["LoRA"], ["1.33x"])
    ]  # fmt: skip
    [(_, relative)] = relative_speed(summaries)
    assert not any("LoRA" in trace.name for trace in relative.data), "it has no m to draw it over"


def test_families_are_the_papers() -> None:
    names = ("random:t5-small", "t5-large", "random:gpt2-medium", "random:llama-2-7b", "/my/model")
    assert [family(name) for name in names] == ["T5", "T5", "GPT-2", "LLaMA-2", "/my/model"]


def test_the_papers_rows_stand_beside_ours() -> None:
    llama = Pair(
        Group("inference", "random:llama-2-13b", "fixed:17", "plain"),
        PT,
        variant_of("dept", {"num_virtual_tokens": 60, "rank": 38}),
    )
    too_large = MeasuredPair(llama, 0, Measurement(fits=False), Measurement(fits=False))
    bench = Bench(BenchConfig(), measured=[*made_pairs(INFERENCE), too_large])
    lines = paper_rows(bench, FIGURE_4)
    assert lines[0][:7] == ("t5-small, m = 20", "167.3", "178.3", "1.07", "3.20", "8.00", "2.00 (1.33-2.50)")
    assert lines[1] == ("t5-large, m = 20", "21.0", "24.8", "1.18", "not measured", "not measured", "-", "-")
    assert [line[4:7] for line in paper_rows(bench, TABLE_6)] == [
        ("not measured", "not measured", "-"),
        ("does not fit", "does not fit", "-"),
    ]


def test_a_page_opens_without_a_network(tmp_path: Path) -> None:
    bench = Bench(BenchConfig(), measured=[*made_pairs(), *made_pairs(INFERENCE)], status="completed")
    page = write_report(bench, tmp_path).read_text(encoding="utf-8")
    assert "random weights" in page
    assert "Plotly.newPlot" in page
    assert 'src="http' not in page
    assert page.count("plotly.js v") == 1, "the library is inlined once"
    assert [row["time ratio"] for row in rows(summarise(made_pairs()))] == ["-", "0.50 (0.40-0.75)"]
