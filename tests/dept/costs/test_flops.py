"""The cost model beside counts of real steps; dept.costs.activations and dept.costs.trade_off.trade_off with it."""

import itertools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from dept.backbones.known import registry
from dept.backbones.shape import Shape, shape_of
from dept.costs.flops import Cost, inference_cost, step_cost
from dept.costs.trade_off import trade_off
from dept.errors import BudgetError
from dept.evaluation.label_scoring import LabelTrie, score_labels
from dept.methods.budget import rank_for
from dept.methods.contract import Facts, Footprint, MethodConfig, Start
from dept.methods.registry import method_config
from dept.prompted import PromptedModel
from tests.dept.costs.counting import (
    LiveBytes,
    adapted,
    count_flops,
    count_kept_bytes,
    prompted,
    sources,
    training_batch,
)
from tests.support import cases

WITHIN = 0.05  # what is promised


def config(alias: str, **changes: Any) -> dict[str, Any]:
    return {**registry()[alias]["config"], **changes}


_T5 = {"num_layers": 2, "num_decoder_layers": 2, "vocab_size": 2000}
_GPT2 = {"n_layer": 2, "vocab_size": 2000, "bos_token_id": 1, "eos_token_id": 1}
_LLAMA = {"num_hidden_layers": 2, "vocab_size": 2000}
CONFIGS = {
    "t5-small": config("t5-small", **_T5),
    "t5-base": config("t5-base", **_T5),
    "t5-small, no dropout": config("t5-small", **_T5, dropout_rate=0.0),
    "t5 v1.1": config("t5-small", **_T5, d_ff=1024, num_heads=6, feed_forward_proj="gated-gelu"),
    "gpt2": config("gpt2", **_GPT2),
    "gpt2, no dropout": config("gpt2", **_GPT2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0),
    "llama": config("llama-2-7b", **_LLAMA, hidden_size=512, intermediate_size=1376, num_attention_heads=8)
    | {"num_key_value_heads": 8},
    "llama, groups": config("smollm2-135m", **_LLAMA),
    "llama, one group": config("smollm2-135m", **_LLAMA, num_key_value_heads=1),
}
# num_virtual_tokens, rank, source_length, batch_size, target_length, padding
STEPS = [(20, 53, 17, 4, 2, True), (100, 0, 45, 2, 2, False), (0, 66, 128, 1, 5, False)]


def step_counts(
    values: dict[str, Any], m: int, rank: int, length: int, batch: int, target: int, padding: bool
) -> Cost:
    model = prompted(values, m, rank)
    arguments = training_batch(model, length, batch, target, padding)
    return Cost(
        count_flops(lambda: model(**arguments).loss.backward()), count_kept_bytes(model, lambda: model(**arguments))
    )


@pytest.mark.parametrize(
    ("name", "step"),
    cases(itertools.product(CONFIGS, STEPS), lambda name, step: step == STEPS[[*CONFIGS].index(name) % len(STEPS)]),
    ids=str,
)
def test_a_training_step(name: str, step: tuple[int, int, int, int, int, bool]) -> None:
    *sizes, padding = step
    model = step_cost(Shape.from_config(CONFIGS[name]), *sizes, padding=padding)
    counted = step_counts(CONFIGS[name], *step)
    assert model.flops == pytest.approx(counted.flops, rel=0.001)
    assert model.activation_bytes == pytest.approx(counted.activation_bytes, rel=WITHIN)


# Every method that acts inside the backbone or on each token, and a sum of two.
INSIDE: dict[str, dict[str, Any]] = {
    "lora": {"lora_rank": 32},
    "lora, all layers": {"lora_rank": 8, "lora_targets": "q,k,v,o,up,down", "lora_dropout": 0.0},
    "bitfit": {},
    "adept": {"num_virtual_tokens": 20},
    "lopt": {"num_virtual_tokens": 20},
    "dept+lora": {"num_virtual_tokens": 20, "rank": 8},
}
FAMILIES = ("t5-small", "gpt2", "llama, groups")
OTHER_STEPS = [(17, 4, 2, True), (64, 2, 3, False)]  # source_length, batch_size, target_length, padding
DECODINGS = ("label_scoring", "generate")


def one_of_each(name: str, family: str, _: object) -> bool:
    """Each method on one family, each family with two methods: `make check` takes these."""
    return family == FAMILIES[[*INSIDE].index(name) % len(FAMILIES)]


def method_of(name: str, values: dict[str, Any]) -> tuple[MethodConfig, Shape, Footprint]:
    """A method's resolved config, the backbone's shape, and what it adds."""
    shape = Shape.from_config(values)
    facts = Facts(hidden_size=shape.hidden_size, shape=shape)
    config = method_config(name.partition(",")[0]).from_settings(INSIDE[name]).resolved(facts)
    return config, shape, config.footprint(facts)


