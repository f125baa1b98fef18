"""The prompted model's promises: whose row an update's row is, padding, the loss, what is refused."""

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModel, BertConfig, BertForMaskedLM, M2M100Config, M2M100ForConditionalGeneration, T5Config
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions, Seq2SeqLMOutput
from transformers.models.t5.modeling_t5 import T5EncoderModel

from dept import DeptConfig, PromptedModel, PromptTuningConfig, get_prompted_model
from dept.errors import BackboneError, ConfigError
from tests.dept.tiny_models import (
    ADAPTER_KEYS,
    DECODER_ONLY,
    ENCODER_DECODERS,
    KINDS,
    PAD,
    VOCABULARY,
    backbone,
    labels_for,
    padded,
    prompted,
    tokens,
)

_MODELS = {kind: prompted(kind, m=2, s=6) for kind in ("t5", "gpt2", "llama", "opt")}


def update_table(model: PromptedModel) -> Tensor:
    return model.low_rank_update(model.low_rank_update.max_source_tokens).detach()


def word_embeddings(model: PromptedModel, ids: Tensor) -> Tensor:
    return model.backbone.get_input_embeddings()(ids).detach()


# Row i of the update belongs to the i-th source token.


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_prompt_then_updated_tokens(kind: str) -> None:
    model = prompted(kind)
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
    assert model.num_virtual_tokens == 0 and list(model.adapter_tensors()) == ["low_rank_a", "low_rank_b"]
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
    assert model.method_config.to_dict()["rank"] == 30 and model.trainable_parameters() == 1600


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
