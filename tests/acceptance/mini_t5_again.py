"""mini-t5's recipe from its seed once more, beside the model that is shipped."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import dept
from dept.basics.files import read_json
from dept.errors import RunError
from lab.pretrain.loop import PretrainConfig, pretrain
from tests.acceptance.section import Outcome, Section, table

SHIPPED = Path(dept.__file__).parent / "backbones" / "embedded" / "mini_t5"
AGAIN = Path(__file__).resolve().parents[2] / "runs" / "mini-t5-again"  # goes on where it was stopped
# Points: two standard errors of the difference of two means over 37 scores of 192 rows, three of that of two scores.
MEAN_APART, ONE_APART = 1.7, 15.0


def measure() -> Outcome:
    config, shipped = PretrainConfig(), read_json(SHIPPED / "training.json")
    if not (AGAIN / "model").is_dir():
        threads = torch.get_num_threads()
        torch.set_num_threads(shipped["threads"])
        try:
            pretrain(AGAIN, config, resume=(AGAIN / "config.json").exists())
        finally:
            torch.set_num_threads(threads)
    if read_json(AGAIN / "config.json") != dataclasses.asdict(config):
        raise RunError(f"{AGAIN} has a run with other settings than the recipe's: remove it")
    again = read_json(AGAIN / "model" / "training.json")
    weights, others = (load_file(folder / "model.safetensors") for folder in (SHIPPED, AGAIN / "model"))
    same = sum(name in others and torch.equal(tensor, others[name]) for name, tensor in weights.items())
    is_same = weights.keys() == others.keys() and same == len(weights)
    text = (
        f"`dept-lab pretrain-mini`, seed {again['seed']}: {config.steps:,} steps and {config.noisy_steps:,} with "
        f"noise, {again['examples']:,} examples, {again['minutes']:.0f} minutes (threads: {again['threads']}), torch "
        f"{again['torch']}, commit {again['commit']}. {same} of {len(weights)} tensors are those of the shipped file "
        "to the last bit."
    )
    if is_same:
        return Outcome(True, text)
    compared, within = scores(shipped["scores"], again["scores"])
    return Outcome(within, f"{text}\n\n{compared}")


def scores(shipped: dict[str, Any], again: dict[str, Any]) -> tuple[str, bool]:
    """Per cent of right targets of both, as their cards have them, and whether they are within noise."""
    mean = statistics.mean(again.values()) - statistics.mean(shipped.values())
    one = max(abs(again[name] - score) for name, score in shipped.items())
    rows = [[name, f"{score:.1f}", f"{again[name]:.1f}"] for name, score in shipped.items()]
    text = f"The mean score is {mean:+.2f} points away, a single one by up to {one:.1f}.\n\n"
    return text + table(["name", "shipped", "again"], rows), abs(mean) <= MEAN_APART and one <= ONE_APART


SECTION = Section(
    "mini_t5_again",
    "mini-t5 made again",
    f"the recipe, run again from its seed, gives a model within noise of the shipped one: the same weights, or the "
    f"mean of the card's scores within {MEAN_APART} points and every score within {ONE_APART:.0f}.",
    measure,
    by_name=True,
)
