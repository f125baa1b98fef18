"""The prompted model's promises: whose row an update's row is, padding, generation, what stays frozen."""

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AutoModel, BertConfig, BertForMaskedLM, M2M100Config, M2M100ForConditionalGeneration, T5Config
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions, Seq2SeqLMOutput
from transformers.models.t5.modeling_t5 import T5EncoderModel

from dept import DeptConfig, PromptedModel, PromptTuningConfig, get_prompted_model
from dept.errors import BackboneError, ConfigError
from tests.dept.tiny_models import (
    DECODER_ONLY,
    ENCODER_DECODERS,
    KINDS,
    PAD,
    VOCABULARY,
    assert_bit_identical,
    backbone,
    generate,
    in_dtype,
    padded,
    prompted,
    snapshot,
    tokens,
)

ADAPTER_KEYS = ["soft_prompt.prompt_embeddings", "low_rank_update.low_rank_a", "low_rank_update.low_rank_b"]
_MODELS = {kind: prompted(kind, m=2, s=6) for kind in ("t5", "gpt2", "llama", "opt")}


def update_table(model: PromptedModel) -> Tensor:
    assert model.low_rank_update is not None
    return model.low_rank_update(model.low_rank_update.max_seq_length).detach()


def word_embeddings(model: PromptedModel, ids: Tensor) -> Tensor:
    return model.backbone.get_input_embeddings()(ids).detach()


def labels_for(model: PromptedModel, batch: dict[str, Tensor]) -> Tensor:
    if model.is_encoder_decoder:
        return torch.tensor([tokens(4, seed=90 + row) for row in range(len(batch["input_ids"]))])
    return batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)


# Row i of the update belongs to the i-th source token.


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_prompt_then_updated_tokens(kind: str) -> None:
    model = prompted(kind)
    assert model.soft_prompt is not None
    rows = [tokens(7, 1), tokens(4, 2), tokens(1, 3)]
    table = update_table(model)
    for side in ("left", "right"):
        batch = padded(rows, side, to=9)
        inputs = model.embed(**batch, source_mask=None)
        for index, row in enumerate(rows):
            expected = word_embeddings(model, torch.tensor(row)) + table[: len(row)]
            start = 3 if model.is_encoder_decoder or side == "right" else 3 + 9 - len(row)
            found = inputs.inputs_embeds[index]
            torch.testing.assert_close(found[start : start + len(row)], expected)
            torch.testing.assert_close(found[:3], model.soft_prompt.prompt_embeddings)
            mask = torch.zeros(12, dtype=torch.long)
            mask[:3], mask[start : start + len(row)] = 1, 1
            assert inputs.attention_mask[index].tolist() == mask.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_source_mask_chooses_the_tokens_that_own_rows(kind: str) -> None:
    model = prompted(kind, s=3)  # fewer rows than tokens: the others own none
    row = tokens(8, 1)
    source = torch.tensor([[0, 1, 0, 0, 1, 1, 0, 0]])
    embeds = model.embed(torch.tensor([row]), None, source).inputs_embeds[0, 3:]
    expected = word_embeddings(model, torch.tensor(row))
    expected[[1, 4, 5]] += update_table(model)
    torch.testing.assert_close(embeds, expected)
    torch.testing.assert_close(model.embed(torch.tensor([row]), None, source.bool()).inputs_embeds[0, 3:], expected)


def test_a_padded_token_never_owns_a_row_whatever_source_mask_says() -> None:
    model = prompted("gpt2")
    batch = padded([tokens(3, 1)], "left", to=6)
    said = model.embed(**batch, source_mask=torch.ones(1, 6)).inputs_embeds[:, 3:][batch["attention_mask"].bool()]
    torch.testing.assert_close(said, model.embed(**batch, source_mask=None).inputs_embeds[0, 6:])


@pytest.mark.parametrize("kind", KINDS)
def test_more_source_tokens_than_rows_are_refused_in_training_and_generation(kind: str) -> None:
    model = prompted(kind, s=4)
    fits, too_long = padded([tokens(4), tokens(2)], "left", to=9), padded([tokens(5)], "right", to=9)
    for call in (
        lambda batch: model(**batch, labels=labels_for(model, batch)),
        lambda batch: model.generate(**batch, max_new_tokens=2, do_sample=False),
    ):
        call(fits)  # nine columns, four tokens
        with pytest.raises(ValueError, match=r"5 source tokens.*rows for 4.*truncate"):
            call(too_long)


