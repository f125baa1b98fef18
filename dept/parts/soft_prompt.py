"""DePT: Decomposed Prompt Tuning for Parameter-Efficient Fine-Tuning (Shi & Lipani, ICLR 2024).

https://arxiv.org/abs/2309.05173

The two trainable pieces and how they start. Making them is here; where they enter a backbone is `dept.model.adapted`.

Paper letters and our names: l `budget_tokens`, m `num_virtual_tokens`, r `rank`, s `max_seq_length`,
d `hidden_size`, A `low_rank_a`, B `low_rank_b`, alpha_1 `prompt_lr`, alpha_2 `low_rank_lr`.
Shapes in comments: B batch, M virtual tokens, L tokens, S max_seq_length, R rank, D hidden size.
"""

import math
from collections.abc import Sequence

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
