"""The two trainable pieces and how they start."""

import math

import pytest
import torch

from dept.backbones.embeddings import word_embeddings
from dept.parts.contract import Inputs, Route
from dept.parts.low_rank_update import LowRankUpdate
from dept.parts.soft_prompt import SoftPrompt, prompt_at_random, prompt_from_text, prompt_from_vocabulary
from tests.dept.tiny_models import HIDDEN_SIZE, backbone


def test_soft_prompt_stands_before_each_row_in_its_dtype_and_is_a_copy() -> None:
    frozen = backbone("t5").bfloat16()
    prompt = SoftPrompt(4, HIDDEN_SIZE, "vocabulary")
    prompt.initialise(frozen, None)
    assert prompt.prompt_embeddings.dtype == torch.float32
    embeds = torch.randn(3, 5, HIDDEN_SIZE, dtype=torch.bfloat16)
    mask = torch.ones(3, 5, dtype=torch.long)
    inputs = prompt.embed(Inputs(embeds, mask, mask), Route())
    assert torch.equal(inputs.embeds[:, 4:], embeds)
    assert torch.equal(inputs.embeds[:, :4], prompt.prompt_embeddings.bfloat16().expand(3, 4, HIDDEN_SIZE))
    assert inputs.mask.sum() == 3 * 9 and inputs.source[:, :4].sum() == 0
    rows = word_embeddings(frozen).float()
    assert all((row == rows).all(1).any() for row in prompt.prompt_embeddings)
    with torch.no_grad():
        prompt.prompt_embeddings.zero_()
    assert word_embeddings(frozen).abs().sum() > 0


@pytest.mark.parametrize(("alpha", "scale"), [(8.0, 8 / math.sqrt(6)), (None, 1.0), (2.0, 2 / math.sqrt(6))])
def test_update_is_the_scaled_product(alpha: float | None, scale: float) -> None:
    update = LowRankUpdate(10, 6, 16, alpha=alpha)
    assert update.low_rank_a.shape == (10, 6) and update.low_rank_b.shape == (6, 16)
    torch.nn.init.normal_(update.low_rank_a)
    torch.nn.init.normal_(update.low_rank_b)
    torch.testing.assert_close(update(10), scale * update.low_rank_a @ update.low_rank_b)
    torch.testing.assert_close(update(3), update(10)[:3])


@pytest.mark.parametrize("init", ["kaiming", "gaussian"])
def test_update_starts_at_zero_with_a_drawn_as_said(init: str) -> None:
    torch.manual_seed(0)
    update = LowRankUpdate(400, 25, 16, init=init)  # type: ignore[arg-type]
    update.initialise(backbone("t5"), None)
    assert not update(400).any()
    a = update.low_rank_a.detach()
    if init == "kaiming":  # uniform within sqrt(6 / ((1 + 5) * fan_in)), fan_in = rank
        assert a.abs().max() <= 1 / math.sqrt(25)
        assert a.std().item() == pytest.approx(1 / math.sqrt(25) / math.sqrt(3), rel=0.03)
    else:
        assert a.std().item() == pytest.approx(1 / 25, rel=0.03)
        assert a.abs().max() > 3 / 25  # unbounded, unlike a uniform draw


def test_vocabulary_start_samples_the_top_without_special_tokens_or_repeats() -> None:
    embeddings = torch.arange(7000.0)[:, None].repeat(1, 2)
    special = [0, 1, 4999, -1, 32_000]
    ids = [int(row[0]) for row in prompt_from_vocabulary(embeddings, 4900, special)]
    assert len(set(ids)) == 4900 and max(ids) < 5000
    assert not set(ids) & set(special)
    assert sorted(int(row[0]) for row in prompt_from_vocabulary(embeddings[:5], 7, [0])) in [
        sorted([*(1, 2, 3, 4), *three]) for three in ((1, 2, 3), (1, 2, 4), (1, 3, 4), (2, 3, 4))
    ]
    assert prompt_from_vocabulary(embeddings, 3).shape == (3, 2)


def test_vocabulary_start_does_not_touch_the_embeddings() -> None:
    embeddings = torch.randn(50, 4)
    before = embeddings.clone()
    prompt_from_vocabulary(embeddings, 5).zero_()
    prompt_from_text(embeddings, [3], 5).zero_()
    assert torch.equal(embeddings, before)


def test_text_start_repeats_or_cuts_the_text() -> None:
    embeddings = torch.arange(20.0)[:, None]
    assert prompt_from_text(embeddings, [5, 6, 7], 7).flatten().tolist() == [5, 6, 7, 5, 6, 7, 5]
    assert prompt_from_text(embeddings, [5, 6, 7], 2).flatten().tolist() == [5, 6]


def test_random_start_has_the_embeddings_mean_and_spread() -> None:
    torch.manual_seed(0)
    drawn = prompt_at_random(3 + 0.5 * torch.randn(2000, 32), 500)
    assert drawn.shape == (500, 32)
    assert drawn.mean().item() == pytest.approx(3, abs=0.02)
    assert drawn.std().item() == pytest.approx(0.5, rel=0.03)


def test_starts_follow_torch_s_seed() -> None:
    embeddings = torch.randn(50, 4)
    for draw in (prompt_from_vocabulary, prompt_at_random):
        torch.manual_seed(7)
        first = draw(embeddings, 6)
        torch.manual_seed(7)
        assert torch.equal(first, draw(embeddings, 6))
        assert not torch.equal(first, draw(embeddings, 6))
