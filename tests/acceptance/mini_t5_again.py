"""mini-t5's recipe from its seed once more, beside the model that is shipped."""

from __future__ import annotations

import statistics
from pathlib import Path

import torch
from safetensors.torch import load_file

import dept
from dept.run import read_json, read_metrics
from lab.pretrain.loop import PretrainConfig, pretrain
from tests.acceptance.section import Outcome, Section, table

SHIPPED = Path(dept.__file__).parent / "mini_t5"
AGAIN = Path(__file__).resolve().parents[2] / "runs" / "mini-t5-again"  # goes on where it was stopped
MOST_APART = 3.0  # points, of the mean over all names; a score of 192 rows has a standard error of up to 3.6


def measure() -> Outcome:
    made = read_json(SHIPPED / "training.json")
    if not (AGAIN / "model").is_dir():
        threads = torch.get_num_threads()
        torch.set_num_threads(made["threads"])
        try:
            pretrain(AGAIN, PretrainConfig(), resume=(AGAIN / "config.json").exists())
        finally:
            torch.set_num_threads(threads)
    again = read_json(AGAIN / "model" / "training.json")
    weights, others = (load_file(folder / "model.safetensors") for folder in (SHIPPED, AGAIN / "model"))
    same = [name for name in weights if torch.equal(weights[name], others[name])]
    furthest = max((weights[name].float() - others[name].float()).abs().max().item() for name in weights)
    scores, scores_again = made["scores"], again["scores"]
    apart = statistics.mean(scores_again.values()) - statistics.mean(scores.values())
    steps = read_metrics(AGAIN / "metrics.jsonl")[-1]["step"]
    text = (
        f"`dept-lab pretrain-mini --seed {again['seed']}`, {steps:,} steps, {again['examples']:,} examples, "
        f"{again['minutes']:.0f} minutes on {again['threads']} thread(s), torch {again['torch']}. {len(same)} of "
        f"{len(weights)} tensors are the same to the last bit; the greatest difference of a weight is {furthest:.2g}. "
        f"The mean of the {len(scores)} scores on the card is {apart:+.2f} points away from the shipped model's.\n\n"
    )
    rows = [[name, f"{score:.1f}", f"{scores_again[name]:.1f}"] for name, score in scores.items()]
    return Outcome(abs(apart) <= MOST_APART, text + table(["name", "shipped", "again"], rows))


SECTION = Section(
    "mini_t5_again",
    "mini-t5 made again",
    f"the recipe, run again from its seed, gives a model within noise of the shipped one: {MOST_APART:g} points of "
    "the mean score.",
    measure,
    by_name=True,
)