@pytest.mark.parametrize(
    ("name", "family", "step"), cases(itertools.product(INSIDE, FAMILIES, OTHER_STEPS), one_of_each), ids=str
)
def test_a_training_step_of_another_method(name: str, family: str, step: tuple[int, int, int, bool]) -> None:
    config, shape, added = method_of(name, CONFIGS[family])
    model = adapted(CONFIGS[family], config)
    *sizes, padding = step
    arguments = training_batch(model, *step)
    cost = step_cost(shape, added.positions, added.rank, *sizes, added=added, padding=padding)
    assert cost.flops == pytest.approx(count_flops(lambda: model(**arguments).loss.backward()), rel=0.006)
    kept = count_kept_bytes(model, lambda: model(**arguments))
    assert cost.activation_bytes == pytest.approx(kept, rel=0.065)


@pytest.mark.parametrize(
    ("name", "family", "decoding"), cases(itertools.product(INSIDE, FAMILIES, DECODINGS), one_of_each)
)
def test_a_batch_of_predictions_of_another_method(name: str, family: str, decoding: Any) -> None:
    config, shape, added = method_of(name, CONFIGS[family])
    model = adapted(CONFIGS[family], config).eval().requires_grad_(False)
    model.generation_config.eos_token_id = None
    model.generation_config.decoder_start_token_id = 0
    run = decode(model, sources(model, 17, 4, True), decoding, 1)
    run()
    sizes = added.positions, added.rank, 17, 4, 4
    cached = model.cache_prompt and added.positions > 0
    cost = inference_cost(shape, *sizes, decoding=decoding, cached_prompt=cached, added=added)
    assert cost.flops == pytest.approx(count_flops(run), rel=0.01)  # BitFit's head gives the whole vocabulary's logits


def test_what_begins_first_counts_where_methods_are_joined() -> None:
    joined = Footprint.together(
        (
            Footprint(positions=20),
            Footprint(flops_per_token=7, start=Start.PROJECTIONS, decoder_start=Start.PROJECTIONS),
        )
    )
    assert joined == Footprint(20, flops_per_token=7, decoder_start=Start.PROJECTIONS)


def test_nothing_before_the_first_trained_thing_is_computed_backward() -> None:
    shape = shape_of("t5-base")
    costs = [step_cost(shape, 0, 0, 45, 16, added=Footprint(start=start, decoder_start=start)) for start in Start]
    assert costs[0].flops > costs[1].flops > costs[2].flops > 0.9 * costs[0].flops
    assert costs[0].activation_bytes > costs[1].activation_bytes


def decode(model: PromptedModel, batch: dict[str, Any], decoding: str, branches: int) -> Callable[[], object]:
    if decoding == "generate":
        return lambda: model.generate(**batch, max_new_tokens=4, do_sample=False, num_beams=1, pad_token_id=0)
    labels = [[5, 1], [6, 1]] if branches == 1 else [[5, 7, 1], [6, 1], [5, 8, 1]]
    return lambda: score_labels(model, LabelTrie(labels), **batch)


def batch_counts(
    values: dict[str, Any],
    sizes: tuple[int, int, int, int],
    decoding: str,
    branches: int = 1,
    *,
    cached: bool,
    padding: bool,
) -> Cost:
    m, rank, length, batch_size = sizes
    model = prompted(values, m, rank).eval().requires_grad_(False)
    model.cache_prompt = cached
    model.generation_config.eos_token_id = None  # generation goes on to the last token
    model.generation_config.decoder_start_token_id = 0
    run = decode(model, sources(model, length, batch_size, padding), decoding, branches)
    run()  # makes what is kept between batches
    with LiveBytes() as live:
        run()
    return Cost(count_flops(run), live.peak)


DECODED = [("label_scoring", 1), ("label_scoring", 2), ("generate", 1)]  # decoding, branches
READERS = [("t5-small", False), ("t5 v1.1", False)] + [  # config, whether the prompt is cached
    (name, cached) for name in ("gpt2", "llama", "llama, groups", "llama, one group") for cached in (False, True)
]


@pytest.mark.parametrize(
    ("name", "cached", "decoding", "branches"),
    cases(
        ((*reader, *decoded) for reader in READERS for decoded in DECODED),
        lambda name, cached, *decoded: decoded == DECODED[READERS.index((name, cached)) % len(DECODED)],
    ),
)
def test_a_batch_of_predictions(name: str, cached: bool, decoding: Any, branches: int) -> None:
    shape = Shape.from_config(CONFIGS[name])
    for sizes, padding in (((20, 53, 17, 4), True), ((100, 0, 45, 2), False)):
        counted = batch_counts(CONFIGS[name], sizes, decoding, branches, cached=cached, padding=padding)
        model = inference_cost(
            shape,
            *sizes,
            target_length=4,
            decoding=decoding,
            cached_prompt=cached,
            branches=branches,
            prefix_length=branches - 1,
            padding=padding,
        )
        assert model.flops == pytest.approx(counted.flops, rel=0.001)
        assert model.activation_bytes == pytest.approx(counted.activation_bytes, rel=WITHIN)


