"""Counts of a method on a backbone without weights: `python -m dept.model.count` reads what (JSON) on stdin.

For methods whose size no formula here knows: the parts are made on the meta device and their tensors counted.
"""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoConfig

from dept.backbones.known import RANDOM, registry
from dept.backbones.locate import locate
from dept.backbones.saved import CONFIG_PATTERNS, auto_class, read_config
from dept.errors import DeptError
from dept.methods.contract import MethodConfig
from dept.methods.registry import method_config
from dept.model.facts import facts_of


def counts_on_meta(config: MethodConfig, backbone: str) -> dict[str, int]:
    """Trained parameters of each rate group.

    Raises:
        DeptError: the backbone cannot be found, or the method has no place in it.
    """
    name = backbone.removeprefix(RANDOM)
    if name in registry():
        shape = AutoConfig.for_model(**registry()[name]["config"])
    else:
        folder = Path(name).expanduser()
        shape = read_config(folder if folder.is_dir() else locate(name, CONFIG_PATTERNS)[0], name)
    with torch.device("meta"):
        model = auto_class(shape, name).from_config(shape)
        facts = facts_of(model)
        parts = config.resolved(facts).parts(model, facts)
    counts: dict[str, int] = {}
    for part in parts:
        for group, tensors in part.tensors().items():
            counts[group] = counts.get(group, 0) + sum(tensor.numel() for tensor in tensors.values())
    return counts


def main() -> int:
    """Count what stdin asks for; 2 with one line for what a user can mend."""
    asked = json.loads(sys.stdin.read())
    try:
        counts = counts_on_meta(method_config(asked["method"]).from_dict(asked["settings"]), asked["backbone"])
    except DeptError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    print(json.dumps(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
