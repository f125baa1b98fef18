"""transformers' own Trainer and Seq2SeqTrainer around a prompted model."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_linear_schedule_with_warmup,
)

from dept import PromptedModel, build_optimizer
from tests.dept.tiny_models import PAD, assert_bit_identical, generate, padded, prompted, snapshot, tokens
from tests.support import cases

FAMILIES = ("t5", "gpt2", "llama")
KINDS = cases(((kind,) for kind in FAMILIES), lambda kind: kind != "llama")
ON_T5 = cases(((kind,) for kind in FAMILIES), lambda kind: kind == "t5")  # what trains more than once
KEYS = {"soft_prompt.prompt_embeddings", "low_rank_update.low_rank_a", "low_rank_update.low_rank_b"}

Row = dict[str, list[int]]


def rows(kind: str, count: int = 12) -> list[Row]:
    """Sources of 2 to 7 tokens; targets of 1 to 3 tokens, so that batches differ in how many they have."""
    made = []
    for index in range(count):
        source, target = tokens(2 + index % 6, index), [*tokens(index % 3, 100 + index), 1]
        if kind == "t5":
            made.append({"input_ids": source, "labels": target})
        else:
            made.append({"input_ids": source + target, "labels": [-100] * len(source) + target})
    return made


def collate(kind: str, batch: Sequence[Row]) -> dict[str, Tensor]:
    """A batch on the left or right as its kind is usual; decoder-only ones say which tokens are the source."""
    side = "right" if kind == "t5" else "left"
    inputs = padded([row["input_ids"] for row in batch], side)
    labels = padded([row["labels"] for row in batch], side)
    inputs["labels"] = labels["input_ids"].masked_fill(labels["attention_mask"] == 0, -100)
    if kind != "t5":
        inputs["source_mask"] = inputs["attention_mask"] * (inputs["labels"] == -100)
    return inputs


def arguments(folder: Path, kind: type[TrainingArguments] = TrainingArguments, **settings: Any) -> TrainingArguments:
    values: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1,
        "max_grad_norm": 0.0,
        "dataloader_pin_memory": False,
    }
    return kind(**{**values, **settings})


def trainer(
    kind: str,
    folder: Path,
    model: PromptedModel | None = None,
    trainer_class: type[Trainer] = Trainer,
    arguments_class: type[TrainingArguments] = TrainingArguments,
    rates: tuple[float, float] = (0.05, 0.01),
    callbacks: list[TrainerCallback] | None = None,
    compute_metrics: Callable[[Any], dict[str, float]] | None = None,
    **settings: Any,
) -> Trainer:
    model = model or prompted(kind)
    made: Any = trainer_class
    return made(
        model=model,
        args=arguments(folder, arguments_class, **settings),
        data_collator=lambda batch: collate(kind, batch),
        train_dataset=rows(kind),
        eval_dataset=rows(kind, 6),
        optimizers=(build_optimizer(model, *rates), None),
        callbacks=callbacks,
        compute_metrics=compute_metrics,
    )


def model_of(run: Trainer) -> PromptedModel:
    assert isinstance(run.model, PromptedModel)
    return run.model


def adapter_of(run: Trainer) -> dict[str, Tensor]:
    return snapshot(model_of(run))


def saved(folder: Path) -> dict[str, Tensor]:
    """All that a checkpoint's file of weights holds."""
    return load_file(folder / "model.safetensors")


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], rtol: float = 0, atol: float = 0) -> None:
    assert set(one) == set(other) == KEYS
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor, rtol=rtol, atol=atol)


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss_and_leaves_the_backbone_alone(kind: str, tmp_path: Path) -> None:
    run = trainer(kind, tmp_path, max_steps=25, logging_steps=25)
    frozen, start = snapshot(model_of(run).backbone), adapter_of(run)
    before = run.evaluate()["eval_loss"]
    run.train()
    assert run.evaluate()["eval_loss"] < before
    assert_bit_identical(model_of(run).backbone, frozen)
    for name, tensor in adapter_of(run).items():
        assert not torch.equal(tensor, start[name]), name


@pytest.mark.parametrize("kind", ON_T5)
def test_a_checkpoint_holds_the_adapter_alone_and_resumes_as_if_undisturbed(kind: str, tmp_path: Path) -> None:
    whole = trainer(kind, tmp_path / "whole")
    whole.train()
    halted = trainer(kind, tmp_path / "halted", save_strategy="steps", save_steps=3)
    halted.train()
    assert_same(adapter_of(whole), adapter_of(halted))
    checkpoint = tmp_path / "halted" / "checkpoint-3"
    assert set(saved(checkpoint)) == KEYS
    resumed = trainer(kind, tmp_path / "resumed", model=prompted(kind))
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert resumed.state.global_step == 6
    assert_same(adapter_of(whole), adapter_of(resumed))


@pytest.mark.parametrize("kind", ON_T5)
def test_the_best_model_is_loaded_at_the_end(kind: str, tmp_path: Path) -> None:
    scores = iter([0.1, 0.7, 0.5, 0.2])
    every_step: dict[str, Any] = {"save_strategy": "steps", "eval_strategy": "steps", "save_steps": 1, "eval_steps": 1}
    run = trainer(
        kind,
        tmp_path,
        compute_metrics=lambda prediction: {"score": next(scores)},
        load_best_model_at_end=True,
        metric_for_best_model="score",
        max_steps=4,
        **every_step,
    )
    run.train()
    assert run.state.best_metric == 0.7
    at_step = {step: saved(tmp_path / f"checkpoint-{step}") for step in (2, 4)}
    assert_same(adapter_of(run), at_step[2])
    assert not any(torch.equal(tensor, at_step[4][name]) for name, tensor in at_step[2].items())


