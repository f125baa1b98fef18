"""Backbones by alias, folder, package and hub id: what is loaded, what is refused and with which words."""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

import dept.backbones.smollm2
from dept import TrainConfig
from dept.backbones import known as known_backbones
from dept.backbones.embeddings import embedding_rms, word_embeddings
from dept.backbones.fingerprints import fingerprint
from dept.backbones.known import default_backbone, list_backbones, registry
from dept.backbones.load import backbone_info, freeze, load_backbone
from dept.backbones.random_weights import random_backbone
from dept.errors import BackboneError, ConfigError
from dept.training.prepare import default_rates

ALIASES = [
    *("t5-small", "t5-base", "t5-large", "gpt2", "gpt2-medium", "gpt2-large"),
    *("llama-2-7b", "llama-2-13b", "smollm2-135m", "mini-t5"),
]


def default_learning_rates(model: PreTrainedModel) -> tuple[float, float]:
    rates = default_rates(TrainConfig(), model, with_images=False)
    return rates["prompt_lr"], rates["low_rank_lr"]


def tiny_t5(seed: int = 0) -> T5ForConditionalGeneration:
    torch.manual_seed(seed)
    config = T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    return T5ForConditionalGeneration(config)


def tiny_gpt2() -> GPT2LMHeadModel:
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=64))


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )


@pytest.fixture
def t5_folder(tmp_path: Path) -> Path:
    tiny_t5().save_pretrained(tmp_path / "t5")
    return tmp_path / "t5"


