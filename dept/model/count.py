"""Count a method's parameters without the backbone's weights: `python -m dept.model.count` reads JSON on stdin.

It serves methods whose size has no formula here: the parts are built on the meta device and their tensors counted.
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
        DeptError: the backbone cannot be found, or the method cannot be used on it.
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
    """Count for the method, settings and backbone on stdin; exit code 2, with one line, on a user's mistake."""
    request = json.loads(sys.stdin.read())
    try:
        counts = counts_on_meta(method_config(request["method"]).from_dict(request["settings"]), request["backbone"])
    except DeptError as fault:
        print(f"error: {fault}", file=sys.stderr)
        return 2
    print(json.dumps(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
