"""A benchmark's results as tables, as figures after the paper's Figures 3 and 4 and Table 6, and as one HTML page."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import plotly.graph_objects as go
from rich import box
from rich.console import Console
from rich.table import Table

from dept.backbones.known import RANDOM
from dept.basics.files import write_text
from dept.methods.registry import BASELINE, DEFAULT_METHOD
from lab.basics import html_page
from lab.basics.html_page import Cell
from lab.bench.config import Group
from lab.bench.figures import relative_cost, relative_speed, samples_per_second, size_name
from lab.bench.run import Bench
from lab.bench.summary import Ratio, Summary, best_matmul, does_not_fit, summarise
from lab.bench.variant import Variant
from lab.paper.numbers import FIGURE_3_SAVING, FIGURE_4, HARDWARE, OVERALL_SAVING, TABLE_6, PrintedSpeed, printed_speed

COLUMNS = (
    "measured",
    "variant",
    "s / batch",
    "samples / s",
    "peak MiB",
    "of matmul peak",
    "time ratio",
    "speed ratio",
    "memory ratio",
)


def provenance(bench: Bench) -> str:
    """Sentences on weights, inputs and machine, and on what the numbers may be compared with."""
    config, box = bench.config, bench.machine
    devices = sorted({m.device for pair in bench.measured for m in (pair.baseline, pair.variant) if m and m.fits})
    threads = sorted({m.threads for pair in bench.measured for m in (pair.baseline, pair.variant) if m and m.fits})
    backbones = dict.fromkeys(pair.pair.group.backbone for pair in bench.measured)
    random_weights = [name for name in backbones if name.startswith(RANDOM)]
    weights = "random weights" if len(random_weights) == len(backbones) else "the named weights"
    peak = best_matmul(bench.measured)
    at_best = f", whose best matrix product in this run did {peak / 1e9:,.0f} GFLOP/s" if peak else ""
    images = _images(bench)
    return (
        f"Measured on this machine ({box['processor']}, {box['cores']} cores, {box['memory_bytes'] / 2**30:.0f} GiB; "
        f"device {', '.join(devices) or 'none'}, {', '.join(map(str, threads)) or '-'} threads{at_best}) with "
        f"{weights} in {config.dtype}, random token ids, batch {config.batch_size}, PT with {config.budget_tokens} "
        f"virtual tokens and DePT within the same number of trainable parameters. Times are this machine's; the "
        f"paper's are those of {HARDWARE}.{images}"
    )


def _images(bench: Bench) -> str:
    """Sentences on what the numbers of tasks with images contain; "" without such tasks."""
    sentences = [
        f"{tower.positions} positions of an image ({tower.name}, width {tower.width}) stand between prompt and text; "
        f"its features are there already, for the frozen encoder looks at each image once "
        f"({tower.flops / 1e9:,.2g} GFLOP) and they are kept."
        for tower in bench.towers
    ]
    return "".join(f" {sentence}" for sentence in sentences)


def rows(summaries: Iterable[Summary]) -> list[dict[str, str]]:
    """One row for each variant, with the columns `COLUMNS`; ratios are B over A, median (least to greatest)."""
    return [
        dict(
            zip(
                COLUMNS,
                (
                    row.group.name,
                    _label(row),
                    _three(row.step_s) if row.group.what != "memory" else "-",
                    _three(row.samples_per_s) if row.group.what != "memory" else "-",
                    f"{row.peak_bytes / 2**20:,.0f}",
                    f"{row.fraction_of_peak:.0%}" if row.fraction_of_peak and row.group.what != "memory" else "-",
                    _ratio(row.time if row.group.what != "memory" else None),
                    _ratio(row.speed if row.group.what != "memory" else None),
                    _ratio(row.memory),
                ),
                strict=True,
            )
        )
        for row in summaries
    ]


def _label(row: Summary) -> str:
    """The variant's name, and its baseline's where that is not PT."""
    base = row.baseline
    if base is None or base.method == BASELINE != row.variant.method:
        return row.variant.name
    return f"{row.variant.name} / {'release' if base.decoding == 'release' else base.name}"


def _three(value: float) -> str:
    """A number with three digits, trailing zeros kept."""
    return f"{value:#.3g}".rstrip(".")


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.greatest:.2f})"


def print_table(bench: Bench, console: Console | None = None) -> None:
    """Print a table for each group, for a terminal of 80 columns, then what was left out."""
    console = console or Console()
    summaries = summarise(bench.measured)
    for group in dict.fromkeys(summary.group for summary in summaries):
        training = group.what in ("train", "memory")
        columns = ("variant", *COLUMNS[2:6], "time ratio" if training else "speed ratio", "memory ratio")
        table = Table(
            title=group.name,
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            collapse_padding=True,
            pad_edge=False,
        )
        for name in columns:
            heading = "\n".join(name.replace("/ ", "/").split())
            text = name == "variant"
            table.add_column(heading, justify="left" if text else "right", no_wrap=not text)
        for row in rows(summary for summary in summaries if summary.group == group):
            table.add_row(*(row[name] for name in columns))
        console.print(table)
    for line in (
        *left_out(bench),
        "Ratios are of pairs, to PT where nothing else is said: median (least-greatest).",
        provenance(bench),
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def left_out(bench: Bench) -> list[str]:
    """One line for each requested measurement that is missing, and why."""
    lines = [
        f"{group.name}, {variant.name}: does not fit ({reason})"
        for group, variant, reason in does_not_fit(bench.measured)
    ]
    lines += [f"{pair.group.name}, {pair.variant.name}: no time in --quick" for pair in bench.skipped]
    if bench.status == "stopped":
        lines.append("Stopped before the end: the ratios are of the pairs measured until then.")
    return lines


def figures(summaries: Sequence[Summary]) -> list[tuple[str, go.Figure]]:
    """(heading, figure) of the paper's Figures 3 and 4, for every family of backbones and kind of inputs."""
    return [*relative_cost(summaries), *samples_per_second(summaries), *relative_speed(summaries)]


