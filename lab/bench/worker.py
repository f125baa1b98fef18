"""One measurement in a fresh process: `python -m lab.bench.worker` reads a job (JSON) on stdin, prints one JSON line.

In a fresh process no memory and no warm cache is left over from the previous measurement.
"""

import contextlib
import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dept.backbones.embeddings import word_embeddings
from dept.backbones.load import load_backbone
from dept.basics.allocator import give_back_freed_memory, kept_memory
from dept.basics.labels import IGNORED_LABEL
from dept.data.collate import Collator
from dept.errors import DeptError
from dept.evaluation.label_scoring import LabelTrie, score_labels
from dept.methods.registry import BASELINE, method_config
from dept.parts.visual_projection import VisualProjection
from dept.prompted import PromptedModel, get_prompted_model
from dept.training.optim import build_groups
from lab.basics.child import end_with, stdout_for_the_answer
from lab.bench.cost import needed_bytes
from lab.bench.plan import TARGET_TOKENS, MeasureJob, Measurement
from lab.bench.variant import BACKBONE, Variant

PEAK_SIZES = (768, 1024, 1536, 2048)  # of the square matrices whose product measures the machine's peak
PEAK_REPEATS = 3
_RATE = 1e-5  # learning rate of every group; speed and memory do not depend on it
Step = Callable[[dict[str, Tensor]], None]


