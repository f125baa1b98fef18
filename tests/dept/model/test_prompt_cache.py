"""Cached prompts give what the plain path gives, only in eval mode without gradients, and never outlive a change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from dept import PromptedModel
from dept.evaluation.label_scoring import LabelTrie, score_labels
from dept.model.prompt_cache import PromptCache
from tests.dept.tiny_models import DECODER_ONLY, EOS, KINDS, VOCABULARY, prompted

LABELS = LabelTrie([[5, 7, EOS], [5, 8, EOS], [9, EOS]])


def batch(seed: int, width: int = 7, rows: int = 4) -> tuple[Tensor, Tensor]:
    """Rows of 1 to `width` tokens, padded on the left."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, VOCABULARY, (rows, width), generator=generator)
    lengths = torch.tensor([1 + (seed + row * 3) % width for row in range(rows)])
    return ids, (torch.arange(width) >= width - lengths[:, None]).long()


@contextmanager
def plain(model: PromptedModel) -> Iterator[None]:
    model.cache_prompt = False
    yield
    model.cache_prompt = True


def last_logits(model: PromptedModel, ids: Tensor, mask: Tensor) -> Tensor:
    extra = {"decoder_input_ids": torch.zeros(len(ids), 2, dtype=torch.long)} if model.is_encoder_decoder else {}
    return model(input_ids=ids, attention_mask=mask, logits_to_keep=2, **extra).logits


@pytest.mark.parametrize("kind", KINDS)
def test_forward_scores_and_generation_equal_the_plain_path(kind: str) -> None:
    model = prompted(kind).eval()
    for seed in range(4):  # one cache, several batches: each works on a copy of its own
        ids, mask = batch(seed)
        with torch.no_grad():
            cached = last_logits(model, ids, mask)
            chosen, probabilities = score_labels(model, LABELS, ids, mask)
            tokens = model.generate(ids, mask, max_new_tokens=5, do_sample=False)
            with plain(model):
                torch.testing.assert_close(cached, last_logits(model, ids, mask), rtol=0, atol=1e-5)
                other = score_labels(model, LABELS, ids, mask)
                assert torch.equal(tokens, model.generate(ids, mask, max_new_tokens=5, do_sample=False))
        assert chosen.tolist() == other[0].tolist()
        torch.testing.assert_close(probabilities, other[1], rtol=0, atol=1e-5)
    assert (model._prompt_cache is not None) == (kind in DECODER_ONLY)


@pytest.mark.parametrize("kind", DECODER_ONLY)
def test_the_prompt_is_run_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = PromptCache.__init__

    def count(self: PromptCache, backbone: PreTrainedModel, prompt: Tensor, *more: Any) -> None:
        made.append(len(prompt))
        original(self, backbone, prompt, *more)

    monkeypatch.setattr(PromptCache, "__init__", count)
    model = prompted(kind).eval()
    for seed in range(3):
        score_labels(model, LABELS, *batch(seed))
        model.generate(*batch(seed), max_new_tokens=2, do_sample=False)
    assert made == [model.num_virtual_tokens]


@pytest.mark.parametrize("change", ["data", "no_grad", "load_state_dict", "backbone", "optimiser"])
@pytest.mark.parametrize("kind", DECODER_ONLY)
def test_a_changed_parameter_drops_the_cache(kind: str, change: str) -> None:
    model = prompted(kind).eval()
    ids, mask = batch(1)
    with torch.no_grad():
        before = last_logits(model, ids, mask)
    prompt, b = model.soft_prompt.prompt_embeddings, model.low_rank_update.low_rank_b
    if change == "data":  # torch does not count these writes
        prompt.data.mul_(-2)
        b.data.add_(1)
    elif change == "no_grad":
        with torch.no_grad():
            prompt.mul_(-2)
            b.add_(1)
    elif change == "load_state_dict":
        model.load_state_dict({name: tensor * -2 + 0.5 for name, tensor in model.state_dict().items()})
    elif change == "backbone":
        with torch.no_grad():
            next(iter(model.backbone.parameters())).mul_(-1.5)
    else:
        optimiser = torch.optim.SGD([prompt, b], lr=5.0)
        model(input_ids=ids, attention_mask=mask, labels=ids).loss.backward()
        optimiser.step()
    with torch.no_grad():
        after = last_logits(model, ids, mask)
        with plain(model):
            torch.testing.assert_close(after, last_logits(model, ids, mask), rtol=0, atol=1e-5)
    assert not torch.allclose(before, after, atol=1e-3), "the change must show"


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_in_eval_mode_are_those_of_the_plain_path(kind: str) -> None:
    model = prompted(kind).eval()
    ids, mask = batch(2)
    with torch.no_grad():
        last_logits(model, ids, mask)  # fills the caches
    gradients = []
    for fresh in (model, prompted(kind).eval()):
        last_logits(fresh, ids, mask).square().sum().backward()
        gradients.append({name: tensor.grad for name, tensor in fresh.adapter_tensors().items()})
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradient.abs().max() > 0
        torch.testing.assert_close(gradient, gradients[1][name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", DECODER_ONLY)
def test_training_mode_uses_and_keeps_no_cache(kind: str) -> None:
    model = prompted(kind).eval()
    with torch.no_grad():
        last_logits(model, *batch(0))
        filled = model._prompt_cache
        last_logits(model.train(), *batch(0))
    assert filled is not None
    assert model._prompt_cache is None


@pytest.mark.parametrize("kind", ["t5", *DECODER_ONLY])
def test_label_scoring_projects_onto_the_labels_tokens_only(kind: str) -> None:
    model = prompted(kind).eval()
    head = model.backbone.get_output_embeddings()
    widths = []
    head.register_forward_hook(lambda module, args, output: widths.append(output.shape[-1]))
    score_labels(model, LABELS, *batch(3))
    assert widths == [], "the whole vocabulary was computed"
    assert model.backbone.get_output_embeddings() is head


def test_a_fault_inside_scoring_gives_the_head_back(monkeypatch: pytest.MonkeyPatch) -> None:
    model = prompted("gpt2").eval()
    head = model.backbone.get_output_embeddings()
    too_long = torch.zeros(1, 500, dtype=torch.long)
    with pytest.raises(ValueError, match="tokens"):
        score_labels(model, LABELS, too_long, torch.ones_like(too_long))
    assert model.backbone.get_output_embeddings() is head


@pytest.mark.parametrize("kind", DECODER_ONLY)
def test_beams_work_beside_a_cached_prompt(kind: str) -> None:
    model = prompted(kind).eval()
    ids, mask = batch(1)
    with torch.no_grad():
        last_logits(model, ids, mask)
        beams = model.generate(ids, mask, max_new_tokens=4, num_beams=3, do_sample=False)
        with plain(model):
            assert torch.equal(beams, model.generate(ids, mask, max_new_tokens=4, num_beams=3, do_sample=False))
