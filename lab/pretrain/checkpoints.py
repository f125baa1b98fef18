"""The run folders of pretraining: opening, saving and restoring, the same for every recipe."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dept.basics.files import read_json, whole_folder, write_json
from dept.errors import RunError
from dept.runs.folder import RunFolder


@contextlib.contextmanager
def opened(output_dir: Path, config: Any, *, resume: bool) -> Iterator[RunFolder]:
    """The run's folder, locked; `begin` writes the settings of a new run.

    Args:
        config: the recipe's settings, a dataclass.

    Raises:
        RunError: the folder holds a run already, or none to resume, or one with other settings, or it is in use.
    """
    folder = RunFolder(output_dir)
    if not resume and folder.config_file.exists():
        raise RunError(f"{output_dir} already holds a run: add --resume to go on with it, or choose another folder")
    if resume and not folder.config_file.exists():
        raise RunError(f"{output_dir} holds no run to resume")
    with folder.lock():
        if resume and read_json(folder.config_file) != dataclasses.asdict(config):
            raise RunError(f"the settings differ from those of {output_dir}: start a new run for them")
        yield folder


def begin(folder: RunFolder, config: Any) -> None:
    """Write a new run's settings; call this once the run can start."""
    write_json(folder.config_file, dataclasses.asdict(config))


def log_losses(folder: RunFolder, console: Console, step: int, losses: Sequence[float], elapsed: float) -> None:
    """Log the mean of the last steps' losses to the run's metrics and to the terminal. elapsed: seconds."""
    loss = sum(losses) / len(losses)
    folder.append_metrics({"step": step, "split": "train", "loss": loss, "elapsed_s": round(elapsed, 1)})
    console.print(f"step {step:,} loss {loss:.3f} after {elapsed / 60:.1f} min")


@dataclass(frozen=True)
class Trained:
    """The state that training changes: parameters by name, and the optimisers' moments."""

    names: Mapping[Tensor, str]
    optimizers: tuple[torch.optim.Optimizer, ...]

    @staticmethod
    def of(model: nn.Module, is_matrix: Callable[[str, Tensor], bool]) -> Trained:
        """All parameters of a model: Muon for the matrices of its body, AdamW for the rest.

        Muon (Jordan et al., 2024) updates a matrix equally in all its directions. With AdamW alone, skills that few
        examples train were learnt several times later, and were forgotten as new ones were learnt.
        """
        names: dict[Tensor, str] = {tensor: name for name, tensor in model.named_parameters()}
        body = [tensor for tensor, name in names.items() if is_matrix(name, tensor)]
        others = [tensor for tensor, name in names.items() if not is_matrix(name, tensor)]
        muon = torch.optim.Muon(body, weight_decay=0.0, momentum=0.95, adjust_lr_fn="match_rms_adamw")
        return Trained(names, (muon, torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0, fused=True)))

    def descend(self, loss: Tensor, rate: float, step: int) -> float:
        """One step of both optimisers, the gradient clipped to norm 1; returns the loss.

        Args:
            step: counted from 0, for the message.

        Raises:
            RunError: the loss is not finite.
        """
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(self.names), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        if not math.isfinite(value):
            raise RunError(f"the loss became {value} at step {step + 1}: lower the learning rate")
        return value

    def save(self, folder: RunFolder, step: int, place: Mapping[str, Any]) -> None:
        """Write a checkpoint, which replaces those before it."""
        before = folder.checkpoints()
        target = folder.path / f"checkpoint-{step}"
        with whole_folder(target) as temporary:
            state = {name: tensor.detach().contiguous() for tensor, name in self.names.items()}
            for optimizer in self.optimizers:
                for tensor, moments in optimizer.state.items():
                    state |= {
                        f"{moment}.{self.names[tensor]}": value.contiguous() for moment, value in moments.items()
                    }
            save_file(state, temporary / "state.safetensors")
            write_json(temporary / "place.json", dict(place))
        for old in before:
            if old != target:
                shutil.rmtree(old)

    @torch.no_grad()
    def restore(self, folder: RunFolder) -> dict[str, Any] | None:
        """Restore the last checkpoint and return its place in training; None, with nothing changed, without one."""
        checkpoints = folder.checkpoints()
        if not checkpoints:
            return None
        place: dict[str, Any] = read_json(checkpoints[-1] / "place.json")
        tensors = load_file(checkpoints[-1] / "state.safetensors")
        for tensor, name in self.names.items():
            tensor.copy_(tensors.pop(name))
        for optimizer in self.optimizers:
            for tensor in (tensor for group in optimizer.param_groups for tensor in group["params"]):
                ending = f".{self.names[tensor]}"
                optimizer.state[tensor] = {
                    key.removesuffix(ending): value for key, value in tensors.items() if key.endswith(ending)
                }
        folder.forget_metrics_after(place["step"])
        return place
