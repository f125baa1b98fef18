"""Run folders, read back. Writing them is `dept.run`'s; nothing here changes a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dept.errors import RunError
from dept.run import RunFolder, read_json, read_metrics

METHOD_NAMES = {"dept": "DePT", "prompt_tuning": "PT"}


@dataclass(frozen=True)
class Run:
    """One run folder's content.

    Attributes:
        result: result.json, or None while the run has none.
        metrics: the lines of metrics.jsonl.
    """

    path: Path
    config: dict[str, Any]
    state: dict[str, Any]
    result: dict[str, Any] | None
    metrics: list[dict[str, Any]]

    @property
    def name(self) -> str:
        return METHOD_NAMES.get(self.config["method"], self.config["method"])

    def curve(self, split: str, value: str) -> tuple[list[int], list[float]]:
        """Steps and values of one split's line, for example ("train", "loss") or ("validation", "accuracy")."""
        steps, values = [], []
        for line in self.metrics:
            found = line.get(value, line.get("metrics", {}).get(value)) if line["split"] == split else None
            if found is not None:
                steps.append(line["step"])
                values.append(found)
        return steps, values


def read_run(path: str | Path) -> Run:
    """Read a run folder.

    Raises:
        RunError: no run folder, or a damaged one, by the file's name.
    """
    folder = RunFolder(path)
    state = read_json(folder.state_file) if folder.state_file.exists() else {}
    result = read_json(folder.result_file) if folder.result_file.exists() else None
    config = read_json(folder.config_file)
    if not isinstance(config, dict) or "method" not in config:
        raise RunError(f"{folder.config_file} does not hold a run's settings")
    return Run(folder.path, config, state, result, read_metrics(folder.metrics_file))
