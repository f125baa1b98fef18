"""Methods that act inside the backbone: what could silently leave them out, or act twice, is refused or works."""

from __future__ import annotations

import copy
import gc
import itertools
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dept.adapters.store import read_adapter_config
from dept.backbones.layers import bias_sizes
from dept.backbones.shape import Shape
from dept.cli import main
from dept.errors import ConfigError
from dept.methods.contract import MethodConfig
from dept.methods.peft import PeftConfig
from dept.methods.registry import method_config
from dept.parts.contract import Route
from dept.prompted import PromptedModel, get_prompted_model
from dept.training.optim import build_groups, build_optimizer
from tests.dept.methods.methods import (
    EVERY_METHOD,
    FAMILIES,
    batch,
    fresh,
    gradients,
    labelled,
    learn,
    loss,
    moved,
    small_config,
)
from tests.dept.tiny_models import backbone, snapshot
from tests.support import cases

ROOT = Path(__file__).resolve().parents[3]
INSIDE = ("lora", "bitfit", "peft", "dept+lora", "lora+bitfit")
QUICK = (("lora", "t5"), ("bitfit", "gpt2"), ("dept", "llama"))

over_inside = pytest.mark.parametrize(
    ("method", "family"), cases(itertools.product(INSIDE, FAMILIES), lambda *pair: pair in QUICK)
)


def peft_config(**values: Any) -> PeftConfig:
    return PeftConfig(json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q", "v"], **values}))


@pytest.mark.parametrize(
    ("method", "family"),
    cases(itertools.product(EVERY_METHOD, FAMILIES), lambda method, family: (method, family) in QUICK),
)
def test_a_bfloat16_backbone_trains_float32_tensors(method: str, family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = get_prompted_model(backbone(family).bfloat16(), small_config(method, family)).train()
    assert {tensor.dtype for tensor in model.adapter_tensors().values()} == {torch.float32}
    optimizer = build_groups(model, dict.fromkeys(model.grouped_tensors(), 0.02))
    losses = learn(model, optimizer, 6)
    assert min(losses[1:]) < losses[0]
    model.eval().generate(**batch("left"), max_new_tokens=2, do_sample=False)
    with torch.no_grad():
        answer = model(**labelled(model)).logits
    assert answer.dtype == torch.bfloat16
    model.save_pretrained(tmp_path / "adapter")
    again = PromptedModel.from_pretrained(backbone(family).bfloat16(), tmp_path / "adapter").eval()
    with torch.no_grad():
        assert torch.equal(again(**labelled(model)).logits, answer)


@over_inside
def test_checkpointing_asked_of_the_backbone_itself_keeps_the_gradients(method: str, family: str) -> None:
    model = moved(fresh(method, family)).train()
    torch.manual_seed(0)
    plain = gradients(model)
    enable = getattr(model.backbone, "activation_checkpointing_enable", model.backbone.gradient_checkpointing_enable)
    enable({"use_reentrant": False})
    torch.manual_seed(0)
    checkpointed = gradients(model)
    assert plain.keys() == checkpointed.keys() and plain
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-4, atol=1e-5)


@over_inside
def test_a_model_that_nobody_holds_leaves_nothing_in_its_backbone(method: str, family: str) -> None:
    plain = backbone(family)
    model = moved(get_prompted_model(plain, small_config(method, family)))
    shallow = copy.copy(model)
    del model
    gc.collect()
    assert _hooks_in(plain), "the shallow copy lost its hooks"
    del shallow
    gc.collect()
    assert not _hooks_in(plain)


def _hooks_in(plain: torch.nn.Module) -> bool:
    return any(
        "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks for module in plain.modules()
    )


@pytest.mark.slow
def test_a_program_that_holds_a_model_ends_in_silence() -> None:
    code = (
        "from tests.dept.methods.methods import fresh\n"
        "model, other = fresh('lora', 't5'), fresh('dept+bitfit', 'gpt2')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr == ""


@pytest.mark.parametrize("start", ["pissa", "olora", "pissa_niter_4", "eva"])
def test_a_start_that_changes_the_backbone_is_refused(start: str) -> None:
    plain = backbone("t5")
    before, modules = snapshot(plain), [type(module) for module in plain.modules()]
    with pytest.raises(ConfigError, match="init_lora_weights"):
        get_prompted_model(plain, peft_config(init_lora_weights=start))
    assert all(torch.equal(before[name], tensor) for name, tensor in snapshot(plain).items())
    assert [type(module) for module in plain.modules()] == modules


@pytest.mark.parametrize("target", ["shared", "embed_tokens"])
def test_embeddings_are_refused(target: str) -> None:
    """T5 is given what its encoder reads: a layer in place of its embeddings would never be called."""
    plain = backbone("t5")
    with pytest.raises(ConfigError, match="embeddings are looked up before"):
        get_prompted_model(plain, peft_config(target_modules=[target]))
    assert not _hooks_in(plain)


def test_a_layer_with_several_names_is_refused() -> None:
    """PEFT puts its own at one of the names, and the backbone may call the other."""
    plain = backbone("t5")
    first, second = (plain.get_submodule(f"encoder.block.{index}.layer.0.SelfAttention") for index in (0, 1))
    second.q = first.q
    with pytest.raises(ConfigError, match="in several places"):
        get_prompted_model(plain, peft_config())
    assert not _hooks_in(plain)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"target_modules": "("}, "PEFT does not take this config"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
    ],
)
def test_other_configs_that_cannot_be_are_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as fault:
        get_prompted_model(backbone("t5"), peft_config(**values))
    assert "\n" not in str(fault.value)


