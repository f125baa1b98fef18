"""The model card (README.md) of an adapter folder: how to load it, its sizes, how it was trained."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from dept.adapters.config import AdapterInfo
from dept.adapters.files import HUB_ID
from dept.methods.registry import groups

_MADE_UP = {"sample": "generated rows that are not the benchmark"}
_STAND_INS = {
    "random": "random weights that were never trained",
    "embedded": "a small embedded model that stands in for a real backbone",
}


def write_card(info: AdapterInfo, parts: Mapping[str, int], in_peft: bool) -> str:
    """The card's Markdown, with the hub's YAML front matter.

    Args:
        parts: trained parameters of each rate group.
        in_peft: whether PEFT can read the folder too.
    """
    task = str(info.task["name"]) if info.task else None
    backbone = info.backbone_name or "a backbone that was not named"
    matter: dict[str, Any] = {
        "library_name": "peft" if in_peft else "dept-lab",
        "tags": [
            *(["prompt-tuning"] if info.method_config.prompt_length else []),
            "parameter-efficient-fine-tuning",
            *([] if in_peft else [info.method]),
        ],
    }
    if task:
        matter["tags"].append(task)
    name = info.backbone_name or ""
    if HUB_ID.fullmatch(name) or re.fullmatch(r"[\w-]+", name):  # a folder or random:<alias> is no base model
        matter["base_model"] = name
    sections = [
        f"---\n{yaml.safe_dump(matter, sort_keys=True, allow_unicode=True)}---",
        f"# {info.method_config.title} for {_code(backbone)}" + (f" on {_code(task)}" if task else ""),
        f"{info.method_config.sentence} The backbone itself is not in this folder.",
        "## Loading",
        _loading(info, in_peft),
        "## Method",
        _table(_method_rows(info, parts)),
    ]
    if info.task:
        sections += ["## Task", _task(info)]
    sections += ["## Scores and where they come from", _provenance(info.training)]
    return "\n\n".join(sections) + "\n"


def _code(value: object) -> str:
    return f"`{' '.join(str(value).replace('`', chr(39)).split())}`"


def _table(rows: list[tuple[str, object]]) -> str:
    lines = ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows)]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def _loading(info: AdapterInfo, in_peft: bool) -> str:
    name = repr(info.backbone_name or "the backbone")
    code = f"""```python
from dept import PromptedModel, load_backbone

backbone, tokenizer = load_backbone({name})
model = PromptedModel.from_pretrained(backbone, "this folder, or its hub id")
```"""
    if info.vision is not None:
        tower = repr(info.vision.name or "the image encoder")
        code = code.replace("```python\n", "```python\nfrom dept import load_tower\n").replace(
            "\n```", f"\ntower = load_tower({tower})  # its features are the model's visual_features\n```"
        )
    elif in_peft:
        code += "\n\nIt is in PEFT's own format too: `peft.PeftModel.from_pretrained(backbone, folder)`."
    return code


def _method_rows(info: AdapterInfo, parts: Mapping[str, int]) -> list[tuple[str, object]]:
    config, facts = info.method_config, info.facts()
    rows: list[tuple[str, object]] = [("method", config.name), ("paper", config.paper)]
    rows += [
        (name, "none" if value is None else value)
        for name, value in config.to_dict().items()
        if name not in ("max_seq_length", "budget_tokens") and not name.startswith("prompt_init")
    ]
    l_tokens = config.to_dict().get("budget_tokens")
    split = config.budget(facts, l_tokens) if l_tokens else None
    if split is not None:
        kept = "over the budget by" if split.over_budget else "left over"
        rows.append(("budget", f"{l_tokens} x {info.hidden_size} parameters; {kept}: {abs(split.left_over):,}"))
    rows.append(("trainable parameters", sum(parts.values())))
    if len(parts) > 1:
        rows += [(f"of these, {groups()[name].title}", size) for name, size in parts.items()]
    if info.vision is not None:
        rows += [
            ("image encoder", _code(info.vision.name or "not named")),
            ("image encoder fingerprint", _code((info.vision.fingerprint or "")[:16])),
        ]
    if info.max_seq_length is not None:
        rows += [
            ("max_seq_length", info.max_seq_length),
            ("input length at most", config.prompt_length + info.max_seq_length),
        ]
    rows += [
        ("backbone", _code(info.backbone_name or "not named")),
        ("backbone fingerprint", _code((info.backbone_fingerprint or "")[:16])),
        ("tokenizer", _code(info.tokenizer_name or "the backbone's own")),
    ]
    return rows


def _task(info: AdapterInfo) -> str:
    assert info.task is not None
    rows: list[tuple[str, object]] = [
        ("task", _code(info.task["name"])),
        ("template", _code(info.task["template"])),
    ]
    if info.task.get("hub_id"):
        rows.append(("data set", _code(info.task["hub_id"])))
    texts = info.task.get("verbalizers", {}).get(info.verbalizer or "", ())
    if texts:
        rows.append(("label texts", ", ".join(_code(text) for text in texts)))
    return _table(rows)


def _provenance(training: Mapping[str, Any] | None) -> str:
    if not training:
        return "No training or score was recorded with this adapter."
    paragraphs = []
    for part, pretenders in (("data", _MADE_UP), ("backbone", _STAND_INS)):
        if pretence := pretenders.get(_source(training, part)):
            paragraphs.append(f"**No result on the benchmark** ({part}: {pretence}).")
    if not _source(training, "data"):
        paragraphs.append("Where the rows came from was not recorded.")
    return "\n\n".join([*paragraphs, _table(_flat(training))])


def _source(training: Mapping[str, Any], part: str) -> str:
    values = training.get(part)
    return str(values.get("source") or "") if isinstance(values, Mapping) else ""


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{before}{key}, ")
        elif value is not None:
            rows.append((_cell(f"{before}{key}"), f"{value:.6g}" if isinstance(value, float) else value))
    return rows
