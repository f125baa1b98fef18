"""Marks: the reasons why a run's result may not be compared with the paper's (other data, backbone or settings)."""

from collections.abc import Mapping
from typing import Any

from dept.backbones.known import list_backbones
from dept.errors import ConfigError
from dept.methods.contract import Facts, MethodConfig
from dept.methods.registry import BASELINE, DEFAULT_METHOD, method_config
from dept.metrics.captions import PLAIN_TOKENISER
from dept.tasks import load_task
from dept.tasks.registry import TASK_NAMES
from dept.tasks.splits import counts_from_hub
from lab.paper import numbers as paper

# Settings that the paper fixes for every method; a task's own values are added in `_other_settings`.
_FIXED = ("batch_size", "eval_every", "adam_epsilon", "weight_decay", "warmup_proportion")
_OWN_METHODS = (DEFAULT_METHOD, BASELINE)  # the methods that the paper trains itself, with the grid of Table 8
_RELEASED = {"low_rank_alpha": (8.0, None)}  # the released code's value, and Eq. 2 without a scale


def alias_of(backbone: str) -> str:
    """The short name of a backbone's hub id if there is one, else the name unchanged."""
    return next((info.name for info in list_backbones() if backbone in (info.name, info.hub_id)), backbone)


def paper_score(result: Mapping[str, Any]) -> paper.Score | None:
    """The paper's number for a run's task, method and backbone; where it has none for the backbone, T5-base's."""
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
    """Marks for the rows' source, the weights of backbone and image encoder, and the tokeniser of caption metrics."""
    data, backbone = result["data"]["source"], result["backbone"]
    reasons = [] if data == "hub" else [f"{data} data"]
    printed = paper_score(result)
    expected = printed.backbone if printed is not None else paper.BACKBONE
    if backbone["source"] in ("random", "embedded", "folder"):
        reasons.append(f"{backbone['source']} backbone")
    elif alias_of(backbone["name"]) != expected:
        reasons.append("other backbone")
    tower = result.get("vision_backbone")
    if tower is not None:  # always marked: the paper's, a CLIP ResNet-101, is not available
        reasons.append(f"{tower['source']} tower" if tower["source"] in ("random", "embedded") else "other tower")
    if PLAIN_TOKENISER in result.get("notes", ()):
        reasons.append("plain tokeniser")
    return reasons


def _rows(result: Mapping[str, Any]) -> list[str]:
    if result["task"] not in TASK_NAMES:
        return ["own task"]
    if result["data"]["source"] != "hub":
        return []  # `_sources` has marked it
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
    """Marks for how prompt tuning's budget was spent; none for a method whose size does not depend on it."""
    settings = result["config"]
    method = method_config(result["method"]).from_settings(settings)
    name, budget = alias_of(result["backbone"]["name"]), settings["budget_tokens"]
    width = next((info.hidden_size for info in list_backbones() if info.name == name), None)
    facts = Facts(hidden_size=width or 1, max_seq_length=settings["max_seq_length"] or 1)
    if method.budget(facts, budget) is None:
        return []
    under = width is not None and settings["max_seq_length"] is not None and _could_have_more(method, facts)
    reasons = ["over budget"] if result["over_budget"] else ["under budget"] if under else []
    return [*reasons, "other budget"] if budget != paper.settings().budget_tokens else reasons


def _could_have_more(method: MethodConfig, facts: Facts) -> bool:
    """Whether the run's rank is smaller than the budget allows: in the paper r follows from m (section 2.2)."""
    automatic = {name: "auto" for name, one in method.own_settings().items() if one.default == "auto"}
    try:
        largest = method.from_dict({**method.to_dict(), **automatic}).resolved(facts)
    except ConfigError:
        return False  # the prompt alone is larger than the budget
    return sum(method.counts(facts).values()) < sum(largest.counts(facts).values())


def _settings(result: Mapping[str, Any]) -> list[str]:
    quantised = ["quantised backbone"] if result["config"].get("quantize") else []
    return [*quantised, *(f"other {name}" for name in _other_settings(result))]


def _other_settings(result: Mapping[str, Any]) -> list[str]:
    """Settings outside the paper's fixed values and its grid (Table 8); what the paper does not state is left out."""
    config, table = result["config"], paper.settings()
    shipped = result["task"] in TASK_NAMES
    own_length = load_task(result["task"]).max_seq_length if shipped else table.max_seq_length
    allowed: dict[str, Any] = {
        **{name: (getattr(table, name),) for name in _FIXED},
        "adam_beta1": table.adam_betas[:1],
        "adam_beta2": table.adam_betas[1:],
        "max_seq_length": (table.max_seq_length, own_length),
        "verbalizer": ("digits", None),
    }
    if result["method"] in _OWN_METHODS:
        grid = {name: values for name, values in vars(table).items() if isinstance(values, tuple)} | _RELEASED
        allowed |= {name: grid[name] for name in method_config(result["method"]).setting_names() if name in grid}
    if result["method"] == BASELINE:
        allowed["num_virtual_tokens"] = (table.budget_tokens,)
    return [name for name, values in allowed.items() if config.get(name) not in values]
