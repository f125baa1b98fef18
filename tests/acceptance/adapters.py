"""An adapter that the authors released, on T5-base's shape, there and back."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file

from dept import PromptedModel, load_backbone
from tests.acceptance.section import Outcome, Section, shared


def measure() -> Outcome:
    backbone, _ = load_backbone("random:t5-base")
    released = shared() / "reference_checkpoints" / "cola"
    model = PromptedModel.from_pretrained(backbone, released)
    original = torch.load(released / "adapter_model.bin", map_location="cpu", weights_only=True)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(Path(folder) / "adapter")
        again = PromptedModel.from_pretrained(backbone, Path(folder) / "adapter")
        saved = load_file(Path(folder) / "adapter" / "adapter_model.safetensors")
    pairs = {
        "prompt_embeddings": "prompt_embeddings",
        "low_rank_a": "prompt_encoder.lora_embedding_A",
        "low_rank_b": "prompt_encoder.lora_embedding_B",
    }
    same = all(
        torch.equal(saved[ours], original[theirs]) and torch.equal(again.adapter_tensors()[ours], original[theirs])
        for ours, theirs in pairs.items()
    )
    shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in saved.items())
    return Outcome(
        same,
        f"`reference_checkpoints/cola` on `random:t5-base`: {shapes}; {model.trainable_parameters():,} parameters; "
        f"saved and loaded again {'bit-identical' if same else 'DIFFERENT'}.",
    )


SECTION = Section(
    "adapters",
    "A released adapter",
    "it loads onto `random:t5-base` and saves back losslessly.",
    measure,
)
