from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings
from neardup.workers.api.auth import Caller, Role, Tokens, line_of, make_token
from neardup.workers.api.server import open_tokens
from tests.workers.api.build import Api
from tests.workers.conftest import Command


def test_a_token_is_found_by_its_hash_and_no_other() -> None:
    token, other = make_token(), make_token()
    tokens = Tokens(line_of("ann", "review", token))
    assert token not in line_of("ann", "review", token)
    assert tokens.find(token) == Caller("ann", Role.REVIEW)
    assert [tokens.find(wrong) for wrong in (other, "", token[:-1], token + "x", "\udcff")] == [None] * 5


@pytest.mark.parametrize("line", ["ann:read", "ann:king:" + "0" * 64, "a b:read:" + "0" * 64, "ann:read:xyz"])
def test_a_line_that_is_none_is_refused_and_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"# remarks\n\n{line}\n")
    with pytest.raises(ConfigError, match="tokens, line 3"):
        Tokens(file=tmp_path / "tokens")


def test_a_line_that_is_removed_is_withdrawn_and_so_are_all_with_the_file(tmp_path: Path) -> None:
    now, file = [0.0], tmp_path / "tokens"
    file.write_text(line_of("ann", "read", "t1") + "\n" + line_of("bob", "read", "t2"))
    tokens = Tokens(file=file, clock=lambda: now[0])
    assert tokens.find("t1") and tokens.find("t2")  # noqa: PT018
    file.write_text(line_of("bob", "read", "t2"))
    now[0] = 2.0
    assert tokens.find("t1") is None
    assert tokens.find("t2") is not None
    file.unlink()
    now[0] = 4.0
    assert tokens.find("t2") is None
    assert tokens.required  # the door does not open because the list of keys is lost


def test_beyond_this_machine_it_listens_only_with_tokens(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there are no tokens"):
        open_tokens(Settings(api_host="0.0.0.0"))
    assert not open_tokens(Settings(api_host="127.0.0.1")).required
    (tmp_path / "tokens").write_text(line_of("ann", "read", "t"))
    assert open_tokens(
        Settings(api_host="0.0.0.0", api_tokens_file=str(tmp_path / "tokens"), state_folder=str(tmp_path))
    ).required


@pytest.mark.parametrize("header", ["", "Bearer nd_wrong", "Basic bmRfZXZl", "Bearer", "nd_eve"])
def test_without_a_known_token_nothing_is_answered(api: Api, header: str) -> None:
    api.client.headers.pop("Authorization")
    for method, path in (("GET", "/v1/items/a"), ("DELETE", "/v1/items/a"), ("POST", "/v1/match"), ("GET", "/v1/feed")):
        answer = api.client.request(method, path, headers={"Authorization": header} if header else {})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert "neardup token" in answer.json()["remedy"]
    assert len(api.log.records) == 4


def test_a_role_may_do_what_those_below_it_may(api: Api) -> None:
    assert api.client.get("/v1/items/a", headers=api.as_("ann")).status_code == 200
    for name in ("ann", "bob"):
        answer = api.client.delete("/v1/items/a", headers=api.as_(name))
        assert answer.status_code == 403
        assert "needs the role admin" in answer.json()["detail"]
    assert api.client.get("/v1/me", headers=api.as_("bob")).json() == {"name": "bob", "role": "review"}
    assert len(api.log.records) == 4


def test_the_command_prints_a_token_and_keeps_its_hash(neardup: Command, tmp_path: Path) -> None:
    told = neardup("token", "ann", "--role", "admin", "--file", tmp_path / "tokens")
    assert told.code == 0
    token = told.output.strip()
    assert re.fullmatch(r"nd_[\w-]{43}", token)
    assert os.stat(tmp_path / "tokens").st_mode & 0o777 == 0o600  # noqa: PTH116
    assert Tokens(file=tmp_path / "tokens").find(token) == Caller("ann", Role.ADMIN)
    assert neardup("token", "ann", "--file", tmp_path / "tokens").code == 2
    assert neardup("token", "a b").code == 2
    printed = neardup("token", "bob")
    assert Tokens(printed.errors.split(": ")[1].strip()).find(printed.output.strip()) == Caller("bob", Role.READ)


def test_a_token_of_a_tenant_is_for_that_tenant_alone(
    neardup: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "tokens"
    assert neardup("token", "ann", "--file", file).code == 0
    monkeypatch.setenv("NEARDUP_TENANT", "acme")
    told = neardup("token", "ann", "--role", "admin", "--file", file)  # another ann
    assert told.code == 0
    lines = file.read_text().splitlines()
    assert [line.rpartition(":")[0] for line in lines] == ["ann:read", "acme/ann:admin"]
    token = told.output.strip()
    assert Tokens(file=file, tenant="acme").find(token) is not None
    assert Tokens(file=file).find(token) is None
    assert neardup("token", "ann", "--file", file).code == 2