def measure(job: MeasureJob) -> Measurement:
    """Load the model, warm up with one pass, time the others, then count FLOPs in a separate pass.

    Raises:
        DeptError: the backbone cannot be loaded.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    needed, available = needed_bytes(job), available_bytes(device)
    if needed > available:
        return Measurement(
            fits=False, reason=f"needs about {needed / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are free"
        )
    training = job.what in ("train", "memory")
    try:
        with kept_memory() if training else contextlib.nullcontext():  # as `dept.training.loop.train` does
            return _measure(job, device)
    except (MemoryError, torch.OutOfMemoryError) as fault:
        return Measurement(fits=False, reason=f"out of memory: {str(fault).splitlines()[0] if str(fault) else ''}")
    except RuntimeError as fault:
        if "can't allocate memory" not in str(fault):  # the CPU allocator has no exception of its own
            raise
        return Measurement(fits=False, reason="out of memory")


def _measure(job: MeasureJob, device: torch.device) -> Measurement:
    started = time.perf_counter()
    torch.manual_seed(job.seed)
    backbone, _ = load_backbone(job.backbone, dtype=job.dtype)
    backbone.to(device)  # type: ignore[arg-type] # transformers narrows nn.Module.to
    for weight in backbone.parameters():  # a mapped file is read at its first use: use it now, before timing
        weight.detach().sum()
    model = build(job.variant, backbone, job.max_seq_length, job.tower.width if job.tower else None)
    loading = time.perf_counter() - started

    batches = random_batches(job, model)
    step = training_step(model) if job.what in ("train", "memory") else inference_step(model, job.variant)
    peak_before = matmul_peak(device, job.dtype)
    memory = PeakMemory(device)

    def on_device(batch: dict[str, Tensor]) -> None:
        step({name: tensor.to(device) for name, tensor in batch.items()})

    def one_pass() -> float:
        start = time.perf_counter()
        for batch in batches:
            on_device(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    one_pass()  # warms up: the optimiser's state, the cached prompt, the allocator
    seconds = tuple(one_pass() for _ in range(job.passes))
    peak_bytes = memory.above_start()
    peak = max(peak_before, matmul_peak(device, job.dtype))
    trainable = model.trainable_parameters()
    if job.what in ("inference", "decoding"):
        model.requires_grad_(False)  # the counter's hooks need a graph for every tensor that requires gradients
    return Measurement(
        fits=True,
        pass_seconds=seconds,
        samples=job.samples,
        steps=len(batches),
        peak_bytes=peak_bytes,
        flops=counted_flops(on_device, batches) if job.count_flops else None,
        matmul_peak=peak,
        loading_s=loading,
        trainable_parameters=trainable,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        threads=torch.get_num_threads(),
    )


def build(variant: Variant, backbone: Any, max_seq_length: int, visual_width: int | None = None) -> PromptedModel:
    """The model of a variant.

    Args:
        visual_width: the width of the image features that it reads; None for text tasks.
    """
    if variant.method == BACKBONE:
        # Built directly: `get_prompted_model` refuses a model without parts, which has nothing to train.
        hidden_size = word_embeddings(backbone).shape[1]
        parts = [] if visual_width is None else [VisualProjection(visual_width, hidden_size)]
        model = PromptedModel(backbone, method_config(BASELINE)(), parts)
    else:
        model = get_prompted_model(backbone, variant.config(max_seq_length), visual_width=visual_width)
    model.cache_prompt = variant.cache_prompt
    return model


def random_batches(job: MeasureJob, model: PromptedModel) -> list[dict[str, Tensor]]:
    """Collated batches of random token ids with the job's lengths: [B, L], with labels for training.

    For a task with images they have random features too, [B, P, V]: a frozen encoder's features are computed once
    and then cached.
    """
    generator = torch.Generator().manual_seed(job.seed)
    vocabulary = word_embeddings(model.backbone).shape[0]
    training = job.what in ("train", "memory")
    collate = Collator(0, model.is_encoder_decoder, with_targets=training, pad_to=job.pad_to)

    def ids(count: int) -> list[int]:
        return torch.randint(2, vocabulary, (count,), generator=generator).tolist()

    def item(length: int) -> dict[str, Any]:
        example: dict[str, Any] = {"source_ids": ids(length), "target_ids": ids(TARGET_TOKENS)}
        if job.tower is not None:
            features = torch.randn(job.tower.positions, job.tower.width, generator=generator)
            example["visual_features"] = features.to(torch.float16).numpy()
        return example

    return [collate([item(length) for length in batch]) for batch in job.batches]


def training_step(model: PromptedModel) -> Step:
    """An optimiser step as in `dept train`: dropout on, clipped gradients, AdamW on the adapter's tensors."""
    model.train()
    optimizer = build_groups(model, dict.fromkeys(model.grouped_tensors(), _RATE))
    tensors = list(model.adapter_tensors().values())

    def step(batch: dict[str, Tensor]) -> None:
        targets = int((batch["labels"] != IGNORED_LABEL).sum())
        keep = 0 if model.is_encoder_decoder else 1 + TARGET_TOKENS
        output: Any = model(**batch, logits_to_keep=keep, num_items_in_batch=targets)
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(tensors, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        output.loss.item()

    return step


def inference_step(model: PromptedModel, variant: Variant) -> Step:
    """Label scoring of two labels, or the release's way: greedy generation, then a second full forward pass."""
    model.eval()
    eos = model.generation_config.eos_token_id
    eos = eos[0] if isinstance(eos, list) else eos
    eos = 1 if eos is None else eos
    labels = [token for token in (10, 11, 12) if token != eos][:2]
    trie = LabelTrie([[token, eos] for token in labels])

    def score(batch: dict[str, Tensor]) -> None:
        score_labels(model, trie, **batch)

    @torch.no_grad()
    def generate_then_forward(batch: dict[str, Tensor]) -> None:
        model.generate(
            **batch, max_new_tokens=TARGET_TOKENS, min_new_tokens=TARGET_TOKENS, do_sample=False, pad_token_id=eos
        )
        rows = len(batch["input_ids"])
        target = torch.tensor([[labels[0], eos]], device=batch["input_ids"].device).repeat(rows, 1)  # [B, 2]
        if model.is_encoder_decoder:
            model(**batch, labels=target)
            return
        ignored = torch.full_like(batch["input_ids"], IGNORED_LABEL)
        model(
            torch.cat([batch["input_ids"], target], 1),
            torch.cat([batch["attention_mask"], torch.ones_like(target)], 1),
            labels=torch.cat([ignored, target], 1),
            source_mask=torch.cat([batch["attention_mask"], torch.zeros_like(target)], 1),
            visual_features=batch.get("visual_features"),
        )

    return generate_then_forward if variant.decoding == "release" else score


def counted_flops(step: Step, batches: Sequence[dict[str, Tensor]]) -> int:
    """Floating point operations of a pass: those of its matrix products, a multiply-add counted as two.

    They are counted on one row and on two rows of each batch, in full width, and extrapolated: every operation's cost
    is either constant or proportional to the number of rows. Attention runs on torch's plain path here, since the
    counter does not support the CPU's fused one.
    """

    def count(batch: dict[str, Tensor], rows: int) -> int:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            step({name: tensor[:rows] for name, tensor in batch.items()})
        return counter.get_total_flops()

    total = 0
    for batch in batches:
        rows, one = len(batch["input_ids"]), count(batch, 1)
        total += one if rows == 1 else one + (rows - 1) * (count(batch, 2) - one)
    return total


def matmul_peak(device: torch.device, dtype: str) -> float:
    """Floating point operations a second of the best square product, in the backbone's dtype, on all threads."""
    best = 0.0
    for size in PEAK_SIZES:
        a, b = (torch.randn(size, size, device=device).to(getattr(torch, dtype)) for _ in range(2))
        out = torch.empty_like(a)
        torch.mm(a, b, out=out)
        for _ in range(PEAK_REPEATS):
            start = time.perf_counter()
            torch.mm(a, b, out=out)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


class PeakMemory:
    """The peak of memory in use above that at construction, in bytes.

    On a CPU it is resident memory: the system's high-water mark, less what was resident at construction. Linux can
    reset the mark (/proc/self/clear_refs); elsewhere it (ru_maxrss) still includes the peak of loading.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._start = torch.cuda.memory_allocated(device)
            return
        if sys.platform == "linux":
            give_back_freed_memory()
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")
        self._start = psutil.Process().memory_info().rss

    def above_start(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._start
        unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit - self._start


def available_bytes(device: torch.device) -> int:
    """The memory that is available to this process, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def main() -> int:
    """Measure the job on stdin; 0, also when it does not fit the memory, or 2 with one line on a user's mistake."""
    with stdout_for_the_answer() as answer:
        job = MeasureJob.from_dict(json.loads(sys.stdin.read()))
        if job.parent_pid:
            end_with(job.parent_pid)
        if sys.platform == "linux":  # if memory runs out after all, the system should end this process first
            with contextlib.suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text("1000")
        try:
            measurement = measure(job)
        except DeptError as fault:
            print(f"error: {fault}", file=sys.stderr)
            return 2
        print(json.dumps(vars(measurement)), file=answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
