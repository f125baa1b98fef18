"""DePT: decomposed prompt tuning of frozen transformers models (Shi & Lipani, ICLR 2024).

Names are imported when first used, so that `import dept` stays cheap (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dept.backbones import backbone_info, list_backbones, load_backbone
    from dept.budget import budget_table, rank_for
    from dept.config import DeptConfig, PromptTuningConfig, TrainConfig
    from dept.errors import DeptError
    from dept.evaluate import Evaluation, Prediction
    from dept.inference import evaluate_run, load_run, predict_texts
    from dept.model import PromptedModel
    from dept.optim import build_optimizer
    from dept.tasks import list_tasks, load_task
    from dept.wrap import get_prompted_model

_HOMES = {
    "backbone_info": "dept.backbones",
    "list_backbones": "dept.backbones",
    "load_backbone": "dept.backbones",
    "budget_table": "dept.budget",
    "rank_for": "dept.budget",
    "DeptConfig": "dept.config",
    "PromptTuningConfig": "dept.config",
    "TrainConfig": "dept.config",
    "DeptError": "dept.errors",
    "Evaluation": "dept.evaluate",
    "Prediction": "dept.evaluate",
    "evaluate_run": "dept.inference",
    "load_run": "dept.inference",
    "predict_texts": "dept.inference",
    "PromptedModel": "dept.model",
    "get_prompted_model": "dept.wrap",
    "build_optimizer": "dept.optim",
    "list_tasks": "dept.tasks",
    "load_task": "dept.tasks",
}

__all__ = [
    "DeptConfig",
    "DeptError",
    "Evaluation",
    "Prediction",
    "PromptTuningConfig",
    "PromptedModel",
    "TrainConfig",
    "backbone_info",
    "budget_table",
    "build_optimizer",
    "evaluate_run",
    "get_prompted_model",
    "list_backbones",
    "list_tasks",
    "load_backbone",
    "load_run",
    "load_task",
    "predict_texts",
    "rank_for",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dept' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
