"""Which parts act at the moment: those of the model whose forward or generate this thread is in, and no others.

Hooks of a part stay in the backbone, which other models and plain calls share. A context variable tells them whether
they are meant; each thread has its own. Gradient checkpointing computes a block again during backward: it finds the
same state there (`checkpoint_contexts`).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dept.parts.contract import Part, Route

_RUNNING: ContextVar[Running | None] = ContextVar("running", default=None)


class Running:
    """What one forward pass shares.

    Attributes:
        parts: those of the model.
        route: which adapter and task each row has.
        inside: modules whose stand-in is being computed: hooks on them act once, around the stand-in.
    """

    def __init__(self, parts: tuple[Part, ...], route: Route) -> None:
        self.parts = parts
        self.route = route
        self.inside: set[nn.Module] = set()


class acting:  # noqa: N801 - used as a word: `with acting(running):`
    """Within the block, in this thread, the parts of `running` act. May be entered again."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._tokens: list[Token[Running | None]] = []

    def __enter__(self) -> Running:
        self._tokens.append(_RUNNING.set(self._running))
        return self._running

    def __exit__(self, *fault: object) -> None:
        _RUNNING.reset(self._tokens.pop())


def running_for(part: Part, module: nn.Module) -> Running | None:
    """The state of the pass that a part acts in at a module; None where it is not meant."""
    running = _RUNNING.get()
    if running is None or module in running.inside or not any(own is part for own in running.parts):
        return None
    return running


def checkpoint_contexts() -> tuple[contextlib.AbstractContextManager[Any], contextlib.AbstractContextManager[Any]]:
    """For `torch.utils.checkpoint`: what a block is computed in at first, and again during backward."""
    running = _RUNNING.get()
    return contextlib.nullcontext(), contextlib.nullcontext() if running is None else acting(running)


class PartHook:
    """A forward hook of a part; `running_for` tells it whether it is meant."""

    def __init__(self, part: Part) -> None:
        self.part = part


class Attached:
    """What takes a model's hooks out of its backbone, which others may hold: they go with the model's last copy."""

    def __init__(self, handles: Iterable[RemovableHandle | Callable[[], None]]) -> None:
        self.handles = list(handles)

    def remove(self) -> None:
        handles, self.handles = self.handles, []
        for handle in reversed(handles):
            handle.remove() if isinstance(handle, RemovableHandle) else handle()

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        if not ending():  # then everything goes
            self.remove()


def is_acted_on(module: nn.Module) -> bool:
    """Whether any part of any model has a place at a module."""
    hooks = module._forward_hooks.values()
    return isinstance(vars(module).get("forward"), Site) or any(isinstance(hook, PartHook) for hook in hooks)


class Site:
    """Stands in for a module's forward: the parts that act there compute in its place.

    It is the module's own `forward` attribute, so that the module stays where it is and what it is; without entries it
    is taken away again. An object rather than a closure, for `copy.deepcopy` to copy it with the module.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.covered = vars(module).get("forward")  # of another library's (accelerate places layers this way)
        self.entries: list[tuple[Part, nn.Module]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for part, stand_in in self.entries:
            running = running_for(part, self.module)
            if running is None:
                continue
            running.inside.add(self.module)  # the stand-in calls the module itself
            try:
                return _in_dtype_of(self.module, stand_in.forward(*args, **kwargs))
            finally:
                running.inside.discard(self.module)
        if self.covered is not None:
            return self.covered(*args, **kwargs)
        return type(self.module).forward(self.module, *args, **kwargs)


def _in_dtype_of(module: nn.Module, output: Any) -> Any:
    """What a stand-in gives, in the dtype of the module's own weight; autocast chooses for itself."""
    weight = module._parameters.get("weight")
    if weight is None or not weight.is_floating_point() or not isinstance(output, Tensor):
        return output
    return output if torch.is_autocast_enabled(output.device.type) else output.to(weight.dtype)


class Removal:
    """Takes a stand-in away again when it is called."""

    def __init__(self, site: Site, entry: tuple[Part, nn.Module]) -> None:
        self._site, self._entry = site, entry

    @property
    def module(self) -> nn.Module:
        """Whose place the stand-in takes."""
        return self._site.module

    def __call__(self) -> None:
        self._site.entries.remove(self._entry)
        if self._site.entries:
            return
        if self._site.covered is None:
            vars(self._site.module).pop("forward", None)
        else:
            self._site.module.forward = self._site.covered


def stand_in_for(module: nn.Module, part: Part, stand_in: nn.Module) -> Removal:
    """Let `stand_in` compute in a module's place where `part` acts; what takes it away again."""
    site = vars(module).get("forward")
    if not isinstance(site, Site):
        site = Site(module)
        module.forward = site
    entry = (part, stand_in)
    site.entries.append(entry)
    return Removal(site, entry)
