"""Checkpoints: the adapter, AdamW's moments, the random generators' states and a few counters, for resuming a run.

Tensors are stored as safetensors, the rest as JSON; there are no pickles, and the backbone is not stored.
`checkpoint-<step>/` is completed under a temporary name, and the previous one is deleted only afterwards.
"""

import random
import shutil
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim import AdamW

from dept.basics.files import read_json, whole_folder, write_json
from dept.errors import RunError
from dept.prompted import PromptedModel
from dept.runs.folder import RunFolder

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_checkpoint(
    folder: RunFolder,
    step: int,
    model: PromptedModel,
    optimizer: AdamW,
    accelerator: Accelerator,
    progress: dict[str, Any],
) -> None:
    """Write `checkpoint-<step>/`; every process must call it, the main process writes.

    Args:
        progress: JSON values that `load_checkpoint` returns to the loop (best score, elapsed seconds, ...).
    """
    generators = _gather_generators(accelerator)
    if not accelerator.is_main_process:
        return
    before = folder.checkpoints()
    with whole_folder(folder.path / f"checkpoint-{step}") as temporary:
        tensors = model.adapter_tensors()
        adapter = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        moments = {
            f"{moment}.{name}": optimizer.state[tensor][moment].detach().contiguous()
            for name, tensor in tensors.items()
            for moment in _MOMENTS
            if moment in optimizer.state[tensor]
        }
        save_file(adapter, temporary / "adapter.safetensors")
        save_file(moments, temporary / "optimizer.safetensors")
        save_file(generators, temporary / "generators.safetensors")
        counters = {
            **progress,
            "step": step,
            "processes": accelerator.num_processes,
            "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else None,
            "python_random": _listed(random.getstate()),
            "numpy_random": _numpy_state(),
        }
        write_json(temporary / "progress.json", counters)
    for old in before:
        if old.name != f"checkpoint-{step}":
            shutil.rmtree(old)


def load_checkpoint(
    folder: RunFolder, model: PromptedModel, optimizer: AdamW, accelerator: Accelerator
) -> dict[str, Any] | None:
    """Restore the latest checkpoint's state; return its progress values, or None if there is no checkpoint.

    Raises:
        RunError: the checkpoint is damaged, or was written by another number of processes.
    """
    checkpoints = folder.checkpoints()
    if not checkpoints:
        return None
    path = checkpoints[-1]
    progress: dict[str, Any] = read_json(path / "progress.json")
    if progress["processes"] != accelerator.num_processes:
        raise RunError(
            f"{path} was written by {progress['processes']} processes, this is {accelerator.num_processes}: "
            "resume with the same number"
        )
    try:
        _put_back(
            model,
            optimizer,
            load_file(path / "adapter.safetensors"),
            load_file(path / "optimizer.safetensors"),
        )
        generators = load_file(path / "generators.safetensors")
        torch.set_rng_state(generators[f"cpu.{accelerator.process_index}"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(generators[f"cuda.{accelerator.process_index}"])
    except (OSError, SafetensorError, KeyError, RuntimeError) as fault:
        reason = str(fault).splitlines()[0]
        raise RunError(f"{path} is damaged ({reason}): delete it, and resume to start anew") from None
    if accelerator.scaler is not None and progress["scaler"] is not None:
        accelerator.scaler.load_state_dict(progress["scaler"])
    version, internal, gauss = progress["python_random"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = progress["numpy_random"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    return progress


@torch.no_grad()
def _put_back(
    model: PromptedModel,
    optimizer: AdamW,
    adapter: dict[str, torch.Tensor],
    moments: dict[str, torch.Tensor],
) -> None:
    for name, tensor in model.adapter_tensors().items():
        tensor.copy_(adapter[name])
        if any(f"{moment}.{name}" in moments for moment in _MOMENTS):  # none: it had no gradient yet
            # AdamW keeps its step counter on the CPU.
            optimizer.state[tensor] = {
                moment: moments[f"{moment}.{name}"].to("cpu" if moment == "step" else tensor.device)
                for moment in _MOMENTS
            }


def _gather_generators(accelerator: Accelerator) -> dict[str, torch.Tensor]:
    """The states of every process's torch generators, as bytes."""
    kinds = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        kinds["cuda"] = torch.cuda.get_rng_state()
    gathered: dict[str, torch.Tensor] = {}
    for kind, state in kinds.items():
        states = accelerator.gather(state[None].to(accelerator.device)).cpu()  # [processes, bytes]
        gathered |= {f"{kind}.{index}": row.clone() for index, row in enumerate(states)}
    return gathered


def _listed(value: Any) -> Any:
    return [_listed(inner) for inner in value] if isinstance(value, tuple) else value


def _numpy_state() -> list[Any]:
    state: Any = np.random.get_state()  # noqa: NPY002 - the generator that libraries may use
    name, keys, position, has_gauss, cached = state
    return [str(name), keys.tolist(), int(position), int(has_gauss), float(cached)]
