"""Owners of runs: a visitor is known by a random token in the browser, of which only the hash is stored here.

A run's id is a secret as well: anybody who knows it (a link with `?run=`) may look at the run. Only the owner, by the
token, or the operator may stop, resume and delete it.
"""

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from dept.errors import RunError

OPERATOR_KEY = "DEPT_OPERATOR_KEY"  # an environment variable; without it, the key is in a file beside the queue
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Visitor:
    """One visitor of the page.

    Attributes:
        owner: the owner in state.json of the visitor's runs; None for a visitor without a token, who can only look.
        is_operator: whether the visitor may see, stop and delete every run.
    """

    owner: str | None = None
    is_operator: bool = False

    def owns(self, owner: object) -> bool:
        """Whether a run with this owner is the visitor's."""
        return isinstance(owner, str) and self.owner is not None and hmac.compare_digest(owner, self.owner)

    def may_change(self, owner: object) -> bool:
        """Whether the visitor may stop, resume or delete a run with this owner; with None, only the operator may."""
        return self.is_operator or self.owns(owner)


OPERATOR = Visitor(is_operator=True)


def new_token() -> str:
    """A token for a browser to keep: 256 random bits."""
    return secrets.token_urlsafe(32)


def visitor(
    token: object = None, *, user: str | None = None, key: object = None, operator_key: str | None = None
) -> Visitor:
    """The visitor identified by what a browser sent; an invalid token or key counts as none.

    Args:
        token: the token of `new_token` that the browser kept.
        user: the name that the server has checked with a password; a user's runs are the same in every browser.
        key: the operator's key according to the browser.
        operator_key: the true key; None if there is no operator.
    """
    owner = None
    if user is not None:
        owner = _hash("user", user)
    elif isinstance(token, str) and _TOKEN.fullmatch(token):
        owner = _hash("token", token)
    is_operator = (
        operator_key is not None and isinstance(key, str) and hmac.compare_digest(key.encode(), operator_key.encode())
    )
    return Visitor(owner, is_operator)


def operator_key(folder: Path) -> str:
    """The operator's key: from the environment, else from a file in `folder`, which is made if it is missing.

    Raises:
        RunError: the file cannot be written or read.
    """
    environment_key = os.environ.get(OPERATOR_KEY)
    if environment_key:
        return environment_key
    path = folder / "operator-key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    except OSError as fault:
        raise RunError(f"{path} cannot be written: {fault.strerror or fault}") from None
    else:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(new_token())
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as fault:
        raise RunError(f"{path} cannot be read: {fault}") from None
    if not key:
        raise RunError(f"{path} is empty: delete it, and a new key is made")
    return key


def _hash(kind: str, secret: str) -> str:
    # A fast hash is enough: a token is random and long, and a user's name is no secret.
    return f"{kind}:{hashlib.sha256(f'{kind}:{secret}'.encode()).hexdigest()}"
