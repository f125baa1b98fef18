"""The key that identifies a run, and whether a finished run still lacks its test score."""

from collections.abc import Mapping
from typing import Any

from dept.basics.checked import without_new_defaults
from dept.basics.digest import json_digest
from dept.runs.settings import TrainConfig


def run_key(config: Mapping[str, Any], fingerprints: Mapping[str, str]) -> str:
    """The key of a run: a hash of its settings, task, data and backbone, but not of its folder."""
    known = without_new_defaults(TrainConfig, config)  # so that a version with more settings keeps older keys
    settings = {name: value for name, value in known.items() if name != "output_dir"}
    return json_digest({"config": settings, "fingerprints": dict(fingerprints)})[:16]


def is_untested(result: Mapping[str, Any]) -> bool:
    """Whether a run has test rows that its best adapter was never scored on."""
    return result["metrics"]["test"] is None and result["data"]["rows"].get("test", 0) > 0
