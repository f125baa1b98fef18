"""What every method promises, over the registry and three families of backbones.

`make check` takes every method on T5, and a prompt, LoRA and the biases on the other families; `make test` takes all.
"""

from __future__ import annotations

import copy
import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from dept.backbones.fingerprints import fingerprint
from dept.errors import AdapterError, ConfigError
from dept.evaluation.label_scoring import LabelTrie, score_labels
from dept.model.facts import facts_of
from dept.prompted import PromptedModel
from dept.training.optim import build_groups
from tests.dept.methods.methods import (
    EVERY_METHOD,
    FAMILIES,
    batch,
    fresh,
    gradients,
    labelled,
    learn,
    moved,
    small_config,
)
from tests.dept.tiny_models import EOS, PAD, VOCABULARY, backbone, padded, tokens
from tests.support import cases

ON_EVERY_FAMILY = ("dept", "lora", "bitfit")

over_all = pytest.mark.parametrize(
    ("method", "family"),
    cases(
        itertools.product(EVERY_METHOD, FAMILIES),
        lambda method, family: family == FAMILIES[0] or method in ON_EVERY_FAMILY,
    ),
)


def plain_logits(family: str, **inputs: Any) -> Tensor:
    """The bare backbone's."""
    with torch.no_grad():
        logits: Tensor = backbone(family)(**inputs).logits
    return logits


def logits(model: PromptedModel, **inputs: Any) -> Tensor:
    with torch.no_grad():
        values: Tensor = model(**inputs).logits
    return values


@over_all
def test_it_starts_as_the_plain_backbone_or_says_why_not(method: str, family: str) -> None:
    model = fresh(method, family)
    inputs = {"input_ids": torch.tensor([tokens(6, 1), tokens(6, 2)])}
    decoder = {"decoder_input_ids": torch.tensor([[0, 5], [0, 6]])} if model.is_encoder_decoder else {}
    ours, plain = logits(model, **inputs, **decoder), plain_logits(family, **inputs, **decoder)
    assert model.method_config.prompt_length == model.num_virtual_tokens
    if model.method_config.start_note() is None:
        assert torch.equal(ours, plain)
    else:
        assert not torch.allclose(ours[:, -plain.shape[1] :], plain, atol=1e-3)


@over_all
def test_counts_from_sizes_are_the_tensors(method: str, family: str) -> None:
    model = fresh(method, family)
    try:
        counts = model.method_config.counts(facts_of(model.backbone))
    except ConfigError:  # what a config of PEFT trains is counted on the backbone
        assert "peft" in method
        return
    assert counts == model.trainable_parts()
    assert sum(counts.values()) == model.trainable_parameters()


@over_all
def test_groups_cover_what_is_trained(method: str, family: str) -> None:
    model = fresh(method, family)
    rates = {group.name: 0.1 * (index + 1) for index, group in enumerate(model.groups)}
    optimizer = build_groups(model, rates)
    assert [(group["name"], group["lr"]) for group in optimizer.param_groups] == [
        (name, rates[name]) for name in model.grouped_tensors()
    ]
    trained = {id(tensor) for tensor in model.parameters() if tensor.requires_grad}
    assert trained == {id(tensor) for tensor in model.adapter_tensors().values()}
    with pytest.raises(ValueError, match="no learning rate"):
        build_groups(model, {})


@over_all
def test_only_its_tensors_change_in_training(method: str, family: str) -> None:
    model = fresh(method, family)
    frozen = {name: tensor.clone() for name, tensor in model.backbone.named_parameters()}
    before = {name: tensor.detach().clone() for name, tensor in model.adapter_tensors().items()}
    optimizer = build_groups(model, dict.fromkeys(model.grouped_tensors(), 0.05))
    losses = learn(model.train(), optimizer, 4)
    assert losses[-1] < losses[0]
    assert all(torch.equal(frozen[name], tensor) for name, tensor in model.backbone.named_parameters())
    for group, tensors in model.grouped_tensors().items():
        assert any(not torch.equal(before[name], tensor) for name, tensor in tensors.items()), group


