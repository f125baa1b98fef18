"""Parameter-efficient methods for frozen transformers models: DePT (Shi & Lipani, ICLR 2024) and those beside it.

Names are imported when first used, so that `import dept` stays cheap (PEP 562).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dept.backbones.known import list_backbones
    from dept.backbones.load import backbone_info, load_backbone
    from dept.backbones.towers import load_tower
    from dept.errors import DeptError
    from dept.evaluation.load_run import evaluate_run, load_run, predict_texts
    from dept.evaluation.predictor import Evaluation, Prediction
    from dept.methods.budget import budget_table, rank_for
    from dept.methods.dept import DeptConfig
    from dept.methods.prompt_tuning import PromptTuningConfig
    from dept.methods.registry import method_config, method_names
    from dept.prompted import PromptedModel, get_prompted_model
    from dept.runs.settings import TrainConfig
    from dept.tasks import list_tasks, load_task
    from dept.training.loop import train
    from dept.training.optim import build_groups, build_optimizer

_HOMES = {
    "backbone_info": "dept.backbones.load",
    "list_backbones": "dept.backbones.known",
    "load_backbone": "dept.backbones.load",
    "budget_table": "dept.methods.budget",
    "rank_for": "dept.methods.budget",
    "DeptConfig": "dept.methods.dept",
    "PromptTuningConfig": "dept.methods.prompt_tuning",
    "TrainConfig": "dept.runs.settings",
    "DeptError": "dept.errors",
    "Evaluation": "dept.evaluation.predictor",
    "Prediction": "dept.evaluation.predictor",
    "evaluate_run": "dept.evaluation.load_run",
    "load_run": "dept.evaluation.load_run",
    "predict_texts": "dept.evaluation.load_run",
    "PromptedModel": "dept.prompted",
    "get_prompted_model": "dept.prompted",
    "build_groups": "dept.training.optim",
    "build_optimizer": "dept.training.optim",
    "load_tower": "dept.backbones.towers",
    "method_config": "dept.methods.registry",
    "method_names": "dept.methods.registry",
    "train": "dept.training.loop",
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
    "build_groups",
    "build_optimizer",
    "evaluate_run",
    "get_prompted_model",
    "list_backbones",
    "list_tasks",
    "load_backbone",
    "load_run",
    "load_task",
    "load_tower",
    "method_config",
    "method_names",
    "predict_texts",
    "rank_for",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dept' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
