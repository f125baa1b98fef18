from __future__ import annotations

from pathlib import Path

import pytest

from dept.errors import RunError
from lab.service.owners import OPERATOR, Visitor, new_token, operator_key, visitor


def test_a_token_owns_what_it_started_and_its_hash_does_not() -> None:
    token = new_token()
    me, again, other = visitor(token), visitor(token), visitor(new_token())
    assert me.may_change(again.owner)
    assert me.owner is not None and token not in me.owner
    assert not other.may_change(me.owner)
    assert not visitor(me.owner).may_change(me.owner)  # what state.json shows is no token
    assert not Visitor().may_change(None)
    assert OPERATOR.may_change(me.owner) and OPERATOR.may_change(None)


@pytest.mark.parametrize("token", [None, "", "short", 7, ["x"], "é" * 43, "a" * 44, "../" + "a" * 40])
def test_what_is_no_token_makes_nobody(token: object) -> None:
    assert visitor(token) == Visitor()


def test_a_user_with_a_password_keeps_his_runs_in_any_browser() -> None:
    assert visitor(new_token(), user="ann") == visitor(None, user="ann") != visitor(None, user="bob")


def test_the_operators_key_is_made_once_and_for_its_owners_eyes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEPT_OPERATOR_KEY", raising=False)
    key = operator_key(tmp_path)
    assert operator_key(tmp_path) == key and len(key) > 40
    assert (tmp_path / "operator-key").stat().st_mode & 0o777 == 0o600
    assert visitor(key=key, operator_key=key).is_operator
    for wrong in ("", None, key[:-1], key + "x", 3, "é"):
        assert not visitor(key=wrong, operator_key=key).is_operator
    assert not visitor(key=None, operator_key=None).is_operator
    monkeypatch.setenv("DEPT_OPERATOR_KEY", "given")
    assert operator_key(tmp_path) == "given"
    monkeypatch.delenv("DEPT_OPERATOR_KEY")
    (tmp_path / "operator-key").write_text("")
    with pytest.raises(RunError, match="is empty"):  # an empty key would let everybody in
        operator_key(tmp_path)
