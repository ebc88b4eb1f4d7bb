from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings
from neardup.workers.api.app import make_app
from neardup.workers.api.attempts import MOST_ADDRESSES, Attempts
from neardup.workers.api.auth import COOKIE, Tokens, line_of
from neardup.workers.api.server import open_tokens
from neardup.workers.api.sessions import SESSION_SECONDS, Sessions, open_sessions
from tests.workers.api.build import Api, an_api

SECRET = b"s" * 32


def test_a_session_is_known_to_all_workers_with_the_secret_until_it_ends() -> None:
    now = [1000.0]
    one, other, stranger = (Sessions(secret, lambda: now[0]) for secret in (SECRET, SECRET, b"x" * 32))
    cookie = one.make("digest")
    assert other.is_of(cookie, "digest")
    assert one.make("digest") != cookie
    assert not stranger.is_of(cookie, "digest")
    assert not other.is_of(cookie, "other digest")
    later = f"{1000 + 2 * SESSION_SECONDS}{cookie[cookie.index('.') :]}"
    assert [other.is_of(wrong, "digest") for wrong in (later, cookie[:-1], "", "a.b.c", cookie + "x")] == [False] * 5
    now[0] += SESSION_SECONDS
    assert not other.is_of(cookie, "digest")


def test_a_session_ends_with_its_token(tmp_path: Path) -> None:
    now, file = [0.0], tmp_path / "tokens"
    file.write_text(line_of("ann", "read", "t1") + "\n" + line_of("bob", "review", "t2"))
    tokens = Tokens(file=file, clock=lambda: now[0])
    cookie = tokens.make_session("t1")
    found = tokens.find_session(cookie)
    assert found is not None
    assert found.name == "ann"
    file.write_text(line_of("bob", "review", "t2"))
    now[0] = 2.0
    assert tokens.find_session(cookie) is None


