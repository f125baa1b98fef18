"""What a trained part is: its tensors, and where it acts. A method is a list of parts.

Shapes in comments: B batch, L tokens (what stands before them included, once it is there), D hidden size, P features
of an image, W their width, M virtual tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENS, IMAGE, PROMPT = 0, 1, 2  # the order in which parts see an input: its tokens, then what is put before them


class Route(NamedTuple):
    """Which adapter and which task each row of a batch has; None: the only one.

    Attributes:
        adapters, tasks: ids, [B].
    """

    adapters: Tensor | None = None
    tasks: Tensor | None = None

    @staticmethod
    def rows(ids: Tensor, count: int) -> Tensor:
        """The ids of `count` rows: beams and label prefixes repeat each row, one after the other."""
        return ids.repeat_interleave(count // len(ids))


class Inputs(NamedTuple):
    """What a backbone will read, on its way through the parts."""

    embeds: Tensor  # [B, L, D]
    mask: Tensor  # [B, L]
    source: Tensor  # [B, L], 1 on source tokens
    features: Tensor | None = None  # [B, P, W] of the rows' images


class Part(nn.Module):
    """Some trained tensors and what they do.

    A part is made without starting values; `initialise` draws them, loading puts them there. Its tensors are kept in
    float32 whatever the backbone's dtype. Inside the backbone it acts through hooks that `attach` sets once; a hook
    does nothing outside the model that the part belongs to (`dept.parts.acting`).

    Attributes:
        key: what the model calls the part; its tensors are `<key>.<name>` in the state dict.
        order: when it sees the input, of TOKENS, IMAGE and PROMPT.
        keeps_cache: whether generation may keep keys and values of earlier tokens.
        acts_inside: whether it has places in the backbone's layers, and its tensors lie on their devices.
    """

    key: str
    order: ClassVar[int] = TOKENS
    keeps_cache: ClassVar[bool] = True
    acts_inside: ClassVar[bool] = False

    def tensors(self) -> Mapping[str, Mapping[str, nn.Parameter]]:
        """Rate group to the name of each tensor, as the adapter file has it, to the tensor: all that is trained."""
        raise NotImplementedError

    def constants(self) -> Mapping[str, Tensor]:
        """What is saved beside them and not trained, by its name in the file."""
        return {}

    def initialise(self, backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> None:
        """Draw the starting values from torch's global generator.

        Raises:
            ConfigError: a start that needs a tokenizer, or text without tokens.
        """

    @property
    def virtual_tokens(self) -> int:
        """Vectors that it puts before the input."""
        return 0

    @property
    def max_source_tokens(self) -> int | None:
        """Source tokens that it has rows for; None: any number."""
        return None

    def embed(self, inputs: Inputs, route: Route) -> Inputs:
        """The input as this part changes it."""
        return inputs

    def fixed_prompt(self) -> Tensor | None:
        """Its vectors before the input, [M, D], where they are the same for every row: they may be cached."""
        return None

    def attach(self, backbone: PreTrainedModel) -> list[RemovableHandle | Callable[[], None]]:
        """Set its hooks in the backbone; what takes each of them away again."""
        return []
