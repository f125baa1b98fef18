"""The low-rank update A·B of the frozen word embeddings (paper 2.2, Eq. 2)."""

import math
from typing import Literal, Self

import torch
from torch import Tensor, nn


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