@over_all
def test_state_and_file_hold_exactly_its_tensors(method: str, family: str, tmp_path: Path) -> None:
    model = moved(fresh(method, family))
    keys = [f"{part.key}.{name}" for part in model.parts for names in part.tensors().values() for name in names]
    assert list(model.state_dict()) == keys
    model.save_pretrained(tmp_path / "adapter")
    stored = safetensors.torch.load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert stored.keys() == {*model.adapter_tensors(), *model.constants()}
    assert sum(stored[name].numel() for name in model.adapter_tensors()) == model.trainable_parameters()
    twin = fresh(method, family, seed=5)
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(logits(twin, **labelled(model)), logits(model, **labelled(model)), rtol=0, atol=1e-6)
    with pytest.raises(RuntimeError, match="Missing"):
        twin.load_state_dict({})


@over_all
def test_saved_and_loaded_it_answers_the_same(method: str, family: str, tmp_path: Path) -> None:
    model = moved(fresh(method, family))
    model.save_pretrained(tmp_path / "adapter")
    again = backbone(family)
    state = torch.get_rng_state()
    loaded = PromptedModel.from_pretrained(again, tmp_path / "adapter").eval()
    assert torch.equal(state, torch.get_rng_state()), "loading draws random numbers"
    assert loaded.method_config == model.method_config
    torch.testing.assert_close(logits(loaded, **labelled(model)), logits(model, **labelled(model)), rtol=0, atol=1e-6)
    with pytest.raises(AdapterError, match="fingerprint"):
        PromptedModel.from_pretrained(backbone(family, seed=9), tmp_path / "adapter")


@over_all
def test_its_moments_and_tensors_resume_exactly(method: str, family: str) -> None:
    """Two steps, saved and put into a fresh model, and two more are four steps."""

    whole, first = fresh(method, family), fresh(method, family)
    rates = dict.fromkeys(whole.grouped_tensors(), 0.05)
    for model, count in ((whole, 4), (first, 2)):
        optimizer = build_groups(model, rates)
        learn(model, optimizer, count)
    second = fresh(method, family, seed=3)
    second.load_state_dict(first.state_dict())
    resumed = build_groups(second, rates)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    learn(second, resumed, 2)
    for name, tensor in whole.adapter_tensors().items():
        assert torch.equal(tensor, second.adapter_tensors()[name]), name


@over_all
def test_detaching_gives_the_backbone_back(method: str, family: str) -> None:
    untouched = backbone(family)
    modules = {name: type(module) for name, module in untouched.named_modules()}
    before = fingerprint(untouched)
    model = moved(fresh(method, family))
    assert fingerprint(model.backbone) == before
    given_back = model.detach()
    assert {name: type(module) for name, module in given_back.named_modules()} == modules
    assert not any("forward" in vars(module) or module._forward_hooks for module in given_back.modules())
    assert fingerprint(given_back) == before and given_back.state_dict().keys() == untouched.state_dict().keys()
    inputs = {"input_ids": torch.tensor([tokens(6, 1)])}
    decoder = {"decoder_input_ids": torch.tensor([[0, 5]])} if model.is_encoder_decoder else {}
    with torch.no_grad():
        assert torch.equal(given_back(**inputs, **decoder).logits, plain_logits(family, **inputs, **decoder))