def test_starts_that_touch_the_new_layers_alone_are_taken() -> None:
    for start in ("gaussian", "orthogonal", True):
        get_prompted_model(backbone("t5"), peft_config(init_lora_weights=start))
    with torch.inference_mode():
        plain = backbone("t5")
    get_prompted_model(plain, peft_config())


def test_a_random_start_says_so() -> None:
    assert peft_config().start_note() is None
    assert peft_config(init_lora_weights=False).start_note() == "PEFT starts LORA at random"


def test_two_stand_ins_for_one_layer_are_refused_and_taken_out() -> None:
    plain = backbone("t5")

    def of(**values: Any) -> MethodConfig:
        settings = {"lora_rank": 2, "peft_config": json.dumps(values)}
        return method_config("lora+peft").from_settings(settings)

    with pytest.raises(ConfigError, match="stand in for the same layer"):
        get_prompted_model(plain, of(peft_type="IA3", target_modules=["q"], feedforward_modules=[]))
    assert not _hooks_in(plain)
    both = get_prompted_model(plain, of(peft_type="IA3", target_modules=["k"], feedforward_modules=[]))
    assert list(both.grouped_tensors()) == ["lora", "peft"]
    del both
    with pytest.raises(ConfigError, match="two tensors of this method are called"):
        get_prompted_model(plain, of(peft_type="LORA", r=2, target_modules=["q"]))
    gc.collect()
    assert not _hooks_in(plain)


def test_a_sum_is_pickled_as_the_class_that_it_is() -> None:
    config = small_config("dept+lora", "t5", lora_rank=3)
    again = pickle.loads(pickle.dumps(config))
    assert again == config and type(again) is type(config)
    assert copy.deepcopy(config) == config


def test_a_sum_s_shared_setting_has_the_first_s_default() -> None:
    first = method_config("prompt_tuning+lora").from_settings({})
    assert first.to_dict()["num_virtual_tokens"] == method_config("prompt_tuning")().to_dict()["num_virtual_tokens"]
    assert "rank" not in first.to_dict() and first.settings() == first.to_dict()


def test_a_replica_of_dataparallel_is_refused_where_hooks_are_needed() -> None:
    model = fresh("lora", "t5")
    vars(model)["_is_replica"] = True  # as DataParallel's copies have, whose layers have no hooks
    with pytest.raises(ValueError, match="one process a GPU"):
        loss(model)


def test_parts_are_those_of_the_copy() -> None:
    """A replica's parts are its own modules, as `nn.DataParallel` puts them there."""
    model = moved(fresh("dept", "t5"))
    replica = model._replicate_for_data_parallel()
    replica._modules["soft_prompt"] = copy.deepcopy(model.soft_prompt)
    assert replica.parts[0] is replica._modules["soft_prompt"] and model.parts[0] is model.soft_prompt


def test_an_optimizer_takes_the_model_s_own_rates_alone() -> None:
    model = fresh("dept+lora", "t5")
    optimizer = build_optimizer(model, prompt_lr=0.3, low_rank_lr=0.0, lora_lr=1e-3)
    assert {group["name"]: group["lr"] for group in optimizer.param_groups} == {
        "prompt": 0.3, "low_rank": 0.0, "lora": 1e-3,
    }  # fmt: skip
    with pytest.raises(ValueError, match="bias_lr: this model has no such rate"):
        build_optimizer(model, prompt_lr=0.3, low_rank_lr=0.1, lora_lr=1e-3, bias_lr=0.1)


def test_ids_follow_their_rows() -> None:
    ids = torch.tensor([3, 1])
    assert Route.rows(ids, 2).tolist() == [3, 1]
    assert Route.rows(ids, 6).tolist() == [3, 3, 3, 1, 1, 1]


def test_bitfit_counts_a_llama_with_biases_on_the_model() -> None:
    shape = Shape.from_config(backbone("llama", attention_bias=True).config.to_dict())
    assert shape.more_biases
    with pytest.raises(ConfigError, match="counted on the backbone"):
        bias_sizes(shape)


def test_bitfit_trains_the_biases_that_there_are() -> None:
    plain = backbone("opt")
    model = get_prompted_model(plain, method_config("bitfit")())
    own = {name for name, _ in plain.named_parameters() if name.endswith(".bias")}
    assert own == {name.removeprefix("biases.") for name in model.adapter_tensors()}, "OPT has all of its own"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--method", "bitfit", "--lora-rank", "8"], "lora_rank belongs to LoRA; the method here is BitFit"),
        (["--method", "lora", "--rank", "auto"], "rank belongs to DePT; the method here is LoRA"),
        (["--method", "dept", "--bias-lr", "0.1"], "bias_lr belongs to BitFit; the method here is DePT"),
    ],
)
def test_a_flag_of_another_method_is_refused_whatever_its_value(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = ["train", "--task", "sst2", "--backbone", "mini-t5", "--data", "sample", "--output-dir", str(tmp_path / "r")]
    assert main([*run, *flags]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_yesterday_s_flags_of_prompt_tuning_are_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = ["train", "--task", "sst2", "--backbone", "mini-t5", "--data", "sample", "--max-steps", "1", "--quiet"]
    run += ["--max-train-rows", "16", "--max-validation-rows", "8", "--max-test-rows", "8"]
    more = ["--method", "prompt_tuning", "--low-rank-lr", "0.1", "--budget-tokens", "5", "--rank", "0"]
    assert main([*run, *more, "--output-dir", str(tmp_path / "run")]) == 0, capsys.readouterr().err
    assert read_adapter_config(tmp_path / "run" / "adapter").method == "prompt_tuning"


def test_methods_that_cannot_be_counted_say_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "peft", "--peft-config", "nope.json"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
