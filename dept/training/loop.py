"""The training loop, on Accelerate: a learning rate for each part, the best adapter by validation, test at the end.

A step's batch has the same rows for any number of processes and parts: its loss is the sum over the target tokens,
divided by their count in the whole batch.
"""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from accelerate import Accelerator

from dept.backbones.placement import compile_backbone, is_placed
from dept.basics.allocator import kept_memory
from dept.basics.checked import without_new_defaults
from dept.basics.files import read_json, write_json
from dept.basics.labels import IGNORED_LABEL
from dept.data.batches import TrainBatches
from dept.data.collate import Collator
from dept.errors import ConfigError, RunError
from dept.evaluation.predictor import Evaluation, Predictor, evaluate
from dept.prompted import PromptedModel
from dept.runs.folder import FINGERPRINTS, RunFolder
from dept.runs.key import is_untested
from dept.runs.settings import TrainConfig
from dept.training.checkpoints import load_checkpoint, save_checkpoint
from dept.training.optim import AdamWSettings, build_groups, rate_factor, set_rates, warmup_steps
from dept.training.prepare import Prepared, prepare
from dept.training.result import build_result, save_best, save_predictions

# Keys that every line of metrics.jsonl has since schema 1; null where the method has no such group.
_COLUMNS: dict[str, float | None] = {"prompt_lr": None, "low_rank_lr": None}


class Reporter(Protocol):
    """Receives the progress of a run. All methods are called in the main process only.

    `evaluated` may return a reason to stop the run early: the run then ends after the next step, with status stopped
    and the reason in its result.
    """

    def started(self, prepared: Prepared, first_step: int) -> None: ...
    def stepped(self, line: dict[str, Any]) -> None: ...
    def evaluating(self, split: str, done: int, rows: int) -> None: ...
    def evaluated(self, line: dict[str, Any]) -> str | None: ...


class Silent(nullcontext[None]):
    """A reporter that prints nothing."""

    def started(self, prepared: Prepared, first_step: int) -> None: ...
    def stepped(self, line: dict[str, Any]) -> None: ...
    def evaluating(self, split: str, done: int, rows: int) -> None: ...

    def evaluated(self, line: dict[str, Any]) -> str | None:
        return None


def train(
    config: TrainConfig, *, resume: bool = False, reporter: Reporter | None = None, test: bool = True
) -> dict[str, Any]:
    """Train, keep the adapter that is best on validation, and test it; all files are in the run folder.

    Args:
        config: the settings; open values are filled in from the task and the backbone.
        resume: go on from the folder's last checkpoint; for a completed run its result is returned.
        reporter: receives the run's progress.
        test: whether to score the best adapter on the test rows at the end. A search does not until it has chosen;
            `resume` then adds the score to a run that was completed without it.

    Returns:
        The content of `result.json`.

    Raises:
        DeptError: invalid settings or data (nothing has been written then); a folder that another run owns; settings
            that differ from those of the run to resume; a non-finite loss.
    """
    folder = RunFolder(config.output_dir)
    _check_folder(folder, resume)
    # Created first: it assigns each process its GPU, which quantised weights are loaded onto.
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    if config.device_map is not None and accelerator.num_processes > 1:
        raise ConfigError("device_map spreads one backbone over all GPUs: start one process only")
    prepared = prepare(config)
    with folder.lock() if accelerator.is_main_process else nullcontext():
        _check_settings(folder, prepared, resume)
        accelerator.wait_for_everyone()
        if resume and folder.result_file.exists():
            result = read_json(folder.result_file)
            if result["status"] == "completed" and not (test and is_untested(result)):
                return result
        return _Run(prepared, folder, accelerator, reporter or Silent(), test).go(resume)


def _check_folder(folder: RunFolder, resume: bool) -> None:
    """Refuse a folder that would be overwritten, before time is spent on loading."""
    if folder.path.exists() and not folder.path.is_dir():
        raise RunError(f"{folder.path} is a file: choose another --output-dir")
    if resume and not folder.config_file.exists():
        raise RunError(f"{folder.path} holds no run to resume")
    if not resume and folder.config_file.exists():
        what = "an unfinished run"
        if folder.result_file.exists():
            what = f"a {read_json(folder.result_file).get('status', 'finished')} run"
        raise RunError(
            f"{folder.path} already holds {what}: add --resume to go on with it, or choose another --output-dir"
        )


