"""What is kept in memory: quantised and spread backbones, gradients for the adapter alone, no graph in evaluation."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator, dispatch_model, infer_auto_device_map
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM, GPT2LMHeadModel, PreTrainedModel

import dept.training.prepare
from dept import DeptConfig, PromptedModel, TrainConfig, build_optimizer, get_prompted_model
from dept.backbones.fingerprints import fingerprint, fingerprint_of_files
from dept.backbones.known import registry
from dept.backbones.load import load_backbone
from dept.backbones.placement import is_placed
from dept.errors import AdapterError, BackboneError, ConfigError
from dept.evaluation.label_scoring import LabelTrie, score_labels
from dept.evaluation.load_run import evaluate_run, load_run, predict_texts
from dept.runs.folder import RunFolder
from dept.training.loop import train
from tests.dept.tiny_models import (
    DECODER_ONLY,
    KINDS,
    assert_bit_identical,
    backbone,
    padded,
    prompted,
    snapshot,
    tokens,
)

pytestmark = pytest.mark.usefixtures("one_thread")
FORMS: Any = ("int8", "nf4")
CONFIG = DeptConfig(num_virtual_tokens=4, rank=2, max_seq_length=16)
BATCH = {"input_ids": torch.tensor([[5, 9, 77, 30], [8, 3, 250, 1]]), "attention_mask": torch.ones(2, 4).long()}
TRIE = LabelTrie([[7, 1], [8, 9, 1]])


@pytest.fixture(params=["tiny_t5", "tiny_gpt2", "tiny_llama"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def config(tiny_llama: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        task="sst2",
        backbone=str(tiny_llama),
        data="sample",
        output_dir=str(tmp_path / "run"),
        num_virtual_tokens=4,
        budget_tokens=20,
        max_seq_length=64,
        max_steps=3,
        eval_every=3,
        batch_size=4,
        max_train_rows=12,
        max_validation_rows=8,
        max_test_rows=8,
    )


def targets(model: PromptedModel) -> torch.Tensor:
    return BATCH["input_ids"][:, :2] if model.is_encoder_decoder else BATCH["input_ids"]


def logits(model: PromptedModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(**BATCH, labels=targets(model)).logits
    return found


# --- quantised


@pytest.mark.parametrize("form", FORMS)
def test_quantised_weights_train_a_prompt_and_stay_as_they_are(folder: Path, form: Any) -> None:
    pytest.importorskip("bitsandbytes")
    plain, _ = load_backbone(str(folder))
    quantised, tokenizer = load_backbone(str(folder), quantize=form)
    assert tokenizer is not None and not any(weight.requires_grad for weight in quantised.parameters())
    assert quantised.get_memory_footprint() < plain.get_memory_footprint()
    small = {torch.int8, torch.uint8}
    assert all(block.weight.dtype in small for block in linear_layers(quantised)) and linear_layers(quantised)
    assert quantised.num_parameters() == plain.num_parameters()
    assert is_placed(quantised) and not is_placed(plain)

    torch.manual_seed(0)
    model = get_prompted_model(quantised, CONFIG)
    torch.manual_seed(0)
    expected = logits(get_prompted_model(plain, CONFIG))
    error = {"int8": 0.05, "nf4": 0.5}[form]
    assert (logits(model) - expected).norm() < error * expected.norm()
    assert_trains(model)


def linear_layers(model: PreTrainedModel) -> list[Any]:
    """Those of the blocks; T5's second feed-forward layer stays in float32 (transformers)."""
    head = model.get_output_embeddings()
    return [
        layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and layer is not head and not name.endswith(".wo")
    ]


def assert_trains(model: PromptedModel) -> None:
    """The loss falls, and nothing of the backbone changes or has a gradient or an optimiser state."""
    before = snapshot(model.backbone)
    optimizer = build_optimizer(model, prompt_lr=0.05, low_rank_lr=0.05)
    model.eval()  # without dropout, which would hide the loss's fall
    losses = []
    for _ in range(8):
        loss = model(**BATCH, labels=targets(model)).loss
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        assert all(weight.grad is None for weight in model.backbone.parameters())
        assert all(tensor.grad is not None for tensor in model.adapter_tensors().values())
        optimizer.zero_grad()
    assert losses[-1] < losses[0]
    assert {id(tensor) for tensor in optimizer.state} == {id(tensor) for tensor in model.adapter_tensors().values()}
    assert_bit_identical(model.backbone, before)


