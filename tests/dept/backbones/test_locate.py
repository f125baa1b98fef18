"""Backbones from the Hugging Face hub: what is asked for, and the words where it does not answer or refuses."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dept.backbones.load import backbone_info, load_backbone
from dept.errors import BackboneError


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


@pytest.mark.usefixtures("offline_hub")
@pytest.mark.parametrize("name", ["mini-clip", "mini-clip-t5", "random:mini-clip"])
def test_an_image_encoder_is_no_backbone(name: str) -> None:
    pair = "mini-clip is an image encoder: --backbone mini-t5 --vision-backbone mini-clip"
    for look in (backbone_info, load_backbone):
        with pytest.raises(BackboneError, match=pair):
            look(name)


def test_a_name_that_no_hub_can_have() -> None:
    with pytest.raises(BackboneError, match="no alias, folder or hub id"):
        load_backbone("what is this?")


def test_an_unreachable_hub_is_said_quickly(tmp_path: Path) -> None:
    code = (
        "from dept.errors import BackboneError\n"
        "from dept.backbones.load import backbone_info, load_backbone\n"
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


def test_a_hub_id_is_loaded_from_what_was_fetched(tiny_t5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[Any] = []

    def fetch(hub_id: str, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        asked.append((hub_id, allow_patterns))
        return str(tiny_t5)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    backbone, _ = load_backbone("someone/tiny-t5")
    assert backbone.name_or_path == backbone.config.name_or_path == "someone/tiny-t5"
    assert not any(pattern.endswith((".bin", ".py", ".pt")) for pattern in asked[0][1])
    info = backbone_info("someone/tiny-t5")
    assert (info.source, info.hub_id, info.hidden_size) == ("hub", "someone/tiny-t5", 32)
    assert asked[1] == ("someone/tiny-t5", ["config.json"])
