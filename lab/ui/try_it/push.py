"""Upload an adapter to the hub with the visitor's own token, which is not kept."""

import re
from collections.abc import Mapping

from huggingface_hub import CommitOperationAdd, HfApi, errors

from dept.errors import ConfigError, RunError

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_TOKEN = re.compile(r"[\x21-\x7e]{8,400}")


def push_adapter(files: Mapping[str, bytes], repo: object, token: object, *, private: bool = True) -> str:
    """Upload an adapter's files and return the repository's address; the repository is made if it is missing.

    The token appears in no message and is never stored.

    Args:
        files: name -> content (`RunQueue.adapter_files`).

    Raises:
        ConfigError: the repository's name or the token is missing.
        RunError: the hub cannot be reached, or the token lacks the permission.
    """
    if not isinstance(repo, str) or not _REPO.fullmatch(repo.strip()):
        raise ConfigError("repository: write owner/name, for example your-name/sst2-dept")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token.strip()):
        raise ConfigError("token: paste one that may write, from your hub settings")
    api = HfApi(token=token.strip())
    name = repo.strip()
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        operations = [CommitOperationAdd(path, data) for path, data in files.items()]
        api.create_commit(name, operations, commit_message="Upload a DePT Lab adapter")
    except errors.HfHubHTTPError as fault:
        status = fault.response.status_code if fault.response is not None else None
        if status in (401, 403):
            raise RunError(f"the hub refused: this token may not write to {name}") from None
        raise RunError(f"the hub refused the upload (HTTP status {status})") from None
    except (errors.HFValidationError, errors.HTTPError, OSError):
        raise RunError("the hub cannot be reached from this machine, or does not know that name") from None
    return str(address)
