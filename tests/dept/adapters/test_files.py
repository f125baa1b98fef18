"""Adapter folders that are replaced whole or not at all, and those of the hub."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors

from dept.adapters import files as adapter_files
from dept.adapters import store as adapters
from dept.adapters.store import push_to_hub, read_adapter_config
from dept.errors import AdapterError
from dept.prompted import PromptedModel
from tests.dept.adapters.helpers import DEPT, OURS, PT, names, prompted, refused, t5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A DePT adapter of the tiny T5."""
    prompted(t5(), DEPT).save_pretrained(tmp_path / "adapter", backbone_name="t5-tiny")
    return tmp_path / "adapter"


def _fail_at(count: int, error: OSError) -> Callable[[int], None]:
    calls = []

    def fsync(handle: int) -> None:
        calls.append(handle)
        if len(calls) == count:
            raise error

    return fsync


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("other_file", [False, True])
def test_a_full_disk_keeps_the_adapter_of_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch, count: int, other_file: bool
) -> None:
    if other_file:
        (folder / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = prompted(t5(1), DEPT)
    monkeypatch.setattr(adapter_files.os, "fsync", _fail_at(count, OSError(errno.ENOSPC, "No space left")))
    with pytest.raises(AdapterError, match="No space left"):
        model.save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(folder.parent.iterdir()) == [folder]


def test_replacing_leaves_one_whole_adapter(folder: Path) -> None:
    shutil.copy(folder / "README.md", folder / "adapter_model.bin")  # of another format: goes with the old one
    model = prompted(t5(1), PT)
    model.save_pretrained(folder)
    assert names(folder) == sorted([*OURS, "dept_config.json"])
    prompted(t5(1), DEPT).save_pretrained(folder)
    assert names(folder) == OURS
    assert list(folder.parent.iterdir()) == [folder]


def test_files_of_others_stay(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")
    (folder / "checkpoint-1").mkdir()
    prompted(t5(), PT).save_pretrained(folder)
    prompted(t5(), DEPT).save_pretrained(folder)
    assert names(folder) == sorted([*OURS, "checkpoint-1", "tokenizer.json"])
    PromptedModel.from_pretrained(t5(), folder)


def test_a_kill_between_the_renames_leaves_the_adapter_of_before(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    rename, model, backbone = Path.rename, prompted(t5(), PT), t5()

    def killed(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(Killed):
            model.save_pretrained(folder)
    assert not folder.exists()
    assert PromptedModel.from_pretrained(backbone, folder).method_config == DEPT
    model.save_pretrained(folder)
    assert PromptedModel.from_pretrained(backbone, folder).method_config == PT
    assert list(folder.parent.iterdir()) == [folder]


def test_a_failing_rename_puts_the_adapter_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, model = Path.rename, prompted(t5(), PT)

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", failing)
        with pytest.raises(AdapterError, match="Input/output error"):
            model.save_pretrained(folder)
    assert list(folder.parent.iterdir()) == [folder] and names(folder) == OURS


def test_the_working_directory_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prompted(t5(), DEPT).save_pretrained(".")
    assert names(".") == OURS
    PromptedModel.from_pretrained(t5(), ".")


@pytest.mark.parametrize("place", ["file", "file/adapter", "nul\0"])
def test_impossible_places(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(AdapterError):
        prompted(t5(), DEPT).save_pretrained(tmp_path / place)
    assert (tmp_path / "file").read_text() == "x"
    refused(tmp_path / place, t5())


# The hub.


def _response(status: int) -> Any:
    return SimpleNamespace(status_code=status, headers={}, request=None)


def _hub_error(kind: type[Exception], status: int = 404) -> Exception:
    if issubclass(kind, hub_errors.HfHubHTTPError):
        return kind("secret-token in the text", response=_response(status))
    return kind("secret-token in the text")


HUB_FAULTS = [
    (_hub_error(hub_errors.GatedRepoError, 403), "gated"),
    (_hub_error(hub_errors.RepositoryNotFoundError), "no such repository"),
    (_hub_error(hub_errors.RevisionNotFoundError), "no revision"),
    (_hub_error(hub_errors.HfHubHTTPError, 401), "hf auth login"),
    (_hub_error(hub_errors.HfHubHTTPError, 500), "HTTP 500"),
    (_hub_error(hub_errors.LocalEntryNotFoundError), "cannot be reached"),
    (_hub_error(hub_errors.OfflineModeIsEnabled), "cannot be reached"),
    (_hub_error(hub_errors.HTTPError), "cannot be reached"),
    (_hub_error(hub_errors.LocalTokenNotFoundError), "hf auth login"),
    (_hub_error(hub_errors.HFValidationError), "owner/name"),
    (OSError(errno.ENOSPC, "No space left"), "No space left"),
]


@pytest.mark.parametrize(("error", "word"), HUB_FAULTS)
def test_a_hub_that_refuses(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, word: str
) -> None:
    def fails(*arguments: Any, **details: Any) -> None:
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(adapter_files, "snapshot_download", fails)
    message = refused("user/adapter", t5(), "user/adapter", word)
    assert "secret-token" not in message
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", fails)
    with pytest.raises(AdapterError, match=word) as caught:
        push_to_hub(folder, "user/adapter", token="secret-token")
    assert "secret-token" not in str(caught.value) and caught.value.__suppress_context__


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    refused("user/adapter", t5(), "user/adapter", "no such folder", "cannot be reached")
    refused(Path("user/adapter"), t5(), "no such folder")  # a path is never taken for a hub id
    refused("user/adapter/deeper", t5(), "no such folder")


def test_from_the_hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def download(repo_id: str, **details: Any) -> str:
        asked.update(details, repo_id=repo_id)
        return str(folder)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(adapter_files, "snapshot_download", download)
    model = PromptedModel.from_pretrained(t5(), "user/adapter", revision="v1", token="secret-token")
    assert model.method_config == DEPT
    assert (asked["repo_id"], asked["revision"], asked["token"]) == ("user/adapter", "v1", "secret-token")
    assert set(asked["allow_patterns"]) == set(adapter_files.ADAPTER_FILES)
    assert read_adapter_config("user/adapter").source == "user/adapter"


@pytest.mark.parametrize("as_model", [True, False])
def test_to_the_hub(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], as_model: bool
) -> None:
    made: dict[str, Any] = {}
    sent: dict[str, Any] = {}

    def create(api: Any, repo_id: str, **details: Any) -> None:
        made.update(details, repo_id=repo_id, token=api.token)

    def upload(api: Any, *, folder_path: Path, **details: Any) -> Any:
        sent.update(details, token=api.token, files=names(folder_path))
        return SimpleNamespace(commit_url="https://huggingface.co/user/adapter/commit/1")

    monkeypatch.setattr(adapters.HfApi, "create_repo", create)
    monkeypatch.setattr(adapters.HfApi, "upload_folder", upload)
    (folder / "notes.txt").write_text("mine")
    details = {"backbone_name": "t5-tiny"} if as_model else {}
    adapter = prompted(t5(), DEPT) if as_model else folder
    url = push_to_hub(adapter, "user/adapter", token="secret-token", private=True, revision="v1", **details)
    assert url.startswith("https://")
    assert made == {"repo_id": "user/adapter", "private": True, "exist_ok": True, "token": "secret-token"}
    assert (sent["repo_id"], sent["revision"], sent["token"]) == ("user/adapter", "v1", "secret-token")
    assert set(OURS) <= set(sent["files"]) and "notes.txt" not in sent["allow_patterns"]
    assert "adapter_model.bin" not in sent["allow_patterns"]
    assert "secret-token" not in "".join(capsys.readouterr())


def test_nothing_broken_or_pickled_is_uploaded(folder: Path, shared: Path) -> None:
    with pytest.raises(AdapterError, match="pickles are not uploaded"):
        push_to_hub(shared / "reference_checkpoints" / "cola", "user/adapter")
    (folder / "adapter_model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(AdapterError, match="damaged"):
        push_to_hub(folder, "user/adapter")
    with pytest.raises(TypeError, match="task"):
        push_to_hub(folder, "user/adapter", task={})