def test_long_inputs_of_t5_are_dominated_by_their_position_bias() -> None:
    values, sizes = CONFIGS["t5-small"], (100, 0, 256, 2)
    counted = batch_counts(values, sizes, "label_scoring", cached=False, padding=True)
    model = inference_cost(Shape.from_config(values), *sizes)
    assert model.activation_bytes == pytest.approx(counted.activation_bytes, rel=WITHIN)


def test_a_backbone_without_a_prompt_costs_what_its_input_does() -> None:
    shape = shape_of("gpt2")
    bare, cached = inference_cost(shape, 0, 0, 45, 16), inference_cost(shape, 100, 0, 45, 16)
    assert 1 < cached.flops / bare.flops < 1.05  # of a prompt that is cached, attention over it is left
    plain = inference_cost(shape, 100, 0, 45, 16, cached_prompt=False)
    assert plain.flops > 3 * bare.flops


@pytest.mark.slow
@pytest.mark.parametrize("alias", ["t5-small", "gpt2"])
def test_whole_backbones(alias: str) -> None:
    for m, rank, length, batch in ((20, 53, 17, 16), (100, 0, 45, 4)):
        counted = step_counts(config(alias), m, rank, length, batch, 2, True)
        model = step_cost(shape_of(alias), m, rank, length, batch)
        assert model.flops == pytest.approx(counted.flops, rel=0.001)
        assert model.activation_bytes == pytest.approx(counted.activation_bytes, rel=WITHIN)
        counted = batch_counts(config(alias), (m, rank, length, batch), "label_scoring", cached=True, padding=True)
        model = inference_cost(shape_of(alias), m, rank, length, batch)
        assert model.flops == pytest.approx(counted.flops, rel=0.001)
        assert model.activation_bytes == pytest.approx(counted.activation_bytes, rel=WITHIN)


def test_the_trade_off_ends_in_prompt_tuning() -> None:
    shape = shape_of("t5-base")
    splits = trade_off(shape, 100, 256, 45, 16)
    assert [split.num_virtual_tokens for split in splits] == list(range(101))
    assert all(split.rank == rank_for(split.num_virtual_tokens, 768) for split in splits)
    assert splits[-1] == (100, 0, step_cost(shape, 100, 0, 45, 16), inference_cost(shape, 100, 0, 45, 16))
    for values in ([s.train.flops for s in splits], [s.inference.activation_bytes for s in splits]):
        assert values == sorted(values)


def test_the_trade_off_takes_what_a_figure_needs() -> None:
    shape = shape_of("gpt2")
    splits = trade_off(shape, 100, 256, 45, 4, 3, decoding="generate", cached_prompt=False, prompt_lengths=[20, 60])
    assert [(split.num_virtual_tokens, split.rank) for split in splits] == [(20, 60), (60, 30)]
    assert splits[0].train == step_cost(shape, 20, 60, 45, 4, 3)
    assert splits[1].inference == inference_cost(shape, 60, 30, 45, 4, 3, decoding="generate", cached_prompt=False)
    assert [s.num_virtual_tokens for s in trade_off(shape, 1, 256, 45, 4)] == [1]  # no rank fits beside m = 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_virtual_tokens": -1}, "num_virtual_tokens must be .* at least 0, not -1"),
        ({"source_length": 0}, "source_length must be .* at least 1, not 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number"),
        ({"target_length": 0}, "target_length"),
        ({"rank": True}, "rank"),
    ],
)
def test_sizes_out_of_range_are_named(arguments: dict[str, Any], message: str) -> None:
    sizes = {"num_virtual_tokens": 20, "rank": 8, "source_length": 45, "batch_size": 16, **arguments}
    for cost in (step_cost, inference_cost):
        with pytest.raises(BudgetError, match=message):
            cost(shape_of("t5-small"), **sizes)


def test_what_cannot_be_is_named() -> None:
    shape = shape_of("t5-small")
    with pytest.raises(BudgetError, match="nothing to train"):
        step_cost(shape, 0, 0, 45, 16)
    with pytest.raises(BudgetError, match="label_scoring, generate, not 'beam'"):
        inference_cost(shape, 20, 8, 45, 16, decoding="beam")  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match="branches must be at least 1"):
        inference_cost(shape, 20, 8, 45, 16, branches=0)


def test_the_model_needs_no_torch() -> None:
    code = (
        "import sys; from dept.backbones.shape import shape_of; from dept.costs.trade_off import trade_off; "
        "trade_off(shape_of('llama-2-7b'), 100, 256, 45, 16);"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
