"""Where the time of a training step goes that is not matrix products: torch's profiler over the benchmark's step."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiled

from dept.backbones.load import load_backbone
from dept.basics.allocator import kept_memory
from lab.bench.batches import source_batches
from lab.bench.config import BenchConfig, Group
from lab.bench.plan import MeasureJob, job_of, pairs
from lab.bench.worker import build, random_batches, training_step
from tests.acceptance.section import Outcome, Section, table

BACKBONES = (("random:t5-small", ("fixed:17", "fixed:45", "padded:256")), ("random:t5-base", ("fixed:45",)))
STEPS = 3
# Names of torch's operators, each group by what its operators begin with; what is in none is the rest.
REST = "the rest"
KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::addbmm"),
    "fused attention": ("aten::_scaled_dot_product", "aten::_flash_attention"),
    "dropout's random numbers": ("aten::bernoulli_", "aten::native_dropout"),
    "softmax and cross-entropy": ("aten::_softmax", "aten::_log_softmax", "aten::nll_loss"),
    "copies and layout": ("aten::copy_", "aten::clone", "aten::cat", "aten::gather", "aten::fill_", "aten::zero_"),
    "element by element": (
        "aten::add", "aten::mul", "aten::div", "aten::pow", "aten::rsqrt", "aten::mean", "aten::sum",
        "aten::threshold_backward", "aten::relu", "aten::clamp_min", "aten::where", "aten::neg", "aten::sqrt",
    ),
    "embeddings": ("aten::embedding", "aten::index"),
    "AdamW": ("Optimizer.step", "aten::_foreach", "aten::addcmul", "aten::addcdiv", "aten::lerp"),
}  # fmt: skip


def measure() -> Outcome:
    lines = []
    for backbone, lengths_list in BACKBONES:
        for lengths in lengths_list:
            group = Group("train", backbone, lengths)
            config = BenchConfig(what=("train",), backbones=(backbone,), virtual_tokens=(20,), lengths=(lengths,))
            (pair,) = pairs(config, group)
            for variant in (pair.baseline, pair.variant):
                shares, seconds = step_profile(job_of(config, group, variant, source_batches(config, group)))
                cells = [f"{share:.0%}" for share in shares.values()]
                lines.append([f"{backbone} {lengths}, {variant.name}", f"{1000 * seconds:,.0f}", *cells])
    header = ["step", "ms", *KINDS, REST]
    text = (
        f"Self time of torch's operators over {STEPS} training steps of batch 16 after one that warms up, per cent of "
        "their sum, m = 20 beside PT with l = 100; the profiler's own cost is in the milliseconds.\n\n"
        + table(header, lines)
    )
    return Outcome(True, text)


def step_profile(job: MeasureJob) -> tuple[dict[str, float], float]:
    """(kind of operator -> share of the operators' own time, seconds a step)."""
    torch.manual_seed(job.seed)
    backbone, _ = load_backbone(job.backbone)
    model = build(job.variant, backbone, job.max_seq_length)
    batch, step = random_batches(job, model)[0], training_step(model)
    with kept_memory():  # as `dept.training.loop.train` does
        step(batch)
        with profiled(activities=[ProfilerActivity.CPU]) as profile:
            for _ in range(STEPS):
                step(batch)
    own = {event.key: event.self_cpu_time_total for event in profile.key_averages()}
    total = sum(own.values())
    shares = {
        kind: sum(time for name, time in own.items() if name.startswith(starts)) / total
        for kind, starts in KINDS.items()
    }
    shares[REST] = 1 - sum(shares.values())
    return shares, total / 1e6 / STEPS


SECTION = Section(
    "profile",
    "Where the time of a training step goes",
    "a profile, without a bound.",
    measure,
)