def test_of_a_file_that_tenants_share_each_takes_its_own_tokens(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    lines = [line_of("ann", "admin", "t1"), line_of("ann", "admin", "t2", "acme"), line_of("bob", "read", "t3", "blue")]
    file.write_text("\n".join(lines))
    found = {
        tenant: [token for token in ("t1", "t2", "t3") if Tokens(file=file, tenant=tenant).find(token)]
        for tenant in ("", "acme", "blue", "green")
    }
    assert found == {"": ["t1"], "acme": ["t2"], "blue": ["t3"], "green": []}
    assert Tokens(file=file, tenant="green").required
    caller = Tokens(file=file, tenant="acme").find("t2")
    assert caller is not None
    assert caller.name == "ann"
    with pytest.raises(ConfigError, match="token 'acme/ann'"):
        line_of("acme/ann", "read", "t4")


def test_a_browser_may_be_logged_in_to_two_tenants_of_one_host() -> None:
    assert [Tokens(tenant=tenant).cookie for tenant in ("", "acme")] == [COOKIE, f"{COOKIE}_acme"]


def test_workers_of_a_machine_share_a_secret_that_its_owner_alone_reads(tmp_path: Path) -> None:
    settings = Settings(state_folder=str(tmp_path / "state"))
    cookie = open_sessions(settings).make("digest")
    assert open_sessions(settings).is_of(cookie, "digest")
    [file] = (tmp_path / "state").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("short")
    with pytest.raises(ConfigError, match="wanted 32 or more"):
        open_sessions(settings)


def test_a_secret_by_setting_is_long_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="api_session_secret has 5 bytes"):
        open_sessions(Settings(api_session_secret="short", state_folder=str(tmp_path / "state")))  # type: ignore[arg-type]
    assert "short" not in str(Settings(api_session_secret="short"))  # type: ignore[arg-type]
    open_sessions(Settings(api_session_secret="s" * 32, state_folder=str(tmp_path / "state")))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_sessions_end_with_the_process(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("no folder")
    settings = Settings(state_folder=str(tmp_path / "state"))
    cookie = open_sessions(settings).make("digest")
    assert not open_sessions(settings).is_of(cookie, "digest")


def test_the_cookie_holds_neither_the_token_nor_its_hash(api: Api) -> None:
    answer = api.client.post("/login", data={"token": "nd_bob"}, follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert "nd_bob" not in cookie
    assert hashlib.sha256(b"nd_bob").hexdigest() not in cookie
    assert "secure" not in cookie.lower()
    api.client.headers.pop("Authorization")
    assert api.client.get("/v1/me").json()["name"] == "bob"
    for value in ("nd_bob", hashlib.sha256(b"nd_bob").hexdigest()):
        api.client.cookies.clear()
        assert api.client.get("/v1/me", headers={"Cookie": f"{COOKIE}={value}"}).status_code == 401


@pytest.mark.parametrize(
    ("proxies", "client", "secure"),
    [("", "10.1.2.3", False), ("10.0.0.0/8", "10.1.2.3", True), ("10.0.0.0/8, ::1", "192.0.2.1", False)],
)
def test_the_cookie_is_secure_behind_a_proxy_that_is_trusted(
    tmp_path: Path, proxies: str, client: str, secure: bool
) -> None:
    with an_api(tmp_path, api_trusted_proxies=proxies) as api:
        behind = TestClient(make_app(api.context), client=(client, 5000))
        forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "198.51.100.7"}
        answer = behind.post("/login", data={"token": "nd_bob"}, headers=forwarded, follow_redirects=False)
        assert ("secure" in answer.headers["set-cookie"].lower()) is secure


@pytest.mark.parametrize("proxies", ["*", "proxy.example", "10.0.0.1/8", "10.0.0.0/99"])
def test_a_proxy_that_is_no_address_stops_the_worker(proxies: str) -> None:
    with pytest.raises(ConfigError, match="api_trusted_proxies"):
        _ = Settings(api_trusted_proxies=proxies).trusted_proxies


def test_wrong_tokens_are_limited_and_right_ones_of_the_same_address_are_not() -> None:
    now = [0.0]
    attempts = Attempts(6.0, lambda: now[0])
    attempts.note("a", "ours", True)
    for number in range(6):
        assert attempts.wait("a", f"wrong-{number}") == 0
        attempts.note("a", f"wrong-{number}", False)
    assert attempts.wait("a", "wrong") == pytest.approx(10.0)
    assert attempts.wait("a", "right, but not from here so far") > 0  # else a guess that hits would be let through
    assert attempts.wait("a", "ours") == 0
    assert attempts.wait("b", "wrong") == 0
    now[0] = 10.0
    assert attempts.wait("a", "wrong") == 0


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    attempts = Attempts(1.0, lambda: 0.0)
    attempts.note("2001:db8::1", "x", False)
    assert attempts.wait("2001:db8::ffff:2", "y") > 0
    assert attempts.wait("2001:db8:0:1::1", "y") == 0


def test_many_addresses_take_bounded_memory() -> None:
    attempts = Attempts(1.0, lambda: 0.0)
    for number in range(MOST_ADDRESSES + 50):
        attempts.note(f"a{number}", "x", False)
        attempts.note(f"a{number}", "y", True)
    assert (len(attempts._left), len(attempts._right)) == (MOST_ADDRESSES, MOST_ADDRESSES)


def test_guesses_are_told_to_wait_at_the_login_and_at_every_call(tmp_path: Path) -> None:
    with an_api(tmp_path) as api:
        listed = line_of("ann", "read", "nd_ann")
        api.context.tokens = Tokens(listed, attempts=Attempts(5.0, lambda: 0.0))
        client = TestClient(make_app(api.context))
        assert client.get("/v1/me", headers=api.as_("ann")).status_code == 200
        statuses = [client.post("/login", data={"token": f"nd_{n}"}).status_code for n in range(3)]
        statuses += [client.get("/v1/me", headers={"Authorization": f"Bearer nd_x{n}"}).status_code for n in range(3)]
        assert statuses == [401, 401, 401, 401, 401, 429]
        told = client.post("/login", data={"token": "nd_9"})
        assert (told.status_code, int(told.headers["retry-after"]) > 0) == (429, True)
        assert client.get("/v1/me", headers=api.as_("ann")).status_code == 200
        assert client.get("/healthz").status_code == 200
        assert client.get("/v1/me", headers={"Cookie": f"{COOKIE}=stale"}).status_code == 401


@pytest.mark.parametrize(
    ("allowed", "with_token", "without"), [("token", 200, 401), ("open", 200, 200), ("off", 404, 404)]
)
def test_metrics_are_for_whom_the_setting_says(tmp_path: Path, allowed: str, with_token: int, without: int) -> None:
    with an_api(tmp_path, api_metrics=allowed) as api:
        assert api.client.get("/metrics", headers=api.as_("ann")).status_code == with_token
        api.client.headers.pop("Authorization")
        assert api.client.get("/metrics").status_code == without


def test_the_worker_takes_its_settings(tmp_path: Path) -> None:
    settings = Settings(
        api_tokens=line_of("ann", "read", "t"),  # type: ignore[arg-type]
        api_session_secret="s" * 32,  # type: ignore[arg-type]
        api_wrong_tokens_per_minute=1,
        state_folder=str(tmp_path),
    )
    one, other = open_tokens(settings), open_tokens(settings)
    assert other.find_session(one.make_session("t")) is not None
    assert one.admit("wrong", "a") is None
    with pytest.raises(Exception, match="too many wrong tokens"):
        one.admit("wrong", "a")