@pytest.mark.parametrize("kind", ["bart", *DECODER_ONLY])
def test_more_positions_than_the_backbone_has_are_refused(kind: str) -> None:
    model = prompted(kind, s=60)
    with pytest.raises(ValueError, match="48 positions"):
        model(**(batch := padded([tokens(46)])), labels=labels_for(model, batch))
    model(**(batch := padded([tokens(45)])), labels=labels_for(model, batch))


@pytest.mark.parametrize("kind", DECODER_ONLY)
def test_padding_takes_no_positions(kind: str) -> None:
    model = prompted(kind, s=60)
    row = tokens(9)
    wide = model(**padded([row], "left", to=70)).logits[0, -9:]
    torch.testing.assert_close(wide, model(**padded([row])).logits[0, -9:], rtol=1e-4, atol=1e-4)


# Outputs do not depend on padding.


@st.composite
def scattered_batches(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]], list[list[int]], int]:
    """Sources, the columns their tokens stand in (gaps anywhere), which tokens own rows, and the width."""
    lengths = draw(st.lists(st.integers(1, 8), min_size=1, max_size=3))
    width = max(lengths) + draw(st.integers(0, 6))
    rows, columns, owners = [], [], []
    for length in lengths:
        rows.append(draw(st.lists(st.integers(3, VOCABULARY - 1), min_size=length, max_size=length)))
        columns.append(sorted(draw(st.permutations(range(width)))[:length]))
        owned = draw(st.lists(st.integers(0, 1), min_size=length, max_size=length))
        owners.append([flag if sum(owned[:i]) < 6 else 0 for i, flag in enumerate(owned)])
    return rows, columns, owners, width