def paper_rows(bench: Bench, printed: Sequence[PrintedSpeed]) -> list[tuple[str, ...]]:
    """Cells of a table of speeds: backbone and m; the paper's PT, DePT and ratio; our PT, DePT and ratio; our inputs.

    Our speeds are those of label scoring at the same prompt length without cached prompts, where it was measured.
    """
    speeds = {(row.group, row.variant): row for row in summarise(bench.measured)}
    pairs = {(pair.pair.group, pair.pair.baseline, pair.pair.variant): None for pair in bench.measured}
    too_large = {(group, variant) for group, variant, _ in does_not_fit(bench.measured)}

    def speed(group: Group, variant: Variant) -> str:
        if (group, variant) in too_large:
            return "does not fit"
        row = speeds.get((group, variant))
        return "not measured" if row is None else _three(row.samples_per_s)

    cells: list[tuple[str, ...]] = []
    for dept in (one for one in printed if one.method == DEFAULT_METHOD):
        pt = printed_speed(dept.backbone, BASELINE, 100)
        assert pt is not None, "the paper prints PT beside each DePT"
        values = pt.samples_per_s.value, dept.samples_per_s.value
        paper = (f"{dept.backbone}, m = {dept.num_virtual_tokens}", *map(str, values), f"{values[1] / values[0]:.2f}")
        ours = [key for key in pairs if _is_plain(key[0], dept.backbone) and _is_dept(key[2], dept.num_virtual_tokens)]
        for group, baseline, variant in ours:
            row = speeds.get((group, variant))
            ratio = _ratio(row.speed if row else None)
            cells.append((*paper, speed(group, baseline), speed(group, variant), ratio, group.lengths))
        if not ours:
            cells.append((*paper, "not measured", "not measured", "-", "-"))
    return cells


def _is_plain(group: Group, backbone: str) -> bool:
    return group.what == "inference" and group.way != "cached" and size_name(group.backbone) == backbone


def _is_dept(variant: Variant, m: int) -> bool:
    return variant.method == DEFAULT_METHOD and variant.num_virtual_tokens == m


def write_report(bench: Bench, folder: Path) -> Path:
    """Write `bench.html` into the folder; the page needs no network."""
    summaries, missing = summarise(bench.measured), left_out(bench)
    speeds = {
        "Figure 4, as far as the paper's text prints it (samples / s)": paper_rows(bench, FIGURE_4),
        "Table 6: LLaMA-2 on SST-2 (samples / s)": paper_rows(bench, TABLE_6),
    }
    path = folder / "bench.html"
    write_text(
        path,
        html_page.page(
            "DePT beside PT: time and memory",
            f"<h2>Left out</h2>{html_page.bullets(missing)}" if missing else "",
            "<h2>All of it</h2>",
            _all_rows(rows(summaries)),
            _HOW,
            html_page.drawings(figures(summaries)),
            *(f"<h2>{html_page.text(title)}</h2>{_beside(lines)}" for title, lines in speeds.items()),
            f"""<p>The shaded columns are the paper's printed numbers (Figure 4: {html_page.text(HARDWARE)}) and the
ratio of each two. In words it says: T5, m = 20, about {FIGURE_3_SAVING.value:g}% less training time and memory
({FIGURE_3_SAVING.where}), more than {OVERALL_SAVING.value:g}% overall ({OVERALL_SAVING.where}). Absolute speeds of
different machines are not comparable; the ratios are. For LLaMA-2 the paper has r = 40; ours is the largest rank
within PT's budget.</p>""",
            note=provenance(bench),
        ),
    )
    return path


_HOW = """<p>Each measurement ran in a fresh process, in pairs A B A B, after a pass that warmed up. Ratios are B over
A of one pair, to PT where nothing else is said, their median (least-greatest): below 1 is better for time and memory,
above 1 for speed. Peak MiB: the most memory above the loaded model. Of matmul peak: counted floating point operations
a second over the best square matrix product of the same process. <em>Plain</em> inference computes the prompt with
every batch, as the paper does; <em>cached</em> keeps a decoder-only prompt's keys and values. <em>padded:N</em>:
every source padded to N tokens, as in the authors' release; <em>fixed:N</em>: N tokens each; <em>task:NAME</em>: that
task's lengths, in batches of like length.</p>"""


def _all_rows(lines: Sequence[dict[str, str]]) -> str:
    """A table of all rows, each group under a heading line."""
    names = COLUMNS[1:]
    kinds = ["text" if name == "variant" else "" for name in names]
    html_rows, group = [], None
    for line in lines:
        if line["measured"] != group:
            group = line["measured"]
            html_rows.append(html_page.group_row(group, len(names)))
        html_rows.append(_row([line[name] for name in names], kinds))
    return html_page.table([Cell(name, kind) for name, kind in zip(names, kinds, strict=True)], html_rows)


def _beside(lines: Sequence[Sequence[str]]) -> str:
    heads = ("backbone", "paper PT", "paper DePT", "their ratio", "our PT", "our DePT", "our ratio", "our inputs")
    kinds = ["text", "paper", "paper", "paper", "", "", "", "text"]
    cells = [Cell(head, kind) for head, kind in zip(heads, kinds, strict=True)]
    return html_page.table(cells, [_row(line, kinds) for line in lines])


def _row(values: Sequence[str], kinds: Sequence[str]) -> str:
    return html_page.row([Cell(html_page.text(value), kind) for value, kind in zip(values, kinds, strict=True)])
