"""Choose an engine by its name."""

from __future__ import annotations

from dept.errors import ConfigError
from lab.jobs.engine import Engine
from lab.jobs.local import LocalEngine

ENGINES = ("local", "ray")


def engine_named(name: str, address: str | None = None) -> Engine:
    """The engine with a name.

    Args:
        address: the address of a running Ray cluster; None starts one on this machine.

    Raises:
        ConfigError: the engine is unknown, Ray is not installed, or the address is malformed or given without Ray.
        RunError: no Ray cluster answers at the address.
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
