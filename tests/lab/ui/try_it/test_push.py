"""Sending an adapter to the hub: what is refused before anything is sent, and that no message holds the token."""

from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import errors

from dept.errors import ConfigError, RunError
from lab.ui.try_it import push

TOKEN = "hf_abcdefghijklmnop"
FILES = {"README.md": b"# An adapter", "adapter_model.safetensors": b"weights"}


class Hub:
    """Stands for the hub's client, and notes what it is asked."""

    asked: list[Any] = []
    fault: Exception | None = None

    def __init__(self, token: str) -> None:
        self.asked.append(token)

    def create_repo(self, name: str, **options: Any) -> str:
        if self.fault is not None:
            raise self.fault
        self.asked.append((name, options))
        return f"https://hub/{name}"

    def create_commit(self, name: str, operations: list[Any], **options: Any) -> None:
        self.asked.append((name, {each.path_in_repo: each.path_or_fileobj for each in operations}))


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    monkeypatch.setattr(push, "HfApi", Hub)
    monkeypatch.setattr(Hub, "asked", [])
    monkeypatch.setattr(Hub, "fault", None)
    return Hub


def test_the_adapter_goes_up_with_the_visitors_token(hub: type[Hub]) -> None:
    assert push.push_adapter(FILES, " me/sst2-dept ", TOKEN, private=True) == "https://hub/me/sst2-dept"
    token, (name, options), sent = hub.asked
    assert (token, name, options["private"]) == (TOKEN, "me/sst2-dept", True)
    assert sent == ("me/sst2-dept", FILES)


@pytest.mark.parametrize("repo", ["", "me", "me/../you", "/etc/passwd", "a/b/c", None, 7, "me/" + "x" * 300])
def test_a_repository_that_is_none_is_refused(hub: type[Hub], repo: Any) -> None:
    with pytest.raises(ConfigError, match="repository"):
        push.push_adapter(FILES, repo, TOKEN)
    assert hub.asked == []


@pytest.mark.parametrize("token", ["", "short", "hf_abc def ghi", "hf_abc\r\nX-Header: 1", None, "x" * 1000])
def test_a_token_that_is_none_is_refused(hub: type[Hub], token: Any) -> None:
    with pytest.raises(ConfigError, match="token"):
        push.push_adapter(FILES, "me/mine", token)
    assert hub.asked == []


def test_no_message_holds_the_token(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    answer: Any = SimpleNamespace(status_code=403, headers={}, request=None)
    refused = errors.HfHubHTTPError(f"no: {TOKEN}", response=answer)
    for fault in (refused, errors.HTTPError(f"cannot send {TOKEN}"), OSError(TOKEN)):
        monkeypatch.setattr(Hub, "fault", fault)
        with pytest.raises(RunError) as told:
            push.push_adapter(FILES, "me/mine", TOKEN)
        assert TOKEN not in str(told.value)
