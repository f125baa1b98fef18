"""Whatever is in an adapter folder: it loads with finite tensors of the right shape, or AdapterError says why not."""

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel, T5Config, T5ForConditionalGeneration

from dept.adapters.store import read_adapter_config, save_adapter
from dept.errors import AdapterError
from dept.methods.contract import MethodConfig
from dept.methods.dept import DeptConfig
from dept.methods.prompt_tuning import PromptTuningConfig
from dept.prompted import PromptedModel, get_prompted_model
from dept.tasks import load_task

Files = dict[str, bytes]

fuzz = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**25), 10**25),
    st.integers(-3, 40),
    st.floats(),
    st.text(max_size=30),
    st.sampled_from(["../..", "DEPT", "PROMPT_TUNING", "PROMPT_TUNING_LORA", "auto", "a\nb", "\0", "~", "/"]),
)
JSON = st.recursive(
    SCALARS,
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=8), part, max_size=4),
    max_leaves=12,
)
DTYPES = st.sampled_from([torch.float32, torch.float16, torch.float64, torch.int64, torch.bool, torch.complex64])


@pytest.fixture(scope="module")
def backbone() -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": 32, "d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    return T5ForConditionalGeneration(T5Config.from_dict({**sizes, "decoder_start_token_id": 0}))


def _saved(backbone: PreTrainedModel, config: MethodConfig) -> Files:
    with tempfile.TemporaryDirectory() as folder:
        task = load_task("rte").to_dict()
        save_adapter(get_prompted_model(backbone, config), folder, task=task, verbalizer="words")
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


@pytest.fixture(scope="module")
def dept_files(backbone: PreTrainedModel) -> Files:
    return _saved(backbone, DeptConfig(num_virtual_tokens=3, rank=2, max_seq_length=8))


@pytest.fixture(scope="module")
def pt_files(backbone: PreTrainedModel) -> Files:
    return _saved(backbone, PromptTuningConfig(num_virtual_tokens=4))


@pytest.fixture(scope="module")
def released_files() -> Files:
    config = {
        "peft_type": "PROMPT_TUNING_LORA",
        "task_type": "SEQ_2_SEQ_LM",
        "num_virtual_tokens": 3,
        "token_dim": 16,
        "r": 2,
        "max_length": 8,
        "lora_alpha": 8,
    }
    content = io.BytesIO()
    names = ("prompt_embeddings", "prompt_encoder.lora_embedding_A", "prompt_encoder.lora_embedding_B")
    tensors = (torch.zeros(3, 16), torch.zeros(8, 2), torch.zeros(2, 16))
    torch.save(dict(zip(names, tensors, strict=True)), content)
    return {"adapter_config.json": json.dumps(config).encode(), "adapter_model.bin": content.getvalue()}


def loads(backbone: PreTrainedModel, files: Files) -> bool:
    """Whether the folder loads; it must, or say why not in one line or two."""
    with tempfile.TemporaryDirectory() as name:
        for file, content in files.items():
            (Path(name) / file).write_bytes(content)
        try:
            read_adapter_config(name)
            model = PromptedModel.from_pretrained(backbone, name)
        except AdapterError as error:
            message = str(error)
            assert message.startswith(name) and len(message.splitlines()) <= 2 and len(message) < 2000
            return False
        for tensor in model.adapter_tensors().values():
            assert tensor.dtype == torch.float32 and tensor.isfinite().all()
        output = model(input_ids=torch.tensor([[4, 5]]), labels=torch.tensor([[6, 1]]))
        assert output.logits.shape == (1, 2, 32)
        return True


@pytest.mark.parametrize("kind", ["dept_files", "pt_files", "released_files"])
def test_the_seeds_load(backbone: PreTrainedModel, kind: str, request: pytest.FixtureRequest) -> None:
    assert loads(backbone, request.getfixturevalue(kind))


def _change(draw: st.DrawFn, values: dict[str, Any]) -> dict[str, Any]:
    """The same JSON object with one to three keys gone, new or replaced, at any depth of the first two."""
    for _ in range(draw(st.integers(1, 3))):
        place = values
        key = draw(st.sampled_from([*sorted(values), "new"]))
        if isinstance(values.get(key), dict) and values[key] and draw(st.booleans()):
            place = values[key]
            key = draw(st.sampled_from(sorted(place)))
        if draw(st.booleans()):
            place[key] = draw(JSON)
        else:
            place.pop(key, None)
    return values


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("dept_files", "adapter_config.json"),
        ("pt_files", "adapter_config.json"),
        ("pt_files", "dept_config.json"),
        ("released_files", "adapter_config.json"),
    ],
)
def test_changed_configs(backbone: PreTrainedModel, kind: str, file: str, request: pytest.FixtureRequest) -> None:
    files: Files = request.getfixturevalue(kind)

    @fuzz
    @given(st.data())
    def run(data: st.DataObject) -> None:
        changed = data.draw(st.composite(lambda draw: _change(draw, json.loads(files[file])))())
        loads(backbone, files | {file: json.dumps(changed).encode()})

    run()


