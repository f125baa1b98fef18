"""DePT: Decomposed Prompt Tuning for Parameter-Efficient Fine-Tuning (Shi & Lipani, ICLR 2024).

https://arxiv.org/abs/2309.05173

The two trainable pieces and how they start. Making them is here; where they enter a backbone is `dept.model`.

Paper letters and our names: l `budget_tokens`, m `num_virtual_tokens`, r `rank`, s `max_seq_length`,
d `hidden_size`, A `low_rank_a`, B `low_rank_b`, alpha_1 `prompt_lr`, alpha_2 `low_rank_lr`.
Shapes in comments: B batch, M virtual tokens, L tokens, S max_seq_length, R rank, D hidden size.
"""

import math
from collections.abc import Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

TOP_VOCABULARY = 5000  # Lester et al. (2021) sample from the 5,000 most common tokens: the lowest ids


class SoftPrompt(nn.Module):
    """P (paper 2.1) or P_s (2.2): trainable vectors that stand before the input.

    Args:
        prompt_embeddings: the initial vectors, [M, D]; kept in float32 whatever the backbone's dtype.
    """

    def __init__(self, prompt_embeddings: Tensor) -> None:
        super().__init__()
        self.prompt_embeddings = nn.Parameter(prompt_embeddings.detach().float().clone())  # [M, D]

    def forward(self, batch_size: int) -> Tensor:
        """The prompt for every row of a batch, [B, M, D]."""
        return self.prompt_embeddings.expand(batch_size, -1, -1)


class LowRankUpdate(nn.Module):
    """The update of the frozen word embeddings, scale * (A @ B) (paper 2.2, Eq. 2).

    Row i belongs to the i-th source token. With `alpha` None the scale is 1 (Eq. 2 as printed), otherwise
    alpha / sqrt(rank) (the authors' release, alpha 8).

    Args:
        max_seq_length: S, rows of the update.
        rank: R, at least 1.
        hidden_size: D.
        alpha: numerator of the scale, or None.
        init: "kaiming" (uniform, the release) or "gaussian" (the paper, following LoRA); B starts at zero,
            so the update is zero when training starts.
    """

    def __init__(
        self,
        max_seq_length: int,
        rank: int,
        hidden_size: int,
        *,
        alpha: float | None = 8.0,
        init: Literal["kaiming", "gaussian"] = "kaiming",
    ) -> None:
        super().__init__()
        self.scale = 1.0 if alpha is None else alpha / math.sqrt(rank)
        self.low_rank_a = nn.Parameter(torch.empty(max_seq_length, rank))  # [S, R]
        self.low_rank_b = nn.Parameter(torch.zeros(rank, hidden_size))  # [R, D]
        self._product: tuple[Tensor, Tensor, Tensor] | None = None  # A and B as they were, and scale * A @ B
        if init == "kaiming":
            nn.init.kaiming_uniform_(self.low_rank_a, a=math.sqrt(5))
        else:
            nn.init.normal_(self.low_rank_a, std=1 / rank)

    @property
    def max_seq_length(self) -> int:
        return self.low_rank_a.shape[0]

    def forward(self, num_rows: int) -> Tensor:
        """The first rows of the update, [num_rows, D]: no batch needs more than its longest source has."""
        if self.training or torch.is_grad_enabled():
            return self.scale * (self.low_rank_a[:num_rows] @ self.low_rank_b)
        return self._cached_product()[:num_rows]

    def train(self, mode: bool = True) -> Self:
        """As in torch; training drops the cached product."""
        if mode:
            self._product = None
        return super().train(mode)

    def _cached_product(self) -> Tensor:
        """All rows, [S, D], multiplied once for as long as A and B stay what they are."""
        a, b = self.low_rank_a.detach(), self.low_rank_b.detach()
        if self._product is not None:
            then_a, then_b, product = self._product
            if then_a.device == a.device and torch.equal(then_a, a) and torch.equal(then_b, b):
                return product
        self._product = (a.clone(), b.clone(), self.scale * (a @ b))
        return self._product[2]


def prompt_from_vocabulary(embeddings: Tensor, num_virtual_tokens: int, special_ids: Sequence[int] = ()) -> Tensor:
    """Word embeddings sampled from the top of the vocabulary (paper 2.1; Lester et al., 2021).

    Args:
        embeddings: the backbone's word embeddings, [V, D].
        num_virtual_tokens: M; sampled without repeats while the vocabulary is large enough.
        special_ids: ids never sampled (padding, end of text).

    Returns:
        [M, D], a copy.
    """
    allowed = torch.ones(min(TOP_VOCABULARY, len(embeddings)), dtype=torch.bool)
    allowed[[i for i in special_ids if 0 <= i < len(allowed)]] = False
    candidates = allowed.nonzero().squeeze(1)
    repeats = math.ceil(num_virtual_tokens / len(candidates))
    order = torch.cat([torch.randperm(len(candidates)) for _ in range(repeats)])[:num_virtual_tokens]
    return embeddings[candidates[order].to(embeddings.device)].clone()


def prompt_from_text(embeddings: Tensor, token_ids: Sequence[int], num_virtual_tokens: int) -> Tensor:
    """Word embeddings of a text, repeated or cut to the prompt's length (the authors' release), [M, D].

    Args:
        embeddings: [V, D].
        token_ids: the text's tokens without special ones, at least one.
    """
    ids = [token_ids[i % len(token_ids)] for i in range(num_virtual_tokens)]
    return embeddings[torch.tensor(ids, dtype=torch.long, device=embeddings.device)].clone()


def prompt_at_random(embeddings: Tensor, num_virtual_tokens: int) -> Tensor:
    """Gaussian vectors with the mean and spread of the backbone's word embeddings [V, D]: [M, D]."""
    top = embeddings[:TOP_VOCABULARY].float()
    noise = torch.randn(num_virtual_tokens, embeddings.shape[1]).to(top.device)
    return top.mean() + top.std() * noise