class Gradients(TrainerCallback):
    """The gradients that the optimiser is about to use, step by step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        tensors = kwargs["model"].adapter_tensors()
        self.steps.append({name: tensor.grad.clone() for name, tensor in tensors.items()})


@pytest.mark.parametrize(
    ("kind", "every_token"),
    cases(
        itertools.product(FAMILIES, [False, True]),
        lambda kind, every_token: (kind, every_token) == ("t5", True),
    ),
)
def test_accumulated_batches_weigh_as_one_bigger_batch(kind: str, every_token: bool, tmp_path: Path) -> None:
    def batch_of(batch: Sequence[Row]) -> dict[str, Tensor]:
        if kind == "t5" or not every_token:
            return collate(kind, batch)
        # Every token has a label, a row's first one too, which nothing predicts.
        inputs = padded([row["input_ids"] for row in batch])
        return {**inputs, "labels": inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)}

    found: dict[int, Gradients] = {}
    for parts in (1, 4):
        found[parts], fed = Gradients(), list[Row]()
        run = trainer(
            kind,
            tmp_path / str(parts),
            callbacks=[found[parts]],
            per_device_train_batch_size=8 // parts,
            gradient_accumulation_steps=parts,
            max_steps=1,
        )

        def remember(batch: Sequence[Row], fed: list[Row] = fed) -> dict[str, Tensor]:
            fed.extend(batch)
            return batch_of(batch)

        run.data_collator = remember
        loss = run.train().training_loss
        whole = prompted(kind)(**batch_of(fed[:8])).loss.item()
        assert loss == pytest.approx(whole, rel=1e-5)
    for name, gradient in found[1].steps[0].items():
        torch.testing.assert_close(found[4].steps[0][name], gradient, rtol=1e-4, atol=1e-6)


class Rates(TrainerCallback):
    """Both groups' rates after each step."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, ...]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seen.append(tuple(group["lr"] for group in kwargs["optimizer"].param_groups))


@pytest.mark.parametrize("kind", KINDS)
def test_both_rates_follow_the_trainer_s_schedule(kind: str, tmp_path: Path) -> None:
    rates = Rates()
    trainer(kind, tmp_path, callbacks=[rates], rates=(0.4, 1e-3), warmup_steps=2, max_steps=8).train()
    weight = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = get_linear_schedule_with_warmup(weight, 2, 8)
    expected = []
    for _ in range(8):
        weight.step()
        schedule.step()
        expected.append(schedule.get_last_lr()[0])
    assert rates.seen == [pytest.approx((0.4 * factor, 1e-3 * factor)) for factor in expected]


@pytest.mark.parametrize("kind", ON_T5)
def test_checkpointed_activations_train_the_same(kind: str, tmp_path: Path) -> None:
    plain, saving = (
        trainer(kind, tmp_path / "plain"),
        trainer(kind, tmp_path / "saving", activation_checkpointing=True),
    )
    plain.train()
    saving.train()
    assert model_of(saving).is_gradient_checkpointing
    assert_same(adapter_of(plain), adapter_of(saving), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_autocast_trains(kind: str, tmp_path: Path) -> None:
    run = trainer(kind, tmp_path, bf16=True)
    assert run.train().training_loss < 20
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in adapter_of(run).values())


def test_seq2seq_trainer_predicts_with_generate(tmp_path: Path) -> None:
    seen: list[Any] = []

    def metrics(prediction: Any) -> dict[str, float]:
        seen.append(prediction)
        return {"exact": 0.0}

    run: Any = trainer(
        "t5",
        tmp_path,
        trainer_class=Seq2SeqTrainer,
        arguments_class=Seq2SeqTrainingArguments,
        predict_with_generate=True,
        generation_max_length=6,
        eval_strategy="steps",
        eval_steps=3,
        compute_metrics=metrics,
        remove_unused_columns=False,
    )
    run.train()
    run.evaluate(num_beams=2, max_length=6)
    output = run.predict(rows("t5", 6), max_length=6)
    assert len(seen) == 4 and output.metrics is not None and "test_loss" in output.metrics
    found = torch.tensor(output.predictions)
    for start in (0, 4):
        batch = collate("t5", rows("t5", 6)[start : start + 4])
        ids = generate(
            run.model,
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_length=6,
            do_sample=False,
        )
        part = found[start : start + len(ids), : ids.shape[1]]
        assert torch.equal(part, ids)
        assert (
            (found[start : start + len(ids), ids.shape[1] :] == PAD)
            .logical_or(found[start : start + len(ids), ids.shape[1] :] == -100)
            .all()
        )


def test_a_saved_adapter_goes_into_the_trainer_s_model(tmp_path: Path) -> None:
    run = trainer("gpt2", tmp_path / "run")
    run.train()
    run.save_model(str(tmp_path / "saved"))
    assert {path.name for path in (tmp_path / "saved").iterdir()} == {"model.safetensors", "training_args.bin"}
    other = prompted("gpt2", seed=3)
    other.load_state_dict(saved(tmp_path / "saved"))
    assert_same(adapter_of(run), snapshot(other))