def _check_settings(folder: RunFolder, prepared: Prepared, resume: bool) -> None:
    """Refuse to resume with other settings; under the lock, so that of two starts at once only one goes on."""
    if not resume:
        return
    saved, now = _identity(read_json(folder.config_file)), _identity(_saved_settings(prepared))
    names = sorted(name for name in saved | now if saved.get(name) != now.get(name) and name != "output_dir")
    if names:
        changes = ", ".join(f"{name} was {saved.get(name)!r}, now {now.get(name)!r}" for name in names)
        raise RunError(f"the settings differ from those of {folder.path}: {changes}. Start a new run for them")


def _identity(settings: dict[str, Any]) -> dict[str, Any]:
    """Saved settings without those that are newer than the run and have their default."""
    return without_new_defaults(TrainConfig, settings)


def _saved_settings(prepared: Prepared) -> dict[str, Any]:
    return {**prepared.config.to_dict(), FINGERPRINTS: dict(prepared.fingerprints)}


class _Run:
    """One execution: the state that the loop's steps share."""

    def __init__(
        self, prepared: Prepared, folder: RunFolder, accelerator: Accelerator, reporter: Reporter, test: bool
    ) -> None:
        config = prepared.config
        self.prepared, self.config, self.folder = prepared, config, folder
        self.accelerator, self.reporter, self.test = accelerator, reporter, test
        self.main = accelerator.is_main_process
        self.model: PromptedModel = prepared.model
        if config.gradient_checkpointing:
            self.model.gradient_checkpointing_enable()
        self.rates = {name: rate for name, rate in config.rates().items() if rate is not None}
        self.optimizer = build_groups(
            self.model,
            self.rates,
            AdamWSettings(config.weight_decay, (config.adam_beta1, config.adam_beta2), config.adam_epsilon),
        )
        if config.compile:
            compile_backbone(self.model.backbone)
        movable = not is_placed(self.model.backbone)
        self.wrapped, self.stepper = accelerator.prepare(self.model, self.optimizer, device_placement=[movable, None])
        self.collate = Collator.for_tokenizer(prepared.tokenizer, is_encoder_decoder=self.model.is_encoder_decoder)
        self.data = prepared.splits["train"]
        self.batches = TrainBatches(self.data.lengths, config.batch_size, seed=config.seed)
        assert config.max_steps is not None and config.eval_every is not None
        self.max_steps, self.eval_every = config.max_steps, config.eval_every
        self.warmup = warmup_steps(self.max_steps, config.warmup_proportion)
        self.predictor = Predictor(
            self.model,
            prepared.tokenizer,
            prepared.task,
            verbalizer=config.verbalizer or "digits",
            decoding=str(config.decoding),
            batch_size=config.eval_batch_size,
        )
        self.progress: dict[str, Any] = {
            "best_step": 0,
            "best": None,
            "validation": {},
            "last_validation": {},
            "untrained": {},
            "without_improvement": 0,
            "elapsed_s": 0.0,
        }
        self.step = 0
        self.stop_requested = False
        self.stop_reason: str | None = None
        self.resumed_at = 0.0

    def go(self, resume: bool) -> dict[str, Any]:
        status = "failed"
        if self.main:
            if not resume:
                write_json(self.folder.config_file, _saved_settings(self.prepared))
            self.folder.result_file.unlink(missing_ok=True)
            self.folder.set_state("running", step=0, max_steps=self.max_steps)
        try:
            with _stop_signals(self), kept_memory():
                self._restore(resume)
                if self.main:
                    self.reporter.started(self.prepared, self.step)
                status = self._loop()
            return self._finish(status)
        finally:
            fault = sys.exception()
            if fault is not None and self.main:
                reason = _reason(fault)
                self._write_result("failed", None, reason)
                self.folder.set_state("failed", step=self.step, max_steps=self.max_steps, error=reason)

    def _restore(self, resume: bool) -> None:
        self.resumed_at = time.perf_counter()
        if not resume:
            return
        saved = load_checkpoint(self.folder, self.model, self.optimizer, self.accelerator)
        if saved is not None:
            self.step = saved["step"]
            self.progress = {name: saved[name] for name in self.progress}
        if self.main:
            self.folder.forget_metrics_after(self.step if saved is not None else -1)

    def _elapsed(self) -> float:
        return self.progress["elapsed_s"] + time.perf_counter() - self.resumed_at

    def _loop(self) -> str:
        if self.step == 0 and not self.progress["untrained"]:
            self.progress["untrained"] = self._validate()
        self.model.train()
        while self.step < self.max_steps and not self._out_of_patience():
            line, is_stopping = self._train_step()
            self.step += 1
            if self.main:
                self.folder.append_metrics(line)
                self.folder.beat(step=self.step, max_steps=self.max_steps)
                self.reporter.stepped(line)
            if self.step % self.eval_every == 0 or self.step == self.max_steps:
                self._validate()
                self._checkpoint()
            if is_stopping and self.step < self.max_steps:
                if self.main:
                    self.folder.set_state("stopping", step=self.step, max_steps=self.max_steps)
                self._checkpoint()
                return "stopped"
        return "completed"

    def _out_of_patience(self) -> bool:
        patience = self.config.early_stopping
        return patience is not None and self.progress["without_improvement"] >= patience

    def _checkpoint(self) -> None:
        progress = {**self.progress, "elapsed_s": self._elapsed()}
        save_checkpoint(self.folder, self.step, self.model, self.optimizer, self.accelerator, progress)

    def _train_step(self) -> tuple[dict[str, Any], bool]:
        """Do one optimiser step; return its line for metrics.jsonl, and whether any process was told to stop."""
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        batch = self.batches.batch(self.step)
        rows = batch[rank::world]
        tokens = int(self.data.target_lengths[batch].sum())
        set_rates(self.optimizer, self.rates, rate_factor(self.step, self.max_steps, self.warmup))
        totals = torch.zeros(4, dtype=torch.float64)  # loss sum, label loss sum, label tokens, processes told to stop
        parts = list(_parts(rows, self.config.gradient_accumulation)) or [[]]
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.wrapped):
                totals[:3] += self._backward(part, batch, tokens, world)
        totals[3] = float(self.stop_requested)
        loss_sum, label_sum, label_tokens, stops = self.accelerator.reduce(
            totals.to(self.accelerator.device, torch.float32), "sum"
        ).tolist()
        loss = loss_sum / tokens
        if not math.isfinite(loss):
            flags = " and ".join(f"--{name}-lr" for name in self.model.grouped_tensors()).replace("_", "-")
            raise RunError(f"the loss became {loss} at step {self.step + 1}: lower {flags}, or leave out fp16")
        if self.config.max_grad_norm:
            self.accelerator.clip_grad_norm_(self.model.adapter_tensors().values(), self.config.max_grad_norm)
        self.stepper.step()
        self.stepper.zero_grad(set_to_none=True)
        rates = {f"{group['name']}_lr": group["lr"] for group in self.optimizer.param_groups}
        line = {
            "step": self.step + 1,
            "split": "train",
            "loss": loss,
            "label_loss": label_sum / max(1.0, label_tokens),
            **_COLUMNS,
            **rates,
            "elapsed_s": round(self._elapsed(), 3),
        }
        return line, stops > 0

    def _backward(self, rows: list[int], batch: list[int], tokens: int, world: int) -> torch.Tensor:
        """Compute one part's gradients; return its sums: loss, loss of the tokens before end-of-text, their number."""
        tensors = self.collate([self.data[row] for row in (rows or batch[:1])])
        if not rows:  # fewer rows than processes: take part in the exchange of gradients with a loss of zero
            tensors["labels"] = torch.full_like(tensors["labels"], IGNORED_LABEL)
        tensors = {name: tensor.to(self.model.device) for name, tensor in tensors.items()}
        keep = 0
        if not self.model.is_encoder_decoder:
            keep = 1 + int((tensors["labels"] != IGNORED_LABEL).sum(1).max())
        with self.accelerator.autocast():
            output = self.wrapped(**tensors, logits_to_keep=keep, num_items_in_batch=tokens)
        # Accelerate averages gradients over the processes; the loss is already divided by the global count.
        self.accelerator.backward(output.loss * world)
        logits, labels = output.logits.detach(), tensors["labels"]
        if keep:
            logits, labels = logits[:, :-1], labels[:, 1 - keep :]
        labels = labels.masked_fill(labels == self.prepared.tokenizer.eos_token_id, IGNORED_LABEL)
        label_loss = F.cross_entropy(
            logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED_LABEL, reduction="sum"
        )
        return torch.tensor(
            [output.loss.item() * tokens, label_loss.item(), int((labels != IGNORED_LABEL).sum())],
            dtype=torch.float64,
        )

    def _evaluate(self, split: str) -> Evaluation:
        rows = len(self.prepared.splits[split])

        def watch(done: int) -> None:
            if self.main:
                self.folder.beat()
                self.reporter.evaluating(split, min(rows, done * self.accelerator.num_processes), rows)

        # Inference runs uncompiled: its caches would cause recompilation again and again.
        stance = torch.compiler.set_stance("force_eager") if self.config.compile else nullcontext()
        with stance:
            evaluation = evaluate(
                self.predictor,
                self.prepared.splits[split],
                self.prepared.task,
                rank=self.accelerator.process_index,
                world=self.accelerator.num_processes,
                on_batch=watch,
                quick=split != "test",
            )
        if self.main:
            line = {
                "step": self.step,
                "split": split,
                "metrics": evaluation.metrics,
                "samples_per_s": evaluation.samples_per_s,
                "elapsed_s": round(self._elapsed(), 3),
            }
            self.folder.append_metrics(line)
            # The first reason is kept: the step that still follows may be evaluated too.
            reason = self.reporter.evaluated(line)
            self.stop_reason = self.stop_reason or reason
            self.stop_requested = self.stop_requested or self.stop_reason is not None
        return evaluation

    def _validate(self) -> dict[str, float]:
        """Score validation, and save the adapter if it is the best so far; of two equal ones the later is kept."""
        metrics = self._evaluate("validation").metrics
        value, best = metrics[self.prepared.task.main_metric], self.progress["best"]
        improved = best is None or value > best
        self.progress["without_improvement"] = 0 if improved else self.progress["without_improvement"] + 1
        self.progress["last_validation"] = metrics
        if improved or value == best:
            self.progress |= {"best": value, "best_step": self.step, "validation": metrics}
            if self.main:
                save_best(self.folder, self.prepared, self.step, metrics)
        return metrics

    def _finish(self, status: str) -> dict[str, Any]:
        test = None
        if status == "completed":
            self.accelerator.wait_for_everyone()
            best = PromptedModel.from_pretrained(self.model.backbone, self.folder.adapter, check_backbone=False)
            self.model.load_state_dict(best.state_dict())
            if self.test and "test" in self.prepared.splits:
                test = self._evaluate("test")
                if self.main:
                    save_predictions(self.folder, self.prepared, test)
        result = self._write_result(status, test, None) if self.main else {"status": status}
        if self.main:
            self.folder.set_state(status, step=self.step, max_steps=self.max_steps)
        self.accelerator.wait_for_everyone()
        return result

    def _write_result(self, status: str, test: Evaluation | None, error: str | None) -> dict[str, Any]:
        result = build_result(
            self.prepared,
            status=status,
            step=self.step,
            progress=self.progress,
            test=test,
            elapsed_s=self._elapsed(),
            device=self.accelerator.device,
            processes=self.accelerator.num_processes,
            stop_reason=self.stop_reason if status == "stopped" else None,
            error=error,
        )
        write_json(self.folder.result_file, result)
        return result


def _parts(rows: list[int], count: int) -> Iterator[list[int]]:
    size = max(1, math.ceil(len(rows) / count))
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _reason(fault: BaseException) -> str:
    if isinstance(fault, torch.OutOfMemoryError):
        return "out of memory: raise --gradient-accumulation, lower --batch-size or use --gradient-checkpointing"
    return f"{type(fault).__name__}: {fault}".splitlines()[0]


@contextmanager
def _stop_signals(run: _Run) -> Iterator[None]:
    """Within the block Ctrl-C and SIGTERM finish the step, save and stop; a second one ends at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if run.stop_requested:
            raise KeyboardInterrupt
        run.stop_requested = True
        if run.main:  # not `print`: the handler may interrupt one
            os.write(2, b"\nstopping after this step or evaluation; the same again ends at once\n")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
