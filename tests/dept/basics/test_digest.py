from __future__ import annotations

import hashlib
from pathlib import Path

from dept.basics.digest import json_digest


def test_a_digest_is_of_the_json_in_one_order_of_names() -> None:
    text = '{"a": [1, 2.5, null], "b": "x\\u00e9"}'
    assert json_digest({"b": "xé", "a": (1, 2.5, None)}) == hashlib.sha256(text.encode()).hexdigest()
    assert json_digest({"path": Path("a/b")}) == json_digest({"path": "a/b"})