@fuzz
@given(data=st.data())
def test_changed_tensors(backbone: PreTrainedModel, dept_files: Files, data: st.DataObject) -> None:
    file = "adapter_model.safetensors"
    before = safetensors.torch.load(dept_files[file])
    tensors = dict(before)
    name = data.draw(st.sampled_from([*sorted(tensors), "new"]))
    if data.draw(st.booleans()):
        tensors.pop(name, None)
    else:
        shape = data.draw(st.sampled_from([[3, 16], [8, 2], [2, 16]]) | st.lists(st.integers(0, 17), max_size=3))
        fill = data.draw(st.sampled_from([0.0, 1.0, float("nan"), float("inf")]))
        dtype = data.draw(DTYPES)
        whole = dtype in (torch.int64, torch.bool)
        tensors[name] = torch.full(shape, 1 if whole else fill, dtype=dtype)
    loaded = loads(backbone, dept_files | {file: safetensors.torch.save(tensors)})
    fits = tensors.keys() == before.keys() and all(
        tensor.shape == before[key].shape and tensor.dtype == torch.float32 and bool(tensor.isfinite().all())
        for key, tensor in tensors.items()
    )
    assert loaded == fits


@pytest.mark.parametrize("kind", ["dept_files", "released_files"])
def test_damaged_bytes(backbone: PreTrainedModel, kind: str, request: pytest.FixtureRequest) -> None:
    files: Files = request.getfixturevalue(kind)
    names = sorted(set(files) - {"README.md"})

    @fuzz
    @given(file=st.sampled_from(names), data=st.data())
    def run(file: str, data: st.DataObject) -> None:
        content = bytearray(files[file])
        kind = data.draw(st.sampled_from(["cut", "flip", "insert"]))
        place = data.draw(st.integers(0, len(content) - 1))
        if kind == "cut":
            del content[place:]
        elif kind == "flip":
            content[place] ^= data.draw(st.integers(1, 255))
        else:
            content[place:place] = data.draw(st.binary(min_size=1, max_size=40))
        loaded = loads(backbone, files | {file: bytes(content)})
        assert not (loaded and kind == "cut" and file == "adapter_model.safetensors")

    run()


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("dept_files", "adapter_config.json"),
        ("dept_files", "adapter_model.safetensors"),
        ("released_files", "adapter_model.bin"),
    ],
)
def test_random_bytes(backbone: PreTrainedModel, kind: str, file: str, request: pytest.FixtureRequest) -> None:
    files: Files = request.getfixturevalue(kind)
    starts = st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"{", (16).to_bytes(8, "little") + b"{"])

    @fuzz
    @given(start=starts, rest=st.binary(max_size=300))
    def run(start: bytes, rest: bytes) -> None:
        assert not loads(backbone, files | {file: start + rest})

    run()


def test_random_headers(backbone: PreTrainedModel, dept_files: Files) -> None:
    entry = st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F16", "F8_E4M3", "F4", "I64", "BOOL", "C64", "X"]),
            "shape": st.lists(st.integers(0, 40) | st.integers(2**40, 2**64), max_size=3),
            "data_offsets": st.lists(st.integers(0, 300) | st.integers(2**40, 2**64), max_size=3),
        }
    )
    names = st.sampled_from(["prompt_embeddings", "low_rank_a", "low_rank_b", "__metadata__"])

    @fuzz
    @given(header=st.dictionaries(names, entry | JSON, max_size=4), body=st.binary(max_size=300))
    def run(header: Any, body: bytes) -> None:
        text = json.dumps(header).encode()
        content = len(text).to_bytes(8, "little") + text + body
        assert not loads(backbone, dept_files | {"adapter_model.safetensors": content})

    run()


def test_random_pickles_in_a_good_archive(backbone: PreTrainedModel, released_files: Files) -> None:
    """The unpickler itself, behind a zip whose checksums are right."""
    file = "adapter_model.bin"
    with zipfile.ZipFile(io.BytesIO(released_files[file])) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    name = next(part for part in parts if part.endswith("data.pkl"))

    @fuzz
    @given(st.data())
    def run(data: st.DataObject) -> None:
        program = bytearray(parts[name])
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, len(program) - 1))
            program[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for part, stored in parts.items():
                archive.writestr(part, bytes(program) if part == name else stored)
        loads(backbone, released_files | {file: content.getvalue()})

    run()


def test_a_packed_bomb(backbone: PreTrainedModel, released_files: Files) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    assert len(content.getvalue()) < 100_000
    assert not loads(backbone, released_files | {"adapter_model.bin": content.getvalue()})
