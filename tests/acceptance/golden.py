"""The largest differences from the authors' release on its golden files."""

from __future__ import annotations

from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from dept import PromptedModel
from tests.acceptance.section import Outcome, Section, shared, table

_GRADIENTS = {"prompt_embeddings": "grad_prompt", "low_rank_a": "grad_A", "low_rank_b": "grad_B"}


def measure() -> Outcome:
    rows, passed = [], True
    for folder in sorted((shared() / "golden").iterdir()):
        config = AutoConfig.from_pretrained(folder)
        kind: Any = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        backbone = kind.from_config(config)
        backbone.load_state_dict(load_file(folder / "backbone.safetensors"), strict=False)
        backbone.tie_weights()
        model = PromptedModel.from_pretrained(backbone, folder / "adapter").eval()
        numbers = load_file(folder / "golden.safetensors")
        output = model(**{name: numbers[name] for name in ("input_ids", "attention_mask", "labels")})
        output.loss.backward()
        differences = [
            (output.logits - numbers["logits"]).abs().max().item(),
            (output.loss - numbers["loss"].squeeze()).abs().item(),
        ]
        for name, golden in _GRADIENTS.items():
            tensor = model.adapter_tensors().get(name)
            if tensor is not None and tensor.grad is not None:
                differences.append((tensor.grad - numbers[golden]).abs().max().item())
        generated = "-"
        if "generated" in numbers:
            tokens = model.generate(
                input_ids=numbers["input_ids"],
                attention_mask=numbers["attention_mask"],
                max_new_tokens=numbers["generated"].shape[1] - 1,
                do_sample=False,
            )
            generated = "the same" if torch.equal(tokens, numbers["generated"]) else "DIFFERENT"
        passed = passed and max(differences) <= 1e-5 and generated != "DIFFERENT"
        missing = ["-"] * (5 - len(differences))  # prompt tuning has no A and B
        rows.append([folder.name, *(f"{value:.1e}" for value in differences), *missing, generated])
    header = ["golden file", "logits", "loss", "prompt's gradient", "A's", "B's", "generated tokens"]
    return Outcome(passed, "Largest absolute difference from the authors' release:\n\n" + table(header, rows))


SECTION = Section(
    "golden",
    "The authors' release, number by number",
    "logits, loss and gradients to 1e-5, the same generated tokens (T5).",
    measure,
)
