"""A run as a notebook: `notebooks/task.ipynb` with the run's settings as its parameters."""

from collections.abc import Mapping
from typing import Any


def as_notebook(settings: Mapping[str, Any]) -> str:
    """`notebooks/task.ipynb` with these parameters, as papermill would execute it, as JSON.

    Args:
        settings: names of `TrainConfig`'s settings -> plain values.

    Raises:
        ConfigError: the notebook is missing.
    """
    import nbformat  # it and papermill are slow to import
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    from lab.jobs.notebook import declared
    from lab.reproduce.plan import NOTEBOOK, notebook_file

    source = notebook_file(NOTEBOOK)
    names = declared(source)
    named = {name: value for name, value in settings.items() if name in names}
    others = {name: value for name, value in settings.items() if name not in names}
    notebook = parameterize_notebook(load_notebook_node(str(source)), {**named, "settings": others})
    text: str = nbformat.writes(notebook)
    return text
