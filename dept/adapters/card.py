"""The model card (README.md) of an adapter folder: how to load it, what it costs, how it was made."""

import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from dept.adapters.config import AdapterInfo
from dept.adapters.files import HUB_ID
from dept.methods.budget import split_of
from dept.runs.settings import DeptConfig

PAPER = "https://arxiv.org/abs/2309.05173"
_NAMES = {"dept": "Decomposed prompt tuning (DePT)", "prompt_tuning": "Prompt tuning"}
_MADE_UP = {"sample": "generated rows that are not the benchmark"}
_STAND_INS = {
    "random": "random weights that were never trained",
    "embedded": "a small embedded model that stands in for a real backbone",
}


def write_card(info: AdapterInfo) -> str:
    """The card's Markdown, with the hub's YAML front matter; nothing in it that is not in the config."""
    task = str(info.task["name"]) if info.task else None
    backbone = info.backbone_name or "a backbone that was not named"
    matter: dict[str, Any] = {
        "library_name": "dept-lab" if info.method == "dept" else "peft",
        "tags": [
            "prompt-tuning",
            "parameter-efficient-fine-tuning",
            *(["dept"] if info.method == "dept" else []),
        ],
    }
    if task:
        matter["tags"].append(task)
    name = info.backbone_name or ""
    if HUB_ID.fullmatch(name) or re.fullmatch(r"[\w-]+", name):  # a folder or random:<alias> is no base model
        matter["base_model"] = name
    parts = [
        f"---\n{yaml.safe_dump(matter, sort_keys=True, allow_unicode=True)}---",
        f"# {_NAMES[info.method]} for {_code(backbone)}" + (f" on {_code(task)}" if task else ""),
        f"A prompt for a frozen backbone ([paper]({PAPER})); the backbone itself is not in this folder.",
        "## Loading",
        _loading(info),
        "## Method and budget",
        _table(_method_rows(info)),
    ]
    if info.task:
        parts += ["## Task", _task(info)]
    parts += ["## Scores and where they come from", _provenance(info.training)]
    return "\n\n".join(parts) + "\n"


def _code(value: object) -> str:
    return f"`{' '.join(str(value).replace('`', chr(39)).split())}`"


def _table(rows: list[tuple[str, object]]) -> str:
    lines = ["| | |", "|---|---|", *(f"| {name} | {_cell(value)} |" for name, value in rows)]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def _loading(info: AdapterInfo) -> str:
    name = repr(info.backbone_name or "the backbone")
    code = f"""```python
from dept import PromptedModel, load_backbone

backbone, tokenizer = load_backbone({name})
model = PromptedModel.from_pretrained(backbone, "this folder, or its hub id")
```"""
    if info.vision is not None:
        tower = repr(info.vision.name or "the image encoder")
        code = code.replace("```python\n", "```python\nfrom dept.backbones.towers import load_tower\n").replace(
            "\n```", f"\ntower = load_tower({tower})  # its features are the model's visual_features\n```"
        )
    elif info.method == "prompt_tuning":
        code += "\n\nIt is in PEFT's own format too: `peft.PeftModel.from_pretrained(backbone, folder)`."
    return code


def _method_rows(info: AdapterInfo) -> list[tuple[str, object]]:
    config = info.method_config
    rows: list[tuple[str, object]] = [
        ("method", config.method),
        ("num_virtual_tokens", config.num_virtual_tokens),
    ]
    if isinstance(config, DeptConfig):
        assert isinstance(config.rank, int)
        split = split_of(
            config.num_virtual_tokens,
            config.rank,
            info.hidden_size,
            config.max_seq_length,
            config.budget_tokens,
        )
        kept = "over the budget by" if split.over_budget else "left over"
        rows += [
            ("rank", config.rank),
            (
                "low_rank_alpha",
                "none (Eq. 2 unscaled)" if config.low_rank_alpha is None else config.low_rank_alpha,
            ),
            (
                "budget",
                f"{config.budget_tokens} x {info.hidden_size} parameters; {kept}: {abs(split.left_over):,}",
            ),
        ]
    sizes = {name: math.prod(shape) for name, shape in info.tensor_shapes().items()}
    rows.append(("trainable parameters", sum(sizes.values())))
    if info.vision is not None:
        visual = sizes["projection_weight"] + sizes["projection_bias"]
        rows += [
            ("of these, visual projection", visual),
            ("image encoder", _code(info.vision.name or "not named")),
            ("image encoder fingerprint", _code((info.vision.fingerprint or "")[:16])),
        ]
    if info.max_seq_length is not None:
        rows += [
            ("max_seq_length", info.max_seq_length),
            ("input length at most", config.num_virtual_tokens + info.max_seq_length),
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
    told = []
    for part, pretenders in (("data", _MADE_UP), ("backbone", _STAND_INS)):
        if pretence := pretenders.get(_source(training, part)):
            told.append(f"**No result on the benchmark** ({part}: {pretence}).")
    if not _source(training, "data"):
        told.append("Where the rows came from was not recorded.")
    return "\n\n".join([*told, _table(_flat(training))])


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
