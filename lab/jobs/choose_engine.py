"""The engine that a name stands for."""

from __future__ import annotations

from dept.errors import ConfigError
from lab.jobs.engine import Engine
from lab.jobs.local import LocalEngine

ENGINES = ("local", "ray")


def engine_named(name: str, address: str | None = None) -> Engine:
    """The engine of a name.

    Args:
        address: of a running Ray cluster; None starts one on this machine.

    Raises:
        ConfigError: an unknown engine, an address without Ray or of a wrong form, or Ray is not installed.
        RunError: no Ray cluster is at the address.
    """
    if name not in ENGINES:
        raise ConfigError(f"--engine: {name!r} is none of {', '.join(ENGINES)}")
    if name == "local":
        if address is not None:
            raise ConfigError("--address is of a Ray cluster: add --engine ray")
        return LocalEngine()
    try:
        from lab.jobs.ray import RayEngine
    except ModuleNotFoundError as fault:
        if fault.name != "ray":
            raise
        raise ConfigError("--engine ray needs Ray: pip install 'dept-lab[ray]'") from None
    return RayEngine(address)
