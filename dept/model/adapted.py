"""A frozen backbone with the parts of a method (paper 2.1, 2.2; Eq. 1 to 3).

`AdaptedModel.embed` is the one place that turns input ids, and an image's features, into embeddings; `forward` and
`generate` both use it.
Shapes in comments: B batch, M virtual tokens, P features of an image, L tokens, T target tokens, D hidden size,
V vocabulary.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch import Tensor, nn
from transformers import GenerationConfig, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.utils import ModelOutput

from dept.backbones.embeddings import word_embeddings
from dept.basics.labels import IGNORED_LABEL
from dept.errors import ConfigError
from dept.methods.contract import Group, MethodConfig
from dept.methods.rates import PROJECTION
from dept.model.checks import check_apart, check_places, makes_one_sequence
from dept.model.loss import next_attended, target_loss
from dept.model.padding import padded_left
from dept.model.prompt_cache import PromptCache
from dept.model.state import hold_parts_alone
from dept.parts.acting import Attached, Running, acting, checkpoint_contexts
from dept.parts.contract import IMAGE, Inputs, Part, Route


class PromptedInputs(NamedTuple):
    """What a backbone reads instead of input ids."""

    inputs_embeds: Tensor  # [B, M + P + L, D]
    attention_mask: Tensor  # [B, M + P + L]
    position_ids: Tensor | None  # [B, M + P + L], decoder-only backbones that take them
    before_tokens: int  # M + P


class AdaptedModel(nn.Module):
    """A frozen backbone and the trained parts that change what it reads, or act inside it.

    Works inside transformers' Trainer and Seq2SeqTrainer (`dept.build_optimizer` gives them the learning rates).
    `state_dict` and `load_state_dict` hold the adapter alone; backbone tensors are reached through `backbone`, which
    stays the plain backbone. `dept.prompted.PromptedModel` adds how it is saved and loaded.

    Attributes:
        cache_prompt: reuse a decoder-only prompt's keys and values between batches, in eval mode with gradients off
            (`dept.model.prompt_cache`); False computes them anew for each batch, as the paper does.

    Args:
        backbone: an encoder-decoder or decoder-only transformers model; its parameters are frozen here.
        config: the method's config, resolved for this backbone.
        parts: the method's, and the visual projection of a model that reads images. Each is an attribute by its key.
    """

    main_input_name = "input_ids"

    if TYPE_CHECKING:  # parts are attributes by their keys

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, backbone: PreTrainedModel, config: MethodConfig, parts: Sequence[Part]) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.method_config = config
        self._keys = tuple(part.key for part in parts)
        for part in parts:
            self.add_module(part.key, part)
        check_apart(parts)
        self.cache_prompt = True
        self._prompt_cache: PromptCache | None = None
        forward_arguments = inspect.signature(backbone.forward).parameters
        self._takes_position_ids = "position_ids" in forward_arguments
        self._takes_logits_to_keep = "logits_to_keep" in forward_arguments
        # In a list, since every training step looks at them: a backbone has hundreds of other modules.
        self._checkpointable: list[Any] = [
            module for module in backbone.modules() if hasattr(module, "gradient_checkpointing")
        ]
        self._attached = Attached(handle for part in self.parts for handle in part.attach(backbone))
        try:
            check_places(self._attached.handles)
        except ConfigError:
            self.detach()
            raise
        hold_parts_alone(self)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The method's parts, and the visual projection of a model that reads images."""
        return tuple(getattr(self, key) for key in self._keys)

    def detach(self) -> PreTrainedModel:
        """Remove the parts' hooks from the backbone; return the backbone, which is as it was before."""
        self._attached.remove()
        return self.backbone

    def acting(self, route: Route | None = None) -> acting:
        """Within this block the parts act in the backbone, in this thread: for code that calls its layers directly."""
        return acting(Running(self.parts, route or Route()))

    # Attributes that transformers' trainers and generation require of a model.

    @property
    def config(self) -> PretrainedConfig:
        return self.backbone.config

    @property
    def generation_config(self) -> GenerationConfig:
        return self.backbone.generation_config

    @generation_config.setter
    def generation_config(self, value: GenerationConfig) -> None:
        self.backbone.generation_config = value

    @property
    def loss_type(self) -> str | None:
        """Tells the trainers that a decoder-only loss shifts its labels: the first one of a row is not counted."""
        return None if self.is_encoder_decoder else "ForCausalLM"

    @property
    def device(self) -> torch.device:
        return word_embeddings(self.backbone).device

    @property
    def hf_device_map(self) -> dict[str, Any]:
        """Tells the trainers that the backbone's layers stay on the devices where they are; absent on one device."""
        return self.backbone.hf_device_map  # type: ignore[return-value]

    @property
    def is_encoder_decoder(self) -> bool:
        return bool(self.backbone.config.is_encoder_decoder)

    @property
    def num_virtual_tokens(self) -> int:
        return sum(part.virtual_tokens for part in self.parts)

    @property
    def max_seq_length(self) -> int | None:
        """The most source tokens that all parts have rows for; None if there is no limit."""
        return min((most for part in self.parts if (most := part.max_source_tokens) is not None), default=None)

    @property
    def reads_images(self) -> bool:
        return any(part.order == IMAGE for part in self.parts)

    @property
    def is_gradient_checkpointing(self) -> bool:
        return any(module.gradient_checkpointing for module in self._checkpointable)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Recompute the backbone's activations in the backward pass; those of the embedding before it are kept.

        Raises:
            ValueError: reentrant checkpointing of a backbone that parts act in.
        """
        how = dict(gradient_checkpointing_kwargs or {"use_reentrant": False})
        if self._attached.handles:
            if how.get("use_reentrant"):
                raise ValueError("this method acts inside the backbone: pass use_reentrant=False")
            how["context_fn"] = checkpoint_contexts
        if hasattr(self.backbone, "activation_checkpointing_enable"):
            self.backbone.activation_checkpointing_enable(how, **kwargs)
        else:  # its name in the first releases of transformers 5
            self.backbone.gradient_checkpointing_enable(how, **kwargs)

    def _keep_hooks_acting(self) -> None:
        """Look for what would compute the backbone's layers without the parts that act there.

        Raises:
            ValueError: reentrant checkpointing; a copy made by `nn.DataParallel`.
        """
        if getattr(self, "_is_replica", False):
            raise ValueError("this method acts inside the backbone: use one process a GPU, not nn.DataParallel")
        if not self.training:
            return
        for module in self._checkpointable:
            how = getattr(vars(module).get("_gradient_checkpointing_func"), "keywords", None)
            if how is not None and how.get("context_fn") is not checkpoint_contexts:
                # It was asked of the backbone itself, which knows no parts.
                self.gradient_checkpointing_enable({"use_reentrant": False, **how})
                return

    def gradient_checkpointing_disable(self) -> None:
        if hasattr(self.backbone, "activation_checkpointing_disable"):
            self.backbone.activation_checkpointing_disable()
        else:
            self.backbone.gradient_checkpointing_disable()

    def activation_checkpointing_enable(
        self, activation_checkpointing_kwargs: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """transformers' newer name of `gradient_checkpointing_enable`, which its trainers call."""
        self.gradient_checkpointing_enable(activation_checkpointing_kwargs, **kwargs)

    def activation_checkpointing_disable(self) -> None:
        self.gradient_checkpointing_disable()

    # The method.

    def embed(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        source_mask: Tensor | None,
        visual_features: Tensor | None = None,
        route: Route | None = None,
    ) -> PromptedInputs:
        """[prompt; projected image; updated word embeddings] for a batch (Eq. 2); padding goes last for T5.

        Args:
            input_ids: [B, L].
            attention_mask: [B, L], None attends everywhere; padding may sit on either side.
            source_mask: [B, L], 1 on the tokens that own rows of the update; None means every attended token. The
                image owns none.
            visual_features: [B, P, width], for a model with a visual projection and for no other.
            route: which adapter and task each row has.

        Raises:
            ValueError: more source tokens than the update has rows, or an input longer than the backbone's positions;
                features that are missing or that nothing here reads.
        """
        if self.reads_images != (visual_features is not None):
            what = "reads images: pass visual_features" if visual_features is None else "reads no images"
            raise ValueError(f"this model {what}")
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.to(torch.long)
        source = mask if source_mask is None else source_mask.to(mask) * mask
        if self.is_encoder_decoder:
            # T5's relative positions would see a gap between prompt and tokens, so padding goes last.
            order = mask.argsort(dim=1, descending=True, stable=True)  # [B, L]
            input_ids, mask, source = (t.gather(1, order) for t in (input_ids, mask, source))

        with self.acting(route):
            embeds = self.backbone.get_input_embeddings()(input_ids)  # [B, L, D]
        inputs = Inputs(embeds, mask, source, visual_features)
        for part in sorted(self.parts, key=lambda part: part.order):
            inputs = part.embed(inputs, route or Route())
        mask, before = inputs.mask, inputs.mask.shape[1] - input_ids.shape[1]  # [B, M + P + L]
        position_ids = None
        if self._takes_position_ids and not self.is_encoder_decoder:
            position_ids = (mask.cumsum(1) - 1).clamp(min=0)
        self._check_length(mask, position_ids, before)
        return PromptedInputs(inputs.embeds, mask, position_ids, before)

    def _check_length(self, mask: Tensor, position_ids: Tensor | None, before: int) -> None:
        """Refuse an input that is longer than the backbone's positions."""
        longest, positions = getattr(self.backbone.config, "max_position_embeddings", None), mask.shape[1]
        if longest is not None and positions > longest and position_ids is not None:
            positions = int(position_ids.max()) + 1  # padding takes none
        if longest is not None and positions > longest:
            image = f"{before - self.num_virtual_tokens} of an image " if self.reads_images else ""
            raise ValueError(
                f"{self.num_virtual_tokens} virtual {image}and {positions - before} input tokens are more than "
                f"the backbone's {longest} positions: shorten the prompt or the input"
            )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        source_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        logits_to_keep: int = 0,
        num_items_in_batch: Tensor | int | None = None,
        visual_features: Tensor | None = None,
        task_ids: Tensor | None = None,
        adapter_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> ModelOutput:
        """The backbone's output for prompted inputs, with the loss of Eq. 1 or 3 where labels are given.

        Args:
            input_ids: [B, L].
            attention_mask: [B, L]; outputs are promised on attended positions.
            labels: encoder-decoder [B, T], decoder-only [B, L]; -100 has no loss. A decoder-only token is predicted
                from the attended position before it, wherever padding sits.
            source_mask: [B, L], 1 on the tokens that own rows of the update; None means every attended token.
            decoder_input_ids: [B, T] for encoder-decoder backbones; from the labels by default.
            logits_to_keep: compute the logits of the last so many positions only; 0 gives all of them, the virtual
                ones of decoder-only backbones included.
            num_items_in_batch: what the summed loss is divided by; None divides by the labels with a loss.
            visual_features: [B, P, width] of the rows' images, for a model with a visual projection.
            task_ids, adapter_ids: [B], for methods whose parts tell rows apart; others pass them over.
            kwargs: for the backbone's own forward.

        Returns:
            The backbone's ModelOutput: loss (where labels are given), logits [B, T, V] or [B, M + P + L, V], ...

        Raises:
            ValueError: see `embed`; labels outside the kept logits; neither labels nor decoder_input_ids.
        """
        route = Route(adapter_ids, task_ids)
        if self._attached.handles:
            self._keep_hooks_acting()
        inputs = self.embed(input_ids, attention_mask, source_mask, visual_features, route)
        reused = None
        if 0 < logits_to_keep <= input_ids.shape[1] and not kwargs:
            reused = self._cached_prompt(len(input_ids))
        kwargs = {"use_cache": False, **kwargs, "return_dict": True}
        arguments: dict[str, Any] = {
            "inputs_embeds": inputs.inputs_embeds,
            "attention_mask": inputs.attention_mask,
        }
        targets = labels
        if self.is_encoder_decoder:
            if decoder_input_ids is None:
                if labels is None:
                    raise ValueError("an encoder-decoder backbone needs labels or decoder_input_ids")
                decoder_input_ids = self._shift_right(labels)
            arguments["decoder_input_ids"] = decoder_input_ids
        else:
            if inputs.position_ids is not None:
                arguments["position_ids"] = inputs.position_ids
            if labels is not None:
                # Virtual positions predict nothing: the loss is the next-token loss over the tokens.
                before = inputs.before_tokens
                targets = next_attended(labels, inputs.attention_mask[:, before:])  # [B, L]
                targets = F.pad(targets, (before, 0), value=IGNORED_LABEL)  # [B, M + P + L]
        if logits_to_keep and self._takes_logits_to_keep:
            arguments["logits_to_keep"] = logits_to_keep
        if reused is not None:
            # The attention mask still covers the prompt, whose keys and values are in the cache.
            for name in {"inputs_embeds", "position_ids"} & arguments.keys():
                arguments[name] = arguments[name][:, self.num_virtual_tokens :]
            arguments["past_key_values"] = reused

        with self.acting(route):
            output = self.backbone(**arguments, **kwargs)
        values = {name: value for name, value in output.items() if reused is None or name != "past_key_values"}
        if logits_to_keep and not self._takes_logits_to_keep:
            values["logits"] = values["logits"][:, -logits_to_keep:]
        if targets is None:
            return type(output)(**values)
        if logits_to_keep:
            if (targets[:, :-logits_to_keep] != IGNORED_LABEL).any():
                raise ValueError(f"labels lie outside the last {logits_to_keep} positions whose logits are kept")
            targets = targets[:, -logits_to_keep:]
        return type(output)(**{**values, "loss": target_loss(values["logits"], targets, num_items_in_batch)})

    def _shift_right(self, labels: Tensor) -> Tensor:
        """What the decoder reads to predict the labels [B, T]: the start token, then all but the last label."""
        shift = getattr(self.backbone, "prepare_decoder_input_ids_from_labels", None)
        if shift is not None:
            return shift(labels=labels)
        config = self.backbone.config  # M2M100, Blenderbot and others shift inside their own forward only
        shifted = F.pad(labels[:, :-1], (1, 0), value=config.decoder_start_token_id)
        return shifted.masked_fill(shifted == IGNORED_LABEL, config.pad_token_id)

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        visual_features: Tensor | None = None,
        task_ids: Tensor | None = None,
        adapter_ids: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """transformers' `generate` on prompted inputs; the whole input is the source.

        Args:
            input_ids: [B, L].
            attention_mask: [B, L]; padding may sit on either side.
            visual_features: [B, P, width]; task_ids, adapter_ids: [B]; as for `forward`.
            kwargs: for transformers' `generate` (max_new_tokens, num_beams, do_sample, ...).

        Returns:
            token ids [B, T] as transformers gives them for an encoder-decoder, the new ones only for a decoder-only
            backbone; a ModelOutput with `return_dict_in_generate`.
        """
        if not self.is_encoder_decoder and attention_mask is not None:
            input_ids, attention_mask = padded_left(input_ids, attention_mask)
        route = Route(adapter_ids, task_ids)
        inputs = self.embed(input_ids, attention_mask, None, visual_features, route)
        if not all(part.keeps_cache for part in self.parts):
            kwargs = {**kwargs, "use_cache": False}
        if makes_one_sequence(kwargs, self.generation_config):
            reused = self._cached_prompt(len(input_ids))
            if reused is not None:
                # The embeddings keep the prompt's positions: transformers drops those that the cache already holds.
                kwargs = {**kwargs, "past_key_values": reused}
        backbone: Any = self.backbone  # `generate` comes from a mixin that PreTrainedModel does not declare
        with self.acting(route):
            return backbone.generate(
                inputs_embeds=inputs.inputs_embeds, attention_mask=inputs.attention_mask, **kwargs
            )

    def train(self, mode: bool = True) -> Self:
        """As in torch; switching to training drops the prompt cache of inference."""
        if mode:
            self._prompt_cache = None
        return super().train(mode)

    def _cached_prompt(self, batch_size: int) -> DynamicCache | None:
        """The prompt's keys and values for a batch; None where they are not to be reused."""
        if self.training or torch.is_grad_enabled() or not self.cache_prompt:
            return None
        prompts = [part for part in self.parts if part.virtual_tokens]
        if self.is_encoder_decoder or len(prompts) != 1 or (prompt := prompts[0].fixed_prompt()) is None:
            return None
        trained = tuple(self.adapter_tensors().values())
        if self._prompt_cache is None or not self._prompt_cache.still_holds(self.backbone, prompt, trained):
            with self.acting():
                self._prompt_cache = PromptCache(self.backbone, prompt, trained, self._takes_position_ids)
        return self._prompt_cache.for_batch(batch_size) if self._prompt_cache.usable else None

    # The adapter.

    @property
    def groups(self) -> tuple[Group, ...]:
        """The rate groups of the method, and of the visual projection of a model that reads images."""
        return (*self.method_config.groups, *((PROJECTION,) if self.reads_images else ()))

    def grouped_tensors(self) -> dict[str, dict[str, nn.Parameter]]:
        """The trained tensors by rate group and by the names that the adapter file uses; empty groups left out."""
        grouped: dict[str, dict[str, nn.Parameter]] = {group.name: {} for group in self.groups}
        for part in self.parts:
            for group, tensors in part.tensors().items():
                grouped[group] |= tensors
        return {group: tensors for group, tensors in grouped.items() if tensors}

    def adapter_tensors(self) -> dict[str, nn.Parameter]:
        """The trained tensors by the names that the adapter file uses."""
        return {name: tensor for tensors in self.grouped_tensors().values() for name, tensor in tensors.items()}

    def constants(self) -> dict[str, Tensor]:
        """The tensors that the adapter file holds beside the trained ones."""
        return {name: tensor for part in self.parts for name, tensor in part.constants().items()}

    def trainable_parameters(self) -> int:
        return sum(tensor.numel() for tensor in self.parameters() if tensor.requires_grad)

    def trainable_parts(self) -> dict[str, int]:
        """Trainable parameters of each rate group."""
        return {
            group: sum(tensor.numel() for tensor in tensors.values())
            for group, tensors in self.grouped_tensors().items()
        }

    def print_trainable_parameters(self) -> None:
        """One line: trainable parameters, all parameters, their share; the visual projection's apart.

        All parameters are the backbone's and the adapter's: an image encoder is not counted, as in Table 3.
        """
        trainable, parts = self.trainable_parameters(), self.trainable_parts()
        everything = self.backbone.num_parameters() + sum(tensor.numel() for tensor in self.adapter_tensors().values())
        visual = f" || visual projection: {parts['projection']:,}" if "projection" in parts else ""
        print(
            f"trainable params: {trainable:,} || all params: {everything:,} || "
            f"trainable%: {100 * trainable / everything:.4f}{visual}"
        )
