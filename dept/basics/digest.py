"""Hash settings and other plain values, for names of files and for keys."""

import hashlib
import json
from typing import Any


def json_digest(value: Any) -> str:
    """sha256 hex of a value as JSON; the order of names does not count, and what is no JSON counts as its text."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
