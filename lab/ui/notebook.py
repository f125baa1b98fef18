"""The Train tab's settings as a notebook that papermill can run: parameters, one call, the curves."""

from collections.abc import Mapping
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

_TITLE = "# {method} on {task}, {backbone}\n\nSettings from the DePT Lab page. `papermill` can change any of them."
_TRAIN = """from dept.config import TrainConfig
from dept.train import train

settings = {{
{lines}
}}
result = train(TrainConfig.from_dict(settings))
result["metrics"]"""
_CURVES = """from lab.figures import curves
from lab.runs import read_run

curves([read_run(output_dir)], "train", "loss", "Training loss", "nats per target token", smooth=10)"""


def as_notebook(settings: Mapping[str, Any]) -> str:
    """A notebook's JSON.

    Args:
        settings: names of `TrainConfig` -> plain values.
    """
    parameters = new_code_cell("\n".join(f"{name} = {value!r}" for name, value in settings.items()))
    parameters.metadata["tags"] = ["parameters"]
    lines = "\n".join(f'    "{name}": {name},' for name in settings)
    notebook = new_notebook(
        cells=[
            new_markdown_cell(_TITLE.format(**settings)),
            parameters,
            new_code_cell(_TRAIN.format(lines=lines)),
            new_code_cell(_CURVES),
        ],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
    )
    nbformat.validate(notebook)
    text: str = nbformat.writes(notebook)
    return text
