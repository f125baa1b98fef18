"""What keeps a run's number from standing beside the paper's: where its data and backbone came from, its settings."""

from collections.abc import Mapping
from typing import Any

from dept.backbones.known import list_backbones
from dept.methods.budget import rank_for
from dept.metrics.captions import PLAIN_TOKENISER
from dept.tasks import load_task
from dept.tasks.registry import TASK_NAMES
from dept.tasks.splits import counts_from_hub
from lab.paper import numbers as paper

# Settings that the paper fixes, and what it has for them; a task's own values are added in `_other_settings`.
_FIXED = ("batch_size", "eval_every", "adam_epsilon", "weight_decay", "warmup_proportion")
_LOW_RANK_ALPHAS = (8.0, None)  # the release's, and Eq. 2 without a scale


def alias_of(backbone: str) -> str:
    """The short name of a hub id that has one, else the name as it is."""
    return next((info.name for info in list_backbones() if backbone in (info.name, info.hub_id)), backbone)


def paper_score(result: Mapping[str, Any]) -> paper.Score | None:
    """What the paper prints for a run's task, method and backbone: T5-base's number for any backbone but LLaMA-2."""
    task, method = result["task"], result["method"]
    own = paper.score(method, task, backbone=alias_of(result["backbone"]["name"]))
    return own or paper.score(method, task)


def marks(result: Mapping[str, Any]) -> tuple[str, ...]:
    """The reasons why a result is no reproduction of the paper's number; empty for one that is.

    Args:
        result: a run's result.json.

    Returns:
        Of these: sample data, folder data, package data, random backbone, embedded backbone, folder backbone, other
        backbone, random tower, embedded tower, other tower, plain tokeniser, own task, other rows, fewer steps, more
        steps, over budget, under budget, other budget, quantised backbone, and other <setting> for settings outside
        the paper's, such as other batch_size.
    """
    return (*_sources(result), *_rows(result), *_steps(result), *_budget(result), *_settings(result))


def _sources(result: Mapping[str, Any]) -> list[str]:
    """Of the rows and of the backbones' weights, and of what captions are scored with."""
    data, backbone = result["data"]["source"], result["backbone"]
    found = [] if data == "hub" else [f"{data} data"]
    printed = paper_score(result)
    expected = printed.backbone if printed is not None else paper.BACKBONE
    if backbone["source"] in ("random", "embedded", "folder"):
        found.append(f"{backbone['source']} backbone")
    elif alias_of(backbone["name"]) != expected:
        found.append("other backbone")
    tower = result.get("vision_backbone")
    if tower is not None:  # the paper's, a CLIP ResNet-101, is not to be had
        found.append(f"{tower['source']} tower" if tower["source"] in ("random", "embedded") else "other tower")
    if PLAIN_TOKENISER in result.get("notes", ()):
        found.append("plain tokeniser")
    return found


def _rows(result: Mapping[str, Any]) -> list[str]:
    if result["task"] not in TASK_NAMES:
        return ["own task"]
    if result["data"]["source"] != "hub":
        return []  # said already
    return [] if dict(result["data"]["rows"]) == counts_from_hub(load_task(result["task"])) else ["other rows"]


def _steps(result: Mapping[str, Any]) -> list[str]:
    if result["task"] not in TASK_NAMES:
        return []
    counts = paper.data_counts().get(result["task"])
    rows = counts.rows["train"] if counts is not None else result["data"]["rows"].get("train", 0)
    expected = paper.settings().steps(result["task"], rows)
    if result["steps"] == expected:
        return []
    return ["fewer steps" if result["steps"] < expected else "more steps"]


def _budget(result: Mapping[str, Any]) -> list[str]:
    found = ["over budget"] if result["over_budget"] else ["under budget"] if _could_have_more(result) else []
    if result["config"].get("budget_tokens") != paper.settings().budget_tokens:
        found.append("other budget")
    return found


def _could_have_more(result: Mapping[str, Any]) -> bool:
    """Whether a rank was asked for that leaves some of the budget: in the paper r follows from m (section 2.2)."""
    config, name, m = result["config"], alias_of(result["backbone"]["name"]), result["num_virtual_tokens"]
    widths = [info.hidden_size for info in list_backbones() if info.name == name]
    length, budget = config["max_seq_length"], config["budget_tokens"]
    if result["method"] != "dept" or not widths or length is None or not 0 <= m <= budget:
        return False
    return int(result["rank"]) < rank_for(m, widths[0], length, budget)


def _settings(result: Mapping[str, Any]) -> list[str]:
    found = ["quantised backbone"] if result["config"].get("quantize") else []
    return [*found, *(f"other {name}" for name in _other_settings(result))]


def _other_settings(result: Mapping[str, Any]) -> list[str]:
    """Settings outside the paper's fixed ones and its grid (Table 8); what the paper does not say is not compared."""
    config, table = result["config"], paper.settings()
    shipped = result["task"] in TASK_NAMES
    own_length = load_task(result["task"]).max_seq_length if shipped else table.max_seq_length
    allowed: dict[str, Any] = {
        **{name: (getattr(table, name),) for name in _FIXED},
        "adam_beta1": table.adam_betas[:1],
        "adam_beta2": table.adam_betas[1:],
        "max_seq_length": (table.max_seq_length, own_length),
        "prompt_lr": table.prompt_lr,
        "verbalizer": ("digits", None),
    }
    if result["method"] == "prompt_tuning":
        allowed["num_virtual_tokens"] = (table.budget_tokens,)
    if result["method"] == "dept":
        allowed |= {
            "num_virtual_tokens": table.num_virtual_tokens,
            "low_rank_lr": table.low_rank_lr,
            "low_rank_alpha": _LOW_RANK_ALPHAS,
        }
    return [name for name, values in allowed.items() if config.get(name) not in values]