@over_all
def test_the_backbone_alone_stays_plain_and_two_models_do_not_see_each_other(method: str, family: str) -> None:
    model = moved(fresh(method, family))
    alone = logits(model, **labelled(model))
    other_config = small_config("lora+bitfit", family)
    facts = facts_of(model.backbone)
    other = moved(PromptedModel(model.backbone, other_config, other_config.parts(model.backbone, facts)).eval(), 2)
    assert torch.equal(logits(model, **labelled(model)), alone)
    inputs = {"input_ids": torch.tensor([tokens(6, 1)])}
    decoder = {"decoder_input_ids": torch.tensor([[0, 5]])} if model.is_encoder_decoder else {}
    plain = plain_logits(family, **inputs, **decoder)
    assert not torch.allclose(logits(other, **inputs, **decoder), plain)
    answers: dict[int, bool] = {}

    def watch(index: int) -> None:
        values = []
        for _ in range(10):
            with torch.no_grad():
                values.append(torch.equal(model.backbone(**inputs, **decoder).logits, plain))
            values.append(torch.equal(logits(model, **labelled(model)), alone))
            logits(other, **inputs, **decoder)
        answers[index] = all(values)

    threads = [threading.Thread(target=watch, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {0: True, 1: True}


@over_all
def test_padding_on_either_side_changes_nothing(method: str, family: str) -> None:
    model = moved(fresh(method, family))
    rows = [tokens(7, 1), tokens(4, 2), tokens(2, 3)]
    prefix = {"decoder_input_ids": torch.tensor([[0, 5]] * 3)} if model.is_encoder_decoder else {}
    sides = [logits(model, **padded(rows, side, to=9), **prefix) for side in ("left", "right")]
    for index, row in enumerate(rows):
        single = {key: value[:1] for key, value in prefix.items()}
        alone = logits(model, **padded([row]), **single)[0]
        for side, values in zip(("left", "right"), sides, strict=True):
            mine = values[index]
            if not model.is_encoder_decoder:
                m, pad = model.num_virtual_tokens, 9 - len(row)
                start = m + pad if side == "left" else m
                mine, wanted = mine[start : start + len(row)], alone[m:]
            else:
                wanted = alone
            torch.testing.assert_close(mine, wanted, rtol=0, atol=2e-5)


@over_all
def test_greedy_generation_equals_label_scoring(method: str, family: str) -> None:
    """The first token that is generated, of those that are labels, is the label that scores best."""
    model = moved(fresh(method, family))
    ends = [PAD, EOS]
    candidates = [token for token in range(VOCABULARY) if token not in ends]
    chosen, probabilities = score_labels(model, LabelTrie([[token, EOS] for token in candidates]), **batch("left"))
    torch.testing.assert_close(probabilities.sum(1), torch.ones(3), rtol=0, atol=1e-4)
    made = model.generate(**batch("left"), max_new_tokens=1, do_sample=False, eos_token_id=None, suppress_tokens=ends)
    first = made[:, 1 if model.is_encoder_decoder else 0].tolist()
    assert [candidates[int(index)] for index in chosen] == first


@over_all
def test_beams_follow_their_rows(method: str, family: str) -> None:
    """Two beams of a batch are those of each row alone."""
    model = moved(fresh(method, family))
    together = model.generate(**batch("left"), max_new_tokens=4, num_beams=2, do_sample=False, eos_token_id=None)
    for index, length in enumerate((7, 4, 1)):
        row = padded([tokens(length, index + 1)])
        alone = model.generate(**row, max_new_tokens=4, num_beams=2, do_sample=False, eos_token_id=None)
        assert together[index].tolist() == alone[0].tolist()


@over_all
def test_checkpointed_gradients_are_the_plain_ones(method: str, family: str) -> None:
    model = moved(fresh(method, family)).train()
    torch.manual_seed(0)
    plain = gradients(model)
    model.gradient_checkpointing_enable()
    torch.manual_seed(0)
    checkpointed = gradients(model)
    model.gradient_checkpointing_disable()
    assert plain.keys() == checkpointed.keys() and plain
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-4, atol=1e-5)


@over_all
def test_a_deep_copy_is_a_model_of_its_own(method: str, family: str) -> None:
    model = moved(fresh(method, family))
    before = logits(model, **labelled(model))
    twin = moved(copy.deepcopy(model), seed=7)
    assert torch.equal(logits(model, **labelled(model)), before)
    assert not torch.allclose(logits(twin, **labelled(model)), before)
    twin.detach()
    assert torch.equal(logits(model, **labelled(model)), before)


_ELSEWHERE = """
import json, sys, torch
from dept.prompted import PromptedModel
from tests.dept.methods.methods import FAMILIES, EVERY_METHOD, labelled
from tests.dept.tiny_models import backbone
answers = {}
for method in EVERY_METHOD:
    for family in FAMILIES:
        model = PromptedModel.from_pretrained(backbone(family), f"{sys.argv[1]}/{method}-{family}").eval()
        with torch.no_grad():
            answers[f"{method}-{family}"] = model(**labelled(model)).logits.double().sum().item()
print(json.dumps(answers))
"""


@pytest.mark.slow
def test_another_process_loads_all_of_them(tmp_path: Path) -> None:
    wanted = {}
    for method in EVERY_METHOD:
        for family in FAMILIES:
            model = moved(fresh(method, family))
            model.save_pretrained(tmp_path / f"{method}-{family}")
            wanted[f"{method}-{family}"] = logits(model, **labelled(model)).double().sum().item()
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(tmp_path)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    assert json.loads(done.stdout) == pytest.approx(wanted, abs=1e-3)