@pytest.mark.parametrize("form", FORMS)
def test_evaluation_leaves_the_gradients_of_quantised_weights_whole(form: Any, tmp_path: Path) -> None:
    """bitsandbytes lays 4-bit weights out anew on some CPUs when it evaluates, and then has no gradients."""
    pytest.importorskip("bitsandbytes")
    backbone("llama", hidden_size=64, intermediate_size=128).save_pretrained(tmp_path)
    model = get_prompted_model(load_backbone(str(tmp_path), quantize=form)[0], CONFIG)
    batch = padded([tokens(4), tokens(7)])
    gradients = []
    for _ in range(2):
        model.train()
        model(**batch, labels=batch["input_ids"]).loss.backward()
        gradients.append([tensor.grad for tensor in model.adapter_tensors().values()])
        model.zero_grad()
        before = snapshot(model.backbone)
        score_labels(model.eval(), TRIE, **batch)
        assert_bit_identical(model.backbone, before)
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("form", FORMS)
def test_random_weights_are_quantised_like_those_of_a_file(folder: Path, form: Any, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    plain, _ = load_backbone(f"random:{folder}")
    plain.save_pretrained(tmp_path)
    from_file, _ = load_backbone(str(tmp_path), quantize=form)
    made, _ = load_backbone(f"random:{folder}", quantize=form)
    assert_bit_identical(made, snapshot(from_file))
    assert fingerprint(made) == fingerprint(from_file) == fingerprint(plain)


@pytest.mark.parametrize("form", FORMS)
def test_a_run_on_quantised_weights(config: TrainConfig, form: Any, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("bitsandbytes")
    result = train(dataclasses.replace(config, quantize=form))
    assert result["status"] == "completed" and result["config"]["quantize"] == form
    plain, _ = load_backbone(config.backbone)
    assert result["backbone"]["parameters"] == sum(weight.numel() for weight in plain.parameters())

    run = load_run(config.output_dir)
    assert getattr(run.model.backbone, "is_quantized", False)
    assert evaluate_run(run).metrics == result["metrics"]["test"]
    assert len(predict_texts(run, ["a gorgeous film", "dull"])) == 2
    assert not [record for record in caplog.records if record.name.startswith("bitsandbytes")]
    # The adapter knows the checkpoint, not the form it was in.
    PromptedModel.from_pretrained(plain, RunFolder(config.output_dir).adapter)


def test_quantising_twice_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    quantised, _ = load_backbone(str(tiny_llama), quantize="nf4")
    quantised.save_pretrained(tmp_path)
    with pytest.raises(BackboneError, match="is quantised already: leave out quantize"):
        load_backbone(str(tmp_path), quantize="nf4")
    again, _ = load_backbone(str(tmp_path))
    assert_bit_identical(again, snapshot(quantised))


def refusal(**arguments: Any) -> str:
    with pytest.raises(BackboneError) as caught:
        load_backbone("random:t5-small", **arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_machine_that_cannot_quantise_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "bitsandbytes", None)
        assert refusal(quantize="nf4").endswith("bitsandbytes: pip install 'dept-lab[quantize]'")
    pytest.importorskip("bitsandbytes")
    import transformers.integrations

    with monkeypatch.context() as patch:
        patch.setattr(transformers.integrations, "validate_bnb_backend_availability", lambda: False)
        assert "supports none of this machine's devices" in refusal(quantize="int8")


def test_a_broken_bitsandbytes_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bitsandbytes.py").write_text("raise OSError('libcudart.so.13: no such file')")
    monkeypatch.delitem(sys.modules, "bitsandbytes", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert "does not work here (libcudart.so.13" in refusal(quantize="int8")


@pytest.mark.parametrize("arguments", [{"quantize": "int4"}, {"device_map": "balanced"}, {"device_map": 0}])
def test_unknown_placements(arguments: Any) -> None:
    with pytest.raises(ConfigError, match="is unknown"):
        load_backbone("random:t5-small", **arguments)


# --- the fingerprint of weights that are rounded


def test_the_fingerprint_of_the_files_is_that_of_the_weights(folder: Path) -> None:
    weights, _ = load_backbone(str(folder))
    half, _ = load_backbone(str(folder), dtype="float16")
    assert fingerprint(half) == fingerprint(weights) != fingerprint(type(weights).from_pretrained(folder).half())


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_of_shards_and_of_other_checkpoints(kind: str, tmp_path: Path) -> None:
    for seed in (0, 1):
        backbone(kind, seed).save_pretrained(tmp_path / str(seed), max_shard_size="10KB")
    files = [sorted((tmp_path / seed).glob("*.safetensors")) for seed in ("0", "1")]
    assert len(files[0]) > 1
    found = [fingerprint_of_files(shards, meta(backbone(kind))) for shards in files]
    assert found == [fingerprint(backbone(kind, 0)), fingerprint(backbone(kind, 1))]


def meta(model: PreTrainedModel) -> PreTrainedModel:
    with torch.device("meta"):
        return type(model)(model.config)


def test_the_fingerprint_of_a_file_without_the_heads_prefix(tmp_path: Path) -> None:
    """GPT-2's own checkpoint names its weights as the model without a head does."""
    model = backbone("gpt2")
    assert isinstance(model, GPT2LMHeadModel)
    model.transformer.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    assert "wte.weight" in load_file(file)
    assert fingerprint_of_files([file], meta(model)) == fingerprint(model)


def test_files_that_hold_the_weights_otherwise_have_no_fingerprint(tmp_path: Path) -> None:
    model, file = backbone("llama"), tmp_path / "model.safetensors"
    model.save_pretrained(tmp_path)
    weights = load_file(file)
    name = "model.layers.0.mlp.up_proj.weight"
    for changed in ({"renamed": weights[name]}, {name: weights[name].T.contiguous()}):
        save_file({key: value for key, value in weights.items() if key != name} | changed, file)
        assert fingerprint_of_files([file], meta(model)) is None


def test_an_adapter_knows_its_backbone_in_float16(folder: Path, tmp_path: Path) -> None:
    weights, _ = load_backbone(str(folder))
    get_prompted_model(weights, CONFIG).save_pretrained(tmp_path)
    half, _ = load_backbone(str(folder), dtype="float16")
    PromptedModel.from_pretrained(half, tmp_path)
    by_hand = type(weights).from_pretrained(folder, dtype=torch.float16)
    with pytest.raises(AdapterError, match="as rounded in memory; load_backbone knows the checkpoint's"):
        PromptedModel.from_pretrained(by_hand, tmp_path)
    other, _ = load_backbone(f"random:{folder}")
    with pytest.raises(AdapterError) as caught:
        PromptedModel.from_pretrained(other, tmp_path)
    assert "rounded" not in str(caught.value)


def test_weights_that_are_elsewhere_cannot_be_told_apart() -> None:
    with pytest.raises(BackboneError, match="is not in memory"):
        fingerprint(meta(backbone("llama")))


# --- spread over devices


def spread(model: PreTrainedModel) -> PreTrainedModel:
    """The model as accelerate spreads it, block by block, with this machine's only device as each of them."""
    blocks = model._no_split_modules
    device_map = infer_auto_device_map(model, {"cpu": "1GB"}, no_split_module_classes=blocks, clean_result=False)
    return dispatch_model(model, dict.fromkeys(device_map, torch.device("cpu")), force_hooks=True)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bart"])  # its bias is a buffer of no module
def test_a_spread_backbone_gives_what_a_whole_one_gives(kind: str) -> None:
    plain, model = prompted(kind), prompted(kind)
    spread(model.backbone)
    assert is_placed(model.backbone) and not is_placed(plain.backbone)
    assert len(model.hf_device_map) > 1 and not hasattr(plain, "hf_device_map")

    batch = padded([tokens(4), tokens(7)])
    with torch.no_grad():
        choices = [score_labels(each, TRIE, **batch) for each in (plain, model)]
        texts = [each.generate(**batch, max_new_tokens=4, do_sample=False) for each in (plain, model)]
    assert torch.allclose(choices[0][1], choices[1][1], atol=1e-5) and torch.equal(*texts)
    if kind in DECODER_ONLY:
        assert model._prompt_cache is not None
    gradients = []
    for each in (plain, model):
        labels = batch["input_ids"] if kind in DECODER_ONLY else batch["input_ids"][:, :3]
        each(**batch, labels=labels).loss.backward()
        gradients.append([tensor.grad for tensor in each.adapter_tensors().values()])
    assert all(map(torch.equal, *gradients))


def test_the_prompt_lies_beside_the_embeddings() -> None:
    model = backbone("llama")
    embeddings: Any = model.get_input_embeddings()
    embeddings.to("meta")  # a device that is not the other layers'
    assert is_placed(model)
    wrapped = get_prompted_model(model, CONFIG)
    assert {tensor.device.type for tensor in wrapped.adapter_tensors().values()} == {wrapped.device.type} == {"meta"}


def test_training_leaves_a_spread_backbone_where_it_is(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def load_spread(*arguments: Any, **options: Any) -> tuple[PreTrainedModel, Any]:
        model, tokenizer = load_backbone(*arguments, **options)
        return spread(model), tokenizer

    def refuse(self: nn.Module, *_: Any, **__: Any) -> nn.Module:
        raise AssertionError("moved")

    monkeypatch.setattr(dept.training.prepare, "load_backbone", load_spread)
    monkeypatch.setattr(PromptedModel, "to", refuse, raising=False)
    assert train(dataclasses.replace(config, device_map="auto"))["status"] == "completed"


def test_a_device_map_of_one_device(config: TrainConfig) -> None:
    whole, _ = load_backbone(config.backbone, device_map={"": "cpu"})
    assert_bit_identical(whole, snapshot(load_backbone(config.backbone)[0]))
    result = train(dataclasses.replace(config, device_map="auto"))
    assert evaluate_run(load_run(config.output_dir)).metrics == result["metrics"]["test"]


def test_a_device_map_is_for_one_process(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda _: 2))
    with pytest.raises(ConfigError, match="start one process only"):
        train(dataclasses.replace(config, device_map="auto"))
    assert not Path(config.output_dir).exists()


@pytest.mark.parametrize("form", [None, *FORMS])
def test_a_backbone_that_does_not_fit(form: Any, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if form is not None:
        pytest.importorskip("bitsandbytes")
    import transformers.integrations.accelerate

    monkeypatch.setattr(transformers.integrations.accelerate, "get_max_memory", lambda *_: {"cpu": 30_000})
    with pytest.raises(BackboneError, match="does not fit into the memory of this machine's devices: try") as caught:
        load_backbone(str(tiny_llama), device_map="auto", quantize=form)
    assert len(str(caught.value).splitlines()) == 1


def test_llama_2_13b_fits_two_gpus_of_16_gb() -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(**registry()["llama-2-13b"]["config"])
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    room: Any = {0: 14_000_000_000, 1: 14_000_000_000}
    places = infer_auto_device_map(model, room, no_split_module_classes=model._no_split_modules)
    assert set(places.values()) == {0, 1} and places["model.embed_tokens"] == 0
    wrapped = get_prompted_model(model, DeptConfig())
    assert sum(tensor.nbytes for tensor in wrapped.adapter_tensors().values()) < 3_000_000


# --- the adapter alone


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_and_moments_are_the_adapters_alone(kind: str, checkpointing: bool) -> None:
    model = prompted(kind, s=16)
    if checkpointing:
        model.gradient_checkpointing_enable()
    before = snapshot(model.backbone)
    optimizer = build_optimizer(model, prompt_lr=0.1, low_rank_lr=0.1)
    batch = padded([tokens(4), tokens(7)])
    labels = batch["input_ids"] if kind in DECODER_ONLY else batch["input_ids"][:, :3]
    model.train()
    model(**batch, labels=labels).loss.backward()
    optimizer.step()
    adapter = {id(tensor) for tensor in model.adapter_tensors().values()}
    assert {id(tensor) for tensor in model.parameters() if tensor.grad is not None} == adapter
    assert {id(tensor) for tensor in optimizer.state} == adapter
    moments = [moment for state in optimizer.state.values() for moment in state.values()]
    assert sum(moment.numel() for moment in moments) <= 3 * model.trainable_parameters()
    assert_bit_identical(model.backbone, before)


@pytest.mark.parametrize("decoding", ["label_scoring", "generate"])
def test_evaluation_builds_no_graph(config: TrainConfig, decoding: str) -> None:
    train(config)
    run = load_run(config.output_dir)

    def refuse(tensor: torch.Tensor) -> torch.Tensor:
        raise AssertionError("kept for a backward pass")

    with torch.autograd.graph.saved_tensors_hooks(refuse, lambda tensor: tensor):
        evaluate_run(run, decoding=decoding)
        with pytest.raises(AssertionError, match="backward"):
            run.model(**BATCH, labels=targets(run.model))


# --- compiled


def test_compile_is_for_one_device() -> None:
    with pytest.raises(ConfigError, match="leave out compile or device_map"):
        TrainConfig(compile=True, device_map="auto")
