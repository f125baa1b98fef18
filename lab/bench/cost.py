"""What a job will take, before it starts: memory, so that nothing starts that cannot fit, and time, for the bar."""

from dept.backbones.load import backbone_info
from dept.backbones.shape import Shape, shape_of
from dept.costs.flops import Cost, inference_cost, step_cost
from dept.errors import BackboneError, ConfigError
from dept.methods.contract import Footprint
from dept.methods.known_facts import known_facts
from lab.basics.processes import START_SECONDS
from lab.bench.plan import TARGET_TOKENS, MeasureJob
from lab.bench.variant import BACKBONE

_SLACK = 1.3  # of activations: measured on T5-small; kernels' workspaces and what an allocator holds back
_LOAD_PARAMETERS_PER_S = 1e8
_FLOPS_PER_S = 1e11
_COUNTING = 0.25  # of a pass: FLOPs are counted on a few rows


def pass_cost(job: MeasureJob) -> Cost | None:
    """FLOPs of a pass and the activation bytes (float32) of its widest batch; None where sizes don't tell."""
    try:
        shape, footprint = shape_of(job.backbone), _footprint(job)
    except (BackboneError, ConfigError):  # a hub id, another family, a method that is known on its layers: it is tried
        return None
    costs = [_batch_cost(job, shape, footprint, batch) for batch in job.batches]
    return Cost(sum(cost.flops for cost in costs), max(cost.activation_bytes for cost in costs))


def _footprint(job: MeasureJob) -> Footprint:
    if job.variant.method == BACKBONE:
        return Footprint()
    facts = known_facts(job.backbone, job.max_seq_length)
    return job.variant.config(job.max_seq_length).resolved(facts).footprint(facts)


def _batch_cost(job: MeasureJob, shape: Shape, footprint: Footprint, batch: tuple[int, ...]) -> Cost:
    length = job.pad_to or max(batch)
    sizes = footprint.positions, footprint.rank, length, len(batch), TARGET_TOKENS
    padding = length > min(batch)
    if job.what in ("train", "memory"):
        return step_cost(shape, *sizes, added=footprint, tower=job.tower, padding=padding)
    cached = job.variant.cache_prompt
    cost = inference_cost(shape, *sizes, cached_prompt=cached, added=footprint, tower=job.tower, padding=padding)
    if job.variant.decoding == "label_scoring":
        return cost
    # The release generates, then runs a full forward pass whose logits cover the vocabulary at every position.
    generated = inference_cost(
        shape, *sizes, decoding="generate", cached_prompt=False, added=footprint, tower=job.tower, padding=padding
    )
    positions = len(batch) * (TARGET_TOKENS if shape.is_encoder_decoder else job.width(batch) + TARGET_TOKENS)
    logits = positions * shape.vocab_size
    return Cost(
        generated.flops + cost.flops + 2 * logits * shape.hidden_size,
        max(generated.activation_bytes, cost.activation_bytes) + 2 * 4 * logits,
    )


def needed_bytes(job: MeasureJob) -> int:
    """About what a job's process needs: the weights and the activations of its widest batch."""
    bytes_each = {"float32": 4, "bfloat16": 2}[job.dtype]
    cost = pass_cost(job)
    activations = 0 if cost is None else cost.activation_bytes * bytes_each / 4
    return int(bytes_each * (backbone_info(job.backbone).parameters or 0) + _SLACK * activations)


def expected_seconds(job: MeasureJob) -> float:
    """A guess, for the bar and for `--quick`; the pace of what has been measured corrects it."""
    cost = pass_cost(job)
    passes = (job.passes + 1 + _COUNTING) * (cost.flops if cost else 0) / _FLOPS_PER_S
    return START_SECONDS + (backbone_info(job.backbone).parameters or 0) / _LOAD_PARAMETERS_PER_S + passes
