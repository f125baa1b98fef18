"""The low-rank update of the frozen word embeddings, scale * (A @ B) (paper 2.2, Eq. 2).

Shapes in comments: B batch, L tokens, S max_seq_length, R rank, D hidden size.
"""

import math
from typing import Literal, Self

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dept.parts.contract import TOKENS, Inputs, Part, Route


class LowRankUpdate(Part):
    """Row i of scale * (A @ B) is added to the i-th source token.

    With `alpha` None the scale is 1 (Eq. 2 as printed), otherwise alpha / sqrt(rank) (the authors' release, alpha 8).

    Args:
        max_seq_length: S, rows of the update.
        rank: R, at least 1.
        hidden_size: D.
        alpha: numerator of the scale, or None.
        init: "kaiming" (uniform, the release) or "gaussian" (the paper, following LoRA); B starts at zero,
            so the update is zero when training starts.
    """

    key = "low_rank_update"
    order = TOKENS

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
        self.low_rank_a = nn.Parameter(torch.zeros(max_seq_length, rank))  # [S, R]
        self.low_rank_b = nn.Parameter(torch.zeros(rank, hidden_size))  # [R, D]
        self._init = init
        self._product: tuple[Tensor, Tensor, Tensor] | None = None  # A and B as they were, and scale * A @ B

    def tensors(self) -> dict[str, dict[str, nn.Parameter]]:
        return {"low_rank": {"low_rank_a": self.low_rank_a, "low_rank_b": self.low_rank_b}}

    def initialise(self, backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> None:
        # Drawn on the CPU, for the same start on any device.
        start = torch.empty(self.low_rank_a.shape)
        if self._init == "kaiming":
            nn.init.kaiming_uniform_(start, a=math.sqrt(5))
        else:
            nn.init.normal_(start, std=1 / start.shape[1])
        with torch.no_grad():
            self.low_rank_a.copy_(start)

    @property
    def max_source_tokens(self) -> int:
        return self.low_rank_a.shape[0]

    def embed(self, inputs: Inputs, route: Route) -> Inputs:
        """Row i of the update for the i-th source token, zero for the others.

        Raises:
            ValueError: more source tokens than there are rows.
        """
        source, most = inputs.source, self.max_source_tokens
        length = source.shape[1]
        if length > most and int(source.sum(1).max()) > most:
            raise ValueError(
                f"an input has {int(source.sum(1).max())} source tokens, the update has rows for {most} "
                "(max_seq_length): truncate the source"
            )
        num_rows = min(length, most)
        table = F.pad(self(num_rows), (0, 0, 0, 1))  # [num_rows + 1, D], the last row zero
        row = torch.where(source.bool(), source.cumsum(1) - 1, num_rows)  # [B, L]
        return inputs._replace(embeds=(inputs.embeds + F.embedding(row, table)).to(inputs.embeds.dtype))

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