@pytest.mark.parametrize("kind", list(_MODELS))
@settings(max_examples=25, deadline=None, derandomize=True)
@given(case=scattered_batches())
def test_outputs_are_the_same_wherever_padding_sits(
    kind: str, case: tuple[list[list[int]], list[list[int]], list[list[int]], int]
) -> None:
    model = _MODELS[kind]
    rows, columns, owners, width = case
    ids = torch.full((len(rows), width), 9)
    mask, source = torch.zeros_like(ids), torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for index, (row, places, owned) in enumerate(zip(rows, columns, owners, strict=True)):
        ids[index, places], mask[index, places] = torch.tensor(row), 1
        source[index, places], labels[index, places] = torch.tensor(owned), torch.tensor(row)
    if model.is_encoder_decoder:
        labels = torch.tensor([[5, 6, 1]]).repeat(len(rows), 1)
    with torch.no_grad():
        together = model(input_ids=ids, attention_mask=mask, source_mask=source, labels=labels)
        total = 0.0
        for index, (row, places, owned) in enumerate(zip(rows, columns, owners, strict=True)):
            alone = model(
                input_ids=torch.tensor([row]),
                source_mask=torch.tensor([owned]),
                labels=labels[index : index + 1] if model.is_encoder_decoder else torch.tensor([row]),
                num_items_in_batch=1,
            )
            found = together.logits[index]
            if not model.is_encoder_decoder:
                found = found[[0, 1, *(2 + place for place in places)]]
            torch.testing.assert_close(found, alone.logits[0], rtol=1e-3, atol=2e-4)
            total += float(alone.loss)
        count = labels.ne(-100).sum() if model.is_encoder_decoder else sum(len(row) - 1 for row in rows)
        if count:
            torch.testing.assert_close(together.loss, torch.tensor(total / int(count)), rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("kind", ENCODER_DECODERS)
def test_padding_goes_last_for_an_encoder_decoder(kind: str) -> None:
    inputs = prompted(kind).embed(**padded([tokens(2), tokens(5)], "left", to=8), source_mask=None)
    assert inputs.attention_mask.tolist() == [[1] * 5 + [0] * 6, [1] * 8 + [0] * 3]
    assert inputs.position_ids is None


@pytest.mark.parametrize("kind", DECODER_ONLY)
def test_positions_are_counted_over_the_mask(kind: str) -> None:
    inputs = prompted(kind).embed(**padded([tokens(3)], "left", to=5), source_mask=None)
    assert inputs.attention_mask.tolist() == [[1, 1, 1, 0, 0, 1, 1, 1]]
    assert inputs.position_ids is not None
    assert inputs.position_ids[0, [0, 1, 2, 5, 6, 7]].tolist() == [0, 1, 2, 3, 4, 5]


# The loss.


@pytest.mark.parametrize("kind", KINDS)
def test_loss_is_the_mean_over_the_labels(kind: str) -> None:
    model = prompted(kind)
    batch = padded([tokens(6, 1), tokens(4, 2)])
    labels = labels_for(model, batch)
    labels[0, :2] = -100
    output = model(**batch, labels=labels)
    if model.is_encoder_decoder:
        expected = F.cross_entropy(output.logits.flatten(0, 1), labels.flatten())
    else:  # what transformers computes on the tokens' own logits
        expected = F.cross_entropy(output.logits[:, 3:-1].flatten(0, 1), labels[:, 1:].flatten())
    torch.testing.assert_close(output.loss, expected)
    count = int(labels.ne(-100).sum() if model.is_encoder_decoder else labels[:, 1:].ne(-100).sum())
    for items in (10, torch.tensor(10)):
        summed = model(**batch, labels=labels, num_items_in_batch=items).loss
        torch.testing.assert_close(summed, expected * count / 10)


@pytest.mark.parametrize("kind", ["t5", "gpt2"])
def test_without_prompt_and_update_effect_the_backbone_answers_as_it_is(kind: str) -> None:
    raw = backbone(kind)
    model = get_prompted_model(raw, DeptConfig(num_virtual_tokens=0, rank=2, max_seq_length=12))
    assert model.soft_prompt is None and list(model.adapter_tensors()) == ["low_rank_a", "low_rank_b"]
    batch = padded([tokens(6, 1), tokens(4, 2)])
    labels = labels_for(model, batch)
    ours, theirs = model.eval()(**batch, labels=labels), raw(**batch, labels=labels)
    attended = ... if model.is_encoder_decoder else batch["attention_mask"].bool()
    torch.testing.assert_close(ours.logits[attended], theirs.logits[attended])
    torch.testing.assert_close(ours.loss, theirs.loss)


@pytest.mark.parametrize("kind", KINDS)
def test_rank_zero_is_plain_prompt_tuning(kind: str) -> None:
    torch.manual_seed(3)
    dept = get_prompted_model(backbone(kind), DeptConfig(num_virtual_tokens=4, rank=0, max_seq_length=2))
    torch.manual_seed(0)
    tuning = get_prompted_model(backbone(kind), PromptTuningConfig(num_virtual_tokens=4))
    assert list(dept.adapter_tensors()) == list(tuning.adapter_tensors()) == ["prompt_embeddings"]
    assert dept.max_seq_length is None
    tuning.load_state_dict(dept.state_dict())
    batch = padded([tokens(20)])  # no rows, no limit
    labels = labels_for(dept, batch)
    assert torch.equal(dept.eval()(**batch, labels=labels).logits, tuning.eval()(**batch, labels=labels).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_to_keep_are_the_last_ones(kind: str) -> None:
    model = prompted(kind)
    batch = padded([tokens(6, 1), tokens(6, 2)])
    labels = labels_for(model, batch)
    labels[:, :-2] = -100
    full = model(**batch, labels=labels).logits
    assert full.shape[1] == (4 if model.is_encoder_decoder else 3 + 6)
    kept = model(**batch, labels=labels, logits_to_keep=3)
    torch.testing.assert_close(kept.logits, full[:, -3:])
    torch.testing.assert_close(kept.loss, model(**batch, labels=labels).loss)
    with pytest.raises(ValueError, match="last 2 positions"):
        model(**batch, labels=labels_for(model, batch), logits_to_keep=2)


def test_outputs_are_transformers_own() -> None:
    batch = padded([tokens(5)])
    encoder_decoder, decoder_only = _MODELS["t5"], _MODELS["gpt2"]
    output = encoder_decoder(**batch, labels=torch.tensor([[3, 4]]), return_dict=True, output_hidden_states=True)
    assert isinstance(output, Seq2SeqLMOutput) and output.encoder_hidden_states is not None
    assert isinstance(decoder_only(**batch), CausalLMOutputWithCrossAttentions)
    assert "loss" not in decoder_only(**batch)
    with pytest.raises(ValueError, match="labels or decoder_input_ids"):
        encoder_decoder(**batch)
    given = encoder_decoder(**batch, decoder_input_ids=torch.tensor([[PAD, 3]]))
    torch.testing.assert_close(given.logits, encoder_decoder(**batch, labels=torch.tensor([[3, 4]])).logits)


def test_an_encoder_decoder_that_shifts_labels_inside_its_forward() -> None:
    ids: dict[str, Any] = {"vocab_size": VOCABULARY, "decoder_start_token_id": 2, "pad_token_id": 0, "dropout": 0}
    sizes: dict[str, Any] = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads: dict[str, Any] = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    raw = M2M100ForConditionalGeneration(M2M100Config(d_model=16, max_position_embeddings=32, **ids, **sizes, **heads))
    model = get_prompted_model(raw.eval(), DeptConfig(num_virtual_tokens=0, rank=1, max_seq_length=8)).eval()
    batch, labels = padded([tokens(5), tokens(6)]), torch.tensor([[4, 5, 1], [6, 1, -100]])
    torch.testing.assert_close(model(**batch, labels=labels).loss, raw(**batch, labels=labels).loss)


# Only the adapter trains.


def train_steps(model: PromptedModel, steps: int = 3) -> None:
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    batch = padded([tokens(6, 1), tokens(4, 2)], "left")
    for _ in range(steps):
        optimizer.zero_grad()
        model(**batch, labels=labels_for(model, batch)).loss.backward()
        optimizer.step()
    model.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_backbone_stays_bit_identical(kind: str, dtype: torch.dtype) -> None:
    raw = backbone(kind)
    in_dtype(raw, dtype)
    before = snapshot(raw)
    model = get_prompted_model(raw, DeptConfig(num_virtual_tokens=3, rank=2, max_seq_length=12))
    start = snapshot(model)
    train_steps(model)
    for arguments in ({"do_sample": False}, {"do_sample": True}, {"num_beams": 2, "do_sample": False}):
        model.generate(**padded([tokens(4)]), max_new_tokens=3, **arguments)
    assert_bit_identical(raw, before)
    assert all(parameter.grad is None for parameter in raw.parameters())
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32
        assert not torch.equal(tensor, start[name]), name
        assert torch.isfinite(tensor).all()


def test_bfloat16_backbone_is_close_to_float32() -> None:
    exact, rough = prompted("t5"), prompted("t5")
    in_dtype(rough.backbone, torch.bfloat16)
    batch = padded([tokens(6)])
    labels = labels_for(exact, batch)
    output = rough(**batch, labels=labels)
    assert output.logits.dtype == torch.bfloat16 and output.loss.dtype == torch.float32
    torch.testing.assert_close(output.loss, exact(**batch, labels=labels).loss, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_eval_mode_and_of_checkpointing_are_the_same(kind: str) -> None:
    batch = padded([tokens(6, 1), tokens(4, 2)])
    gradients: list[dict[str, Tensor]] = []
    for way in ("train", "eval", "checkpointing"):
        model = prompted(kind).train(way != "eval")
        if way == "checkpointing":
            model.gradient_checkpointing_enable()
            assert model.is_gradient_checkpointing
        model(**batch, labels=labels_for(model, batch)).loss.backward()
        tensors = model.adapter_tensors()
        assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in tensors.values())
        gradients.append({name: tensor.grad for name, tensor in tensors.items() if tensor.grad is not None})
        if way == "checkpointing":  # evaluation in the middle of training
            with torch.inference_mode():
                model.eval()(**batch, labels=labels_for(model, batch))
            model.generate(**batch, max_new_tokens=2, do_sample=False)
            model.gradient_checkpointing_disable()
            assert not model.is_gradient_checkpointing
    for other in gradients[1:]:
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(other[name], gradient, rtol=1e-4, atol=1e-6)


def test_generation_leaves_nothing_that_a_later_step_would_use() -> None:
    model = prompted("gpt2")
    batch = padded([tokens(5)])
    with torch.inference_mode():
        model.generate(**batch, max_new_tokens=2, do_sample=False)
        before = model(**batch).logits
    train_steps(model, 1)
    assert not torch.equal(model(**batch).logits, before)


# Generation.


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


# State dicts.


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_holds_exactly_the_adapter(kind: str) -> None:
    model = prompted(kind)
    assert list(model.state_dict()) == ADAPTER_KEYS
    assert set(model.backbone.state_dict()) == set(backbone(kind).state_dict())
    other = prompted(kind, seed=5)
    before = snapshot(other.backbone)
    result = other.load_state_dict(model.state_dict())
    assert not result.missing_keys and not result.unexpected_keys
    assert_bit_identical(other.backbone, before)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_loading_is_strict() -> None:
    model = prompted("t5")
    weight = "backbone.shared.weight"
    frozen = snapshot(model.backbone)
    for broken, message in (
        ({k: v for k, v in model.state_dict().items() if not k.endswith("_a")}, "Missing.*low_rank_update.low_rank_a"),
        ({}, "Missing.*soft_prompt.prompt_embeddings"),
        ({**model.state_dict(), "low_rank_update.low_rank_c": torch.zeros(1)}, "Unexpected.*low_rank_c"),
        ({**model.state_dict(), weight: torch.zeros(VOCABULARY, 16)}, "Unexpected.*backbone.shared.weight"),
        ({**model.state_dict(), ADAPTER_KEYS[0]: torch.zeros(9, 16)}, "size mismatch"),
    ):
        with pytest.raises(RuntimeError, match=f"(?s){message}"):
            model.load_state_dict(broken)
    result = model.load_state_dict({weight: torch.zeros(VOCABULARY, 16)}, strict=False)
    assert result.missing_keys == ADAPTER_KEYS and result.unexpected_keys == [weight]
    assert_bit_identical(model.backbone, frozen)
    with pytest.raises(RuntimeError, match="low_rank"):
        prompted("t5", r=0).load_state_dict(model.state_dict())


class Outer(nn.Module):
    """A PromptedModel among other modules, under a name that could be mistaken for its own backbone."""

    def __init__(self, model: PromptedModel) -> None:
        super().__init__()
        self.backbone = model
        self.head = nn.Linear(2, 2)


def test_nested_in_another_module() -> None:
    outer, other = Outer(prompted("t5")), Outer(prompted("t5", seed=1))
    keys = [f"backbone.{key}" for key in ADAPTER_KEYS]
    assert list(outer.state_dict()) == [*keys, "head.weight", "head.bias"]
    other.load_state_dict(outer.state_dict())
    assert torch.equal(other.state_dict()[keys[0]], outer.state_dict()[keys[0]])
    partial = {k: v for k, v in outer.state_dict().items() if k != keys[1]}
    with pytest.raises(RuntimeError, match=r"low_rank_a"):
        other.load_state_dict(partial)


class Wrapper(nn.Module):
    """What DistributedDataParallel does to names."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def test_a_wrapper_s_prefix_is_kept() -> None:
    wrapped = Wrapper(prompted("gpt2"))
    assert list(wrapped.state_dict()) == [f"module.{key}" for key in ADAPTER_KEYS]
    wrapped.load_state_dict(wrapped.state_dict())
    assert list(wrapped.module.state_dict()) == ADAPTER_KEYS


def test_a_deep_copy_is_a_model_of_its_own() -> None:
    model = prompted("t5")
    twin = copy.deepcopy(model)
    assert list(twin.state_dict()) == ADAPTER_KEYS
    twin.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in model.state_dict().items()})
    assert model.state_dict()[ADAPTER_KEYS[0]].abs().sum() > 0
    with pytest.raises(RuntimeError, match="Missing"):
        twin.load_state_dict({})


def test_adapter_tensors_do_not_depend_on_what_is_being_trained() -> None:
    model = prompted("t5").requires_grad_(False)
    assert list(model.adapter_tensors()) == ["prompt_embeddings", "low_rank_a", "low_rank_b"]
    assert model.trainable_parameters() == 0


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_saved_and_loaded_model_gives_the_same(kind: str, tmp_path: Path) -> None:
    model = prompted(kind)
    model.save_pretrained(tmp_path / "adapter")
    loaded = PromptedModel.from_pretrained(backbone(kind), tmp_path / "adapter").eval()
    batch = padded([tokens(6)])
    labels = labels_for(model, batch)
    assert torch.equal(model(**batch, labels=labels).logits, loaded(**batch, labels=labels).logits)


# Making one.


def test_trainable_parameters_are_counted_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    model = prompted("t5", m=3, r=2, s=12)
    assert model.trainable_parameters() == 3 * 16 + (12 + 16) * 2 == 104
    model.print_trainable_parameters()
    everything = 104 + sum(p.numel() for p in backbone("t5").parameters())
    line = f"trainable params: 104 || all params: {everything:,} || trainable%: {100 * 104 / everything:.4f}\n"
    assert capsys.readouterr().out == line


def test_rank_auto_spends_the_budget() -> None:
    model = get_prompted_model(backbone("t5"), DeptConfig(num_virtual_tokens=40, max_seq_length=16))
    assert model.method_config.rank == 30 and model.trainable_parameters() == 1600  # type: ignore[union-attr]


def test_a_rank_over_the_budget_warns_and_runs() -> None:
    with pytest.warns(UserWarning, match="rank 31 .* 32 more than the budget of 100 x 16"):
        model = get_prompted_model(backbone("t5"), DeptConfig(num_virtual_tokens=40, rank=31, max_seq_length=16))
    assert model.trainable_parameters() == 1632


def test_nothing_to_train_is_refused() -> None:
    config = DeptConfig(num_virtual_tokens=0, max_seq_length=4000, budget_tokens=1)
    with pytest.raises(ConfigError, match="nothing to train"):
        get_prompted_model(backbone("t5"), config)


@pytest.mark.parametrize("kind", ["masked", "encoder of t5", "t5 without a head", "gpt2 without a head"])
def test_models_that_write_no_text_are_refused(kind: str) -> None:
    small = T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    bert = BertConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    models: dict[str, Any] = {
        "masked": lambda: BertForMaskedLM(bert),
        "encoder of t5": lambda: T5EncoderModel(small),
        "t5 without a head": lambda: AutoModel.from_config(small),
        "gpt2 without a head": lambda: AutoModel.from_config(backbone("gpt2").config),
    }
    with pytest.raises(BackboneError, match="neither an encoder-decoder nor a decoder-only"):
        get_prompted_model(models[kind](), PromptTuningConfig(num_virtual_tokens=2))


@pytest.mark.parametrize(("kind", "name"), [("t5", "my-gpt2-copy"), ("gpt2", "t5-like"), ("llama", "bart")])
def test_the_kind_is_recognised_by_config_not_by_name(kind: str, name: str) -> None:
    raw = backbone(kind)
    raw.config._name_or_path = raw.name_or_path = name
    model = get_prompted_model(raw, PromptTuningConfig(num_virtual_tokens=2))
    assert model.is_encoder_decoder is (kind == "t5")
    batch = padded([tokens(4)])
    assert torch.isfinite(model(**batch, labels=labels_for(model, batch)).loss)


def test_every_kind_of_prompt_start() -> None:
    raw = backbone("t5")
    config = PromptTuningConfig(num_virtual_tokens=5)
    embeddings = word_embeddings(get_prompted_model(raw, config), torch.arange(VOCABULARY))
    starts = []
    for _ in range(2):
        torch.manual_seed(1)
        starts.append(get_prompted_model(raw, config).state_dict()[ADAPTER_KEYS[0]])
    assert torch.equal(*starts)  # the seed decides
    owners = [(embeddings == vector).all(1).nonzero().flatten().tolist() for vector in starts[0]]
    assert all(len(found) == 1 and found[0] > 1 for found in owners)  # neither padding nor end of text
    assert all(one != two for one, two in pairwise(sorted(owners)))
    drawn = get_prompted_model(raw, PromptTuningConfig(num_virtual_tokens=5, prompt_init="random"))
    assert not (embeddings[:, None] == drawn.state_dict()[ADAPTER_KEYS[0]]).all(2).any()
    with pytest.raises(ConfigError, match="tokenizer"):
        get_prompted_model(raw, PromptTuningConfig(prompt_init="text", prompt_init_text="good or bad"))
