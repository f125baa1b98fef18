"""The extras of the package: libraries that some uses need, and one line for those who lack them."""

import importlib.util
from typing import Literal

from dept.errors import ConfigError

# Module -> the package that brings it. The other extras are checked where they are used.
_MODULES = {
    "lab": {"gradio": "gradio", "nbformat": "nbformat", "papermill": "papermill", "plotly": "plotly"},
    "vision": {"PIL": "pillow", "pycocoevalcap": "pycocoevalcap"},
}


def check_extra(extra: Literal["lab", "vision"], use: str) -> None:
    """Check that the libraries of an extra are installed; none is imported.

    Args:
        use: what needs them, for the message.

    Raises:
        ConfigError: some are missing; one line says what to install.
    """
    missing = [package for module, package in _MODULES[extra].items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ConfigError(f"{use} needs {', '.join(missing)}: pip install 'dept-lab[{extra}]'")
