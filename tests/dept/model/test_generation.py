"""Generation with a prompted model: new tokens get no update, padding changes nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dept import PromptedModel
from tests.dept.tiny_models import (
    DECODER_ONLY,
    KINDS,
    PAD,
    generate,
    padded,
    prompted,
    tokens,
)


def manual_greedy(model: PromptedModel, row: list[int], steps: int, *, update_new_tokens: bool = False) -> list[int]:
    """Greedy search by whole forward passes; new tokens are no source tokens."""
    new: list[int] = []
    for _ in range(steps):
        if model.is_encoder_decoder:
            start = torch.tensor([[model.generation_config.decoder_start_token_id, *new]])
            logits = model(input_ids=torch.tensor([row]), decoder_input_ids=start).logits
        else:
            source = torch.tensor([[1] * len(row) + [int(update_new_tokens)] * len(new)])
            logits = model(input_ids=torch.tensor([row + new]), source_mask=source).logits
        new.append(int(logits[0, -1].argmax()))
        if new[-1] == 1:
            break
    return new


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_generation_equals_a_loop_over_forward(kind: str) -> None:
    apart = 0
    for seed in range(4):
        model = prompted(kind, seed=seed, s=16)
        rows = [tokens(6, seed), tokens(3, seed + 50), tokens(8, seed + 100)]
        expected = [manual_greedy(model, row, 6) for row in rows]
        for side in ("left", "right"):
            found = generate(model, **padded(rows, side, to=10), max_new_tokens=6, do_sample=False)
            if model.is_encoder_decoder:
                assert (found[:, 0] == model.generation_config.decoder_start_token_id).all()
                found = found[:, 1:]
            assert found.shape[1] <= 6  # decoder-only: new tokens only
            for row, new in zip(found.tolist(), expected, strict=True):
                assert row == new + [PAD] * (len(row) - len(new))
        if not model.is_encoder_decoder:
            apart += sum(
                manual_greedy(model, row, 6, update_new_tokens=True) != new
                for row, new in zip(rows, expected, strict=True)
            )
    assert model.is_encoder_decoder or apart  # giving new tokens an update would have shown


@pytest.mark.parametrize("kind", DECODER_ONLY)
def test_generated_tokens_are_embedded_by_the_backbone_alone(kind: str) -> None:
    model = prompted(kind, s=5)
    model.cache_prompt = False  # so that the first step shows the prompt too
    fed: list[Tensor] = []
    body: Any = model.backbone.base_model
    decoder = getattr(body, "decoder", body)
    first_layer = (decoder.h if kind == "gpt2" else decoder.layers)[0]
    handle = first_layer.register_forward_pre_hook(
        lambda module, args, kwargs: fed.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    row = tokens(5)
    new = generate(
        model, input_ids=torch.tensor([row]), max_new_tokens=4, min_new_tokens=4, do_sample=False
    )  # as many as rows
    handle.remove()
    assert fed[0].shape[1] == 3 + 5 and all(step.shape[1] == 1 for step in fed[1:]) and len(fed) == 4
    plain: list[Tensor] = []
    first_layer.register_forward_pre_hook(
        lambda module, args, kwargs: plain.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    positions = torch.arange(8, 11)[None]
    with torch.no_grad():
        body(input_ids=new[:, :3], position_ids=positions, attention_mask=torch.ones(1, 3, dtype=torch.long))
    torch.testing.assert_close(torch.cat(fed[1:], 1), plain[0])


@pytest.mark.parametrize("kind", KINDS)
def test_sampling_and_beams(kind: str) -> None:
    model = prompted(kind)
    rows = [tokens(6, 1), tokens(3, 2)]
    arguments: dict[str, Any] = {"max_new_tokens": 5, "min_new_tokens": 5}
    sampling: dict[str, Any] = {"do_sample": True, "top_k": 0}
    beams: dict[str, Any] = {"do_sample": False, "num_beams": 3, "num_return_sequences": 2}
    for ways in (sampling, beams):
        outputs = []
        for side in ("left", "right"):
            torch.manual_seed(1)
            outputs.append(generate(model, **padded(rows, side, to=9), **arguments, **ways))
        assert torch.equal(*outputs)
        assert outputs[0].shape == (len(rows) * ways.get("num_return_sequences", 1), 5 + model.is_encoder_decoder)
    detailed = model.generate(
        **padded(rows), **arguments, do_sample=False, return_dict_in_generate=True, output_scores=True
    )
    assert not isinstance(detailed, Tensor) and len(detailed["scores"]) == 5
