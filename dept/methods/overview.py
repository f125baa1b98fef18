"""The methods beside each other on one backbone: what `dept methods` lists. No torch."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dept.backbones.load import backbone_info
from dept.backbones.tower_sizes import tower_for
from dept.errors import ConfigError
from dept.methods.contract import Facts, Group, MethodConfig
from dept.methods.known_facts import known_facts
from dept.methods.rates import PROJECTION
from dept.methods.registry import method_config, method_names
from dept.tasks import load_task

_MOST_SECONDS = 120  # to count on a backbone without weights


class Row(NamedTuple):
    """One method on a backbone.

    Attributes:
        name, title, paper, sentence: as its declaration has them.
        groups: its rate groups. needs: what must be there beside a backbone.
        parameters: trained ones, of all groups; None where nobody can count them. by_group: the same, apart.
        rates: the default of each group; None where it follows from the weights.
        settings: those of the method, resolved.
    """

    name: str
    title: str
    paper: str
    sentence: str
    groups: list[str]
    needs: list[str]
    parameters: int | None
    by_group: dict[str, int] | None
    rates: dict[str, float | None]
    settings: dict[str, Any]


def overview(
    names: Sequence[str] | None,
    backbone: str,
    *,
    task: str | None = None,
    preset: Mapping[str, Any] | None = None,
    peft_config: str | None = None,
) -> list[Row]:
    """A row a method, counted from the backbone's sizes.

    Args:
        names: methods or sums of them; None for all.
        preset: `dept.runs.resolve.preset`, whose rates go before the backbone's.
        peft_config: a file or its text; what it trains is counted on the backbone without weights, in a process of
            its own.

    Raises:
        DeptError: an unknown method, backbone or task.
    """
    facts, rates = _facts(backbone, task), dict(backbone_info(backbone).rates) | dict((preset or {}).get("rates", {}))
    return [_row(method_config(name), facts, rates, backbone, peft_config) for name in names or method_names()]


def _facts(backbone: str, task: str | None) -> Facts:
    loaded = load_task(task) if task is not None else None
    facts = known_facts(backbone, loaded.max_seq_length if loaded else 256)
    if loaded is None:
        return facts
    return dataclasses.replace(facts, tasks=(loaded.name,), tower=tower_for(loaded, backbone, None))


def _row(
    declared: type[MethodConfig], facts: Facts, rates: Mapping[str, float], backbone: str, peft_config: str | None
) -> Row:
    groups: tuple[Group, ...] = declared.groups
    values = {"max_seq_length": facts.max_seq_length, "peft_config": peft_config}
    counts: dict[str, int] | None = None
    settings: dict[str, Any] = {}
    if peft_config is not None or "peft_config" not in declared.own_settings():  # else there is no config of PEFT's
        config = declared.from_settings(values).resolved(facts)
        settings = config.to_dict()
        try:
            counts = config.counts(facts)
        except ConfigError:
            counts = _counted_apart(declared.name, settings, backbone) if peft_config is not None else None
    if facts.tower is not None:
        groups = (*groups, PROJECTION)
        if counts is not None:
            counts[PROJECTION.name] = facts.tower.projection_parameters(facts.hidden_size)
    return Row(
        declared.name,
        declared.title,
        declared.paper,
        declared.sentence,
        [group.name for group in groups],
        sorted(declared.needs),
        None if counts is None else sum(counts.values()),
        counts,
        {group.name: _rate(group, rates) for group in groups},
        settings,
    )


def _rate(group: Group, rates: Mapping[str, float]) -> float | None:
    return rates.get(group.name, None if callable(group.rate) else group.rate)


def _counted_apart(method: str, settings: Mapping[str, Any], backbone: str) -> dict[str, int]:
    """Counts on the backbone without weights, which takes torch.

    Raises:
        ConfigError: what the process says.
    """
    asked = json.dumps({"method": method, "settings": dict(settings), "backbone": backbone})
    command = [sys.executable, "-m", "dept.model.count"]
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False, timeout=_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{method} on {backbone} could not be counted within {_MOST_SECONDS} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise ConfigError(lines[-1].removeprefix("error: ") if lines else f"{method} could not be counted")
    counts: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return counts
