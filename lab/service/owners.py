"""Who started a run: a random token that stays in the visitor's browser, of which only the hash is written here.

A run's id is a secret of its own: who knows it (a link with `?run=`) may look at the run. Stopping, resuming and
deleting take the token, or the operator.
"""

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from dept.errors import RunError

OPERATOR_KEY = "DEPT_OPERATOR_KEY"  # in the environment; else a file beside the queue
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Visitor:
    """One person at the page.

    Attributes:
        owner: what state.json holds of the visitor's runs; None for somebody without a token, who can only look.
        is_operator: may see, stop and delete every run.
    """

    owner: str | None = None
    is_operator: bool = False

    def owns(self, owner: object) -> bool:
        """Whether a run of this owner is the visitor's."""
        return isinstance(owner, str) and self.owner is not None and hmac.compare_digest(owner, self.owner)

    def may_change(self, owner: object) -> bool:
        """Whether the visitor may stop, resume or delete a run of this owner; None is nobody's but the operator's."""
        return self.is_operator or self.owns(owner)


OPERATOR = Visitor(is_operator=True)


def new_token() -> str:
    """A token for a browser to keep: 256 random bits."""
    return secrets.token_urlsafe(32)


def visitor(
    token: object = None, *, user: str | None = None, key: object = None, operator_key: str | None = None
) -> Visitor:
    """The visitor behind what a browser sent; whatever is not a token or the key counts as nothing.

    Args:
        token: what the browser kept of `new_token`.
        user: the name that the server itself has checked with a password; his runs follow him to any browser.
        key: what the browser claims to be the operator's key.
        operator_key: what it is; None where there is no operator.
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
    """The operator's key: the environment's, else the one in `folder`, made where there is none.

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
    # A token is random and long: nothing is gained by a slow hash. A user's name is no secret, and needs none.
    return f"{kind}:{hashlib.sha256(f'{kind}:{secret}'.encode()).hexdigest()}"