def write_word_tokenizer(folder: Path, words: int = 60, **special: str) -> Path:
    """A word-level tokenizer with `words` + 2 tokens, and no padding token unless `special` names one."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<unk>": 0, "<eos>": 1} | {f"w{i}": i + 2 for i in range(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return folder


def weights_of(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


# --- what is known without a download


def test_the_aliases_are_the_promised_ones() -> None:
    assert [info.name for info in list_backbones()] == ALIASES
    assert backbone_info("t5-base").hub_id == "google-t5/t5-base"
    assert backbone_info("llama-2-7b").gated and not backbone_info("gpt2").gated
    assert backbone_info("smollm2-135m").source == "package"


@pytest.mark.parametrize("alias", ALIASES)
def test_the_registered_numbers_are_those_of_the_shape(alias: str) -> None:
    info = backbone_info(alias)
    config = AutoConfig.for_model(**registry()[alias]["config"])
    auto_class = AutoModelForSeq2SeqLM if info.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model = auto_class.from_config(config)
    assert info.is_encoder_decoder == config.is_encoder_decoder
    assert info.hidden_size == word_embeddings(model).shape[1]
    assert info.parameters == sum(weight.numel() for weight in model.parameters())


def test_parameter_counts_are_the_published_ones() -> None:
    counts = {info.name: info.parameters for info in list_backbones()}
    assert counts["t5-small"] == 60_506_624  # Raffel et al.: 60 million
    assert counts["t5-base"] == 222_903_552
    assert counts["gpt2"] == 124_439_808  # "124M"
    assert counts["llama-2-7b"] == 6_738_415_616  # "6.7B"


def test_a_public_name_is_not_also_a_module() -> None:
    """`from dept import name` would give the one or the other, depending on what was imported before."""
    assert [name for name in dept.__all__ if importlib.util.find_spec(f"dept.{name}")] == []
    assert dept.list_backbones() == list_backbones()


def test_the_default_is_the_embedded_model_as_soon_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_backbone() in registry()
    for names, expected in ((ALIASES, "mini-t5"), (ALIASES[:-1], "smollm2-135m")):
        monkeypatch.setattr(known_backbones, "registry", lambda names=names: dict.fromkeys(names))
        assert default_backbone() == expected


def test_known_backbones_answer_without_torch() -> None:
    code = (
        "import sys; from dept.backbones.load import backbone_info, list_backbones\n"
        "assert backbone_info('random:llama-2-13b').parameters == 13_015_864_320\n"
        "assert list_backbones()\n"
        "heavy = {'torch', 'transformers', 'datasets', 'huggingface_hub'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- random weights


def test_random_shapes_are_the_same_each_time_and_leave_the_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, tokenizer = load_backbone("random:t5-small")
    assert torch.equal(torch.rand(3), expected)
    assert tokenizer is None
    assert first.num_parameters() == 60_506_624
    assert not first.training and not any(weight.requires_grad for weight in first.parameters())
    assert first.get_parameter("lm_head.weight") is first.get_parameter("shared.weight")
    again, _ = load_backbone("random:t5-small", dtype="bf16")
    assert again.dtype is torch.bfloat16
    for name, weight in again.named_parameters():
        assert torch.equal(weight, first.get_parameter(name).bfloat16()), name


@pytest.mark.parametrize("make", [tiny_t5, tiny_gpt2, tiny_llama])
def test_random_weights_have_the_spread_and_buffers_of_transformers_own(make: Any) -> None:
    model = make()
    ours = random_backbone(
        AutoModelForSeq2SeqLM if model.config.is_encoder_decoder else AutoModelForCausalLM,
        model.config,
        torch.float32,
    )
    theirs = weights_of(model)
    assert weights_of(ours).keys() == theirs.keys()
    for name, weight in weights_of(ours).items():
        spread = float(theirs[name].std())
        assert float(weight.std()) == pytest.approx(spread, rel=0.35, abs=1e-6), name
        assert float(weight.mean()) == pytest.approx(float(theirs[name].mean()), abs=spread), name
    for name, buffer in model.named_buffers():
        assert torch.equal(ours.get_buffer(name), buffer), name


def test_random_rows_are_not_repeated_beyond_the_block_of_noise() -> None:
    config = LlamaConfig(
        vocab_size=40_000,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
    )
    embeddings = word_embeddings(random_backbone(AutoModelForCausalLM, config, torch.float32))
    assert embeddings.numel() > 2 * 2**20
    assert len(torch.unique(embeddings[:, :2], dim=0)) == len(embeddings)


def test_random_weights_of_a_folders_shape(t5_folder: Path) -> None:
    (t5_folder / "model.safetensors").unlink()
    backbone, _ = load_backbone(f"random:{t5_folder}")
    assert backbone.config.d_model == 32
    info = backbone_info(f"random:{t5_folder}")
    assert (info.source, info.hidden_size) == ("random", 32)


def test_unknown_random_shape() -> None:
    with pytest.raises(BackboneError, match=r"random:t5-bse: .*did you mean t5-base\?"):
        load_backbone("random:t5-bse")
    with pytest.raises(BackboneError, match="neither a folder nor one of"):
        backbone_info("random:google-t5/t5-base")


# --- folders


@pytest.mark.parametrize("make", [tiny_t5, tiny_gpt2, tiny_llama])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_folder_loads_whole_frozen_and_in_the_dtype(make: Any, dtype: str, tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path)
    backbone, tokenizer = load_backbone(str(tmp_path), dtype=dtype)
    assert tokenizer is None
    assert type(backbone) is type(model)
    assert not backbone.training
    for name, weight in weights_of(model).items():
        loaded = backbone.get_parameter(name)
        assert not loaded.requires_grad
        # transformers itself keeps T5's wo in float32 when the rest is float16, which it would overflow.
        kept = dtype == "float16" and name.endswith("DenseReluDense.wo.weight")
        assert loaded.dtype is (torch.float32 if kept else getattr(torch, dtype)), name
        assert torch.equal(loaded, weight.to(loaded.dtype)), name
    info = backbone_info(str(tmp_path))
    assert (info.source, info.hub_id, info.hidden_size) == ("folder", None, 32)
    assert info.is_encoder_decoder == model.config.is_encoder_decoder
    assert info.parameters == model.num_parameters()


def test_sharded_weights_load(tmp_path: Path) -> None:
    model = tiny_llama()
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    backbone, _ = load_backbone(str(tmp_path))
    assert fingerprint(backbone) == fingerprint(model)
    sorted(tmp_path.glob("*.safetensors"))[1].unlink()
    with pytest.raises(BackboneError, match=r"has no model-00002-of-\d+\.safetensors"):
        load_backbone(str(tmp_path))


def test_unknown_dtype(t5_folder: Path) -> None:
    with pytest.raises(ConfigError, match="dtype: 'int8'"):
        load_backbone(str(t5_folder), dtype="int8")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def drop_a_weight(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    del tensors["encoder.block.0.layer.0.SelfAttention.q.weight"]
    save_file(tensors, path, metadata={"format": "pt"})


def edit_config(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: truncate(f / "model.safetensors"), r"model\.safetensors is damaged"),
        (lambda f: (f / "model.safetensors").write_bytes(b"junk"), r"model\.safetensors is damaged"),
        (lambda f: (f / "model.safetensors").unlink(), r"has no model\.safetensors"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "a pickle, which is not read"),
        (lambda f: drop_a_weight(f / "model.safetensors"), r"missing, the first is .*SelfAttention\.q"),
        (lambda f: (f / "config.json").unlink(), r"has no config\.json"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json is damaged"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), r"config\.json is damaged"),
        (lambda f: (f / "config.json").write_text("[1]"), "names no model_type"),
        (lambda f: edit_config(f / "config.json", model_type=7), "names no model_type"),
        (lambda f: edit_config(f / "config.json", model_type="t9"), "'t9', which transformers .* not have"),
        (lambda f: edit_config(f / "config.json", d_ff=50), r"is \(48, 32\) .*, \(50, 32\) by config"),
        (lambda f: edit_config(f / "config.json", d_ff="wide"), r"config\.json cannot be used"),
        (lambda f: edit_config(f / "config.json", is_encoder_decoder=False), "is neither an encoder-decoder"),
    ],
)
def test_a_damaged_folder_is_refused_by_name(damage: Any, words: str, t5_folder: Path) -> None:
    damage(t5_folder)
    with pytest.raises(BackboneError, match=words) as caught:
        load_backbone(str(t5_folder))
    assert str(t5_folder) in str(caught.value)
    assert str(caught.value).count("\n") <= 1


def test_a_damaged_index_is_refused_by_name(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path, max_shard_size="20KB")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": [1]}')
    with pytest.raises(BackboneError, match=r"model\.safetensors\.index\.json is damaged"):
        load_backbone(str(tmp_path))


def test_a_missing_folder_is_not_looked_up_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="there is no folder"):
        load_backbone(str(tmp_path / "nowhere"))


def test_an_adapter_is_no_backbone(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(BackboneError, match="it is an adapter, not a backbone"):
        backbone_info(str(tmp_path))


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    for ask in (load_backbone, backbone_info):
        with pytest.raises(BackboneError, match=r"\(bert\) is neither an encoder-decoder nor a decoder-only"):
            ask(str(tmp_path))


def test_a_model_of_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(BackboneError, match=r"\(vit\) is neither"):
        backbone_info(str(tmp_path))


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "mine", "auto_map": {"AutoConfig": "evil.Config"}})
    )
    (tmp_path / "evil.py").write_text("raise SystemExit('run')")
    with pytest.raises(BackboneError, match="never run"):
        load_backbone(str(tmp_path))


# --- tokenizers


def test_a_folders_own_tokenizer_pads_with_its_end_of_text(t5_folder: Path) -> None:
    write_word_tokenizer(t5_folder, eos_token="<eos>", unk_token="<unk>")
    _, tokenizer = load_backbone(str(t5_folder))
    assert tokenizer is not None
    assert tokenizer("w3 w4")["input_ids"] == [5, 6]
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == 1


def test_a_tokenizer_for_random_weights(shared: Path) -> None:
    _, tokenizer = load_backbone("random:t5-small", tokenizer=str(shared / "t5_tokenizer"))
    assert tokenizer is not None
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1)
    assert tokenizer("positive")["input_ids"] == [1465, 1]


@pytest.mark.parametrize(
    ("words", "special", "message"),
    [
        (100, {"eos_token": "<eos>"}, "has 102 tokens, the backbone's vocabulary 64"),
        (10, {}, "no end-of-text token"),
    ],
)
def test_an_unsuitable_tokenizer_is_refused(
    words: int, special: dict[str, str], message: str, t5_folder: Path, tmp_path: Path
) -> None:
    folder = write_word_tokenizer(tmp_path / "words", words, **special)
    with pytest.raises(BackboneError, match=message):
        load_backbone(str(t5_folder), tokenizer=str(folder))


def test_a_damaged_tokenizer_is_refused(t5_folder: Path) -> None:
    write_word_tokenizer(t5_folder, eos_token="<eos>")
    (t5_folder / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(BackboneError, match="the tokenizer in .* cannot be loaded"):
        load_backbone(str(t5_folder))


# --- fingerprint and rates


def test_the_fingerprint_tells_checkpoints_apart_and_not_their_dtype(tmp_path: Path) -> None:
    model = tiny_t5()
    model.save_pretrained(tmp_path)
    print_of = {dtype: fingerprint(load_backbone(str(tmp_path), dtype=dtype)[0]) for dtype in ("fp32", "bf16")}
    assert print_of["fp32"] == print_of["bf16"] == fingerprint(model)
    assert fingerprint(tiny_t5(seed=1)) != fingerprint(model)
    with torch.no_grad():
        model.get_parameter("decoder.block.1.layer.0.SelfAttention.o.weight").mul_(1.01)
    assert fingerprint(model) != print_of["fp32"]


def test_the_fingerprint_sees_the_heads() -> None:
    two = tiny_gpt2()
    four = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64))
    four.load_state_dict(two.state_dict())
    assert fingerprint(two) != fingerprint(four)


def test_registered_rates_come_by_name_and_by_hub_id() -> None:
    model = tiny_t5()
    for name in ("t5-base", "random:t5-base", "google-t5/t5-base"):
        model.config.name_or_path = name
        assert default_learning_rates(model) == (0.3, 5e-4)
    model.config.name_or_path = "llama-2-7b"
    assert default_learning_rates(model)[0] < 0.01


def test_other_rates_follow_the_size_of_the_embeddings() -> None:
    model = tiny_llama()
    with torch.no_grad():
        word_embeddings(model).fill_(10.0)
    assert embedding_rms(model) == pytest.approx(10.0)
    assert default_learning_rates(model) == (0.3, 1e-3)
    with torch.no_grad():
        word_embeddings(model).fill_(-0.02)
    assert default_learning_rates(model.bfloat16()) == (0.0006, 0.0003)


def test_no_rates_from_embeddings_that_are_zero() -> None:
    model = tiny_llama()
    with torch.no_grad():
        word_embeddings(model).zero_()
    with pytest.raises(BackboneError, match="zero or not finite"):
        default_learning_rates(model)


def test_freeze() -> None:
    model = tiny_gpt2().train()
    freeze(model)
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())
