from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from neardup.workers.api import pages
from neardup.workers.api.app import make_app
from neardup.workers.api.auth import COOKIE, Tokens
from neardup.workers.api.pages.words import prose
from tests.workers.api.build import Api, an_api

PAGES = ["/search", "/review", "/clusters"]
SHELLS = ["/", "/docs", "/login", *PAGES]


def anyone(api: Api, path: str, token: str = "") -> tuple[int, str]:
    """Return status and location of a page as a browser with this token gets it."""
    headers = {"Cookie": f"{COOKIE}={api.context.tokens.make_session(token)}"} if token else {}
    answer = api.client.get(path, headers={"Authorization": "", **headers}, follow_redirects=False)
    return answer.status_code, answer.headers.get("location", "")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_leads_to_the_login_and_back(api: Api, path: str) -> None:
    assert anyone(api, f"{path}?item=a%20b") == (303, f"/login?next={path}%3Fitem%3Da%2520b")
    assert anyone(api, path, "nd_eve") == (200, "")


@pytest.mark.parametrize("path", SHELLS)
def test_a_page_has_no_inline_script_or_style_and_takes_nothing_from_elsewhere(api: Api, path: str) -> None:
    html = api.client.get(path).text
    assert "<style" not in html
    assert not re.search(r"\s(style|on\w+)=", html)
    for attributes, content in re.findall(r"<script([^>]*)>([^<]*)</script>", html):
        assert "src=" in attributes or 'type="application/json"' in attributes
        assert "src=" not in attributes or not content.strip()
    for source in re.findall(r'(?:src|href|action)="([^"#]+)"', html):
        assert source.startswith("/"), source
        if source.startswith("/static/"):
            assert api.client.get(source).status_code == 200


def test_what_modules_import_is_served(api: Api) -> None:
    imports = {
        one for path in Path(pages.STATIC).glob("*.js") for one in re.findall(r'from "([^"]+)"', path.read_text())
    }
    assert "/static/proof.js" in imports
    assert {one: api.client.get(one).status_code for one in imports} == dict.fromkeys(imports, 200)


def test_assets_name_nothing_from_elsewhere() -> None:
    for path in Path(pages.STATIC).iterdir():
        for found in re.findall(r"https?://[^\s\"'`)]+", path.read_text()):
            assert found == "http://www.w3.org/2000/svg", f"{path.name}: {found}"


def test_a_page_names_only_the_pages_that_its_reader_may_see(api: Api) -> None:
    assert "/review" not in api.client.get("/search", headers=api.as_("ann")).text
    assert "/review" in api.client.get("/search", headers=api.as_("bob")).text


def test_who_may_not_see_a_page_is_told_so_where_they_log_in(api: Api) -> None:
    told = api.client.get("/login?next=/review", headers=api.as_("ann")).text
    assert "You are ann, who may read" in told


@pytest.mark.parametrize("tenant", ["", "acme"])
def test_every_page_names_the_tenant_before_and_after_the_login(tmp_path: Path, tenant: str) -> None:
    with an_api(tmp_path, tenant=tenant) as api:
        heads = [
            re.findall(r'<a class="name"[^>]*>(.*)</a>', api.client.get(path, headers=headers).text)
            for path in ("/", "/login", "/search")
            for headers in ({}, api.as_("bob"))
        ]
    assert heads == [["neardup" + (f' <span class="tenant">{tenant}</span>' if tenant else "")]] * 6


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_a_browser_gets_a_page_of_a_wrong_address_and_a_program_gets_json(api: Api) -> None:
    page = api.client.get("/serach", headers=BROWSER)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no page at this address" in page.text
    assert 'href="/search"' in page.text
    program = api.client.get("/serach")
    assert (program.status_code, program.headers["content-type"]) == (404, "application/problem+json")


def test_a_page_of_a_problem_says_what_can_be_done(api: Api) -> None:
    page = api.client.get("/v1/items?id=nobody", headers=BROWSER)
    assert page.status_code == 404
    assert "no item &#39;nobody&#39;" in page.text
    assert "Check the id or name" in page.text


def test_a_page_of_a_problem_shows_an_address_as_text(api: Api) -> None:
    assert "<script>alert" not in api.client.get("/<script>alert(1)</script>", headers=BROWSER).text


def test_a_browser_without_a_token_is_asked_for_one(api: Api) -> None:
    answer = api.client.get("/v1/me", headers={"Authorization": "", **BROWSER}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/v1/me")


def test_the_login_says_how_to_get_a_token(api: Api) -> None:
    assert "neardup token NAME" in api.client.get("/login", headers={"Authorization": ""}).text


def test_the_login_asks_for_no_token_where_none_is_needed(api: Api) -> None:
    api.context.tokens = Tokens()
    page = TestClient(make_app(api.context)).get("/login?next=/search").text
    assert "No token is needed here" in page
    assert 'href="/search"' in page
    assert 'id="token"' not in page


def test_backticks_are_shown_as_code() -> None:
    assert prose("see `a < b` & c") == "see <code>a &lt; b</code> &amp; c"


def test_the_api_page_writes_values_as_json_does(api: Api) -> None:
    page = api.client.get("/docs").text
    assert "(default <code>true</code>)" in page
    assert "default True" not in page
    assert "`" not in page


def test_clusters_are_in_the_navigation_and_say_what_to_enter(api: Api) -> None:
    page = api.client.get("/clusters").text
    assert '<a href="/clusters" aria-current="page">Clusters</a>' in page
    assert "Enter the id of any of its items" in page
