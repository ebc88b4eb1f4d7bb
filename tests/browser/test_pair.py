"""A pair on the review page in a real browser, with a proof; what the page asks for is answered by the test."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from neardup.pipeline.log.records import Matched
from neardup.pipeline.prove.finding import BlockMap
from neardup.pipeline.types import Decision, Doubt, Kind, Span
from neardup.pipeline.where import Relation, Where, WhereKind
from neardup.workers.api.models import MatchBody
from tests.browser.test_report import thumbnail
from tests.pipeline.match.build import picture
from tests.pipeline.report.build import a_file, a_proof
from tests.workers.api.build import Api, an_api

pytestmark = pytest.mark.integration
RIGHT_HALF = (-0.5, 0.0, 1.0, 0.0, 1.0, 0.0)
"""The copy is the mirrored right half of the original."""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with an_api(tmp_path, [picture("a", 0)]) as running:
        yield running


def a_task(where: Where, doubt: Doubt = Doubt.NO, **changes: Any) -> dict[str, Any]:
    """Return a task of the queue with one match that is proved."""
    proof = a_proof(stage=1, inliers=143, map=BlockMap(columns=2, blocks="1304"), **changes)
    match = Matched(
        reference="original.jpg", bank="seen", decision=Decision.UNSURE, distance=0.3, evidence=0.5, probability=0.6,
        where=where, proof=None if doubt else proof, doubt=doubt,
    )  # fmt: skip
    kind = Kind.VIDEO if where.spans else Kind.IMAGE
    facts = [{"id": id, "kind": kind, "seconds": 9.0, "members": 1} for id in ("copy.jpg", "original.jpg")]
    shown = MatchBody.model_validate(match).model_dump(mode="json") | {"facts": facts[1], "open": True}
    return {"item": facts[0], "matches": [shown], "running": False, "claimed_by": "eve", "mine": True}


def answer(api: Api, task: dict[str, Any], route: Route) -> None:
    address = urlsplit(route.request.url)
    stored = {"/review/tasks": [task], "/review/waiting": [], "/v1/similar": []}
    if address.path in stored:
        route.fulfill(json={"results": stored[address.path], "waiting": {"unsure": 4, "unproved": 1, "all": 1234}})
    elif address.path == "/v1/pictures":
        route.fulfill(body=thumbnail(a_file("a"), 0), content_type="image/jpeg")
    elif address.path.startswith(("/review/", "/v1/")):
        route.fulfill(status=204)
    else:
        found = api.client.get(f"{address.path}?{address.query}")
        route.fulfill(status=found.status_code, body=found.content, headers=dict(found.headers))


def opened(browser: Browser, api: Api, task: dict[str, Any], width: int = 1280, path: str = "/review") -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.route("**/*", partial(answer, api, task))
    page.goto(f"http://localhost{path}")
    what = task["item"]["kind"]
    same = "video" if what == Kind.VIDEO else "picture"
    expect(page.locator("#pair-title")).to_contain_text(f"copy.jpg show the same {same} as original.jpg")
    return page


@pytest.mark.parametrize("width", [390, 1280])
def test_a_proof_is_a_view_of_the_pair(width: int, browser: Browser, api: Api) -> None:
    page = opened(browser, api, a_task(Where(kind=WhereKind.WHOLE, transform=RIGHT_HALF)), width)
    expect(page.locator("#pair .verdict")).to_contain_text("proved: 100 % agrees")
    outline = page.locator("figure").first.locator(".part polygon").last  # of the copy
    assert outline.get_attribute("points") == "237.12,158.08 237.12,1.92 120,1.92 120,158.08"
    page.keyboard.press("4")
    expect(page.locator(".proof-said")).to_contain_text("The copy is mirrored. 143 matching key points.")
    expect(page.locator(".over")).to_be_hidden()
    page.keyboard.press("b")
    expect(page.locator(".over")).to_be_visible()
    place = page.locator(".over").evaluate(
        "node => { const own = node.getBoundingClientRect(), all = node.parentNode.getBoundingClientRect();"
        " return [own.left - all.left, own.width].map((value) => Math.round((100 * value) / all.width)); }"
    )
    assert place == [50, 50]
    expect(page.get_by_role("checkbox", name="Flip the copy")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.keyboard.press("1")
    expect(page.locator(".proof")).to_have_count(0)
    page.close()


def test_numbers_have_names(browser: Browser, api: Api) -> None:
    page = opened(browser, api, a_task(Where(kind=WhereKind.WHOLE)))
    expect(page.locator("#pair .verdict")).to_contain_text("probability 60 %")
    expect(page.locator("#pair .verdict")).to_contain_text("distance 0.300")
    page.close()


def test_labels_of_both_pictures_stand_on_one_line(browser: Browser, api: Api) -> None:
    page = opened(browser, api, a_task(Where(kind=WhereKind.WHOLE)), 390)
    page.locator("figcaption bdi").first.evaluate(
        "node => { node.textContent = 'a long name of a picture/'.repeat(3); }"
    )
    places = page.locator("figcaption").evaluate_all(
        "nodes => nodes.map((node) => node.querySelector('.label').getBoundingClientRect().bottom"
        " <= node.querySelector('bdi').getBoundingClientRect().top)"
    )
    assert places == [True, True]
    page.close()


def test_pictures_are_seen_at_once_on_a_phone(browser: Browser, api: Api) -> None:
    page = opened(browser, api, a_task(Where(kind=WhereKind.WHOLE)), 390)
    picture = page.locator("figure .picture").first.bounding_box()
    assert picture is not None
    assert picture["y"] + picture["height"] < 640
    page.close()


def test_a_touch_screen_shows_no_keys(browser: Browser, api: Api) -> None:
    page = browser.new_page(has_touch=True, is_mobile=True)
    page.route("**/*", partial(answer, api, a_task(Where(kind=WhereKind.WHOLE))))
    page.goto("http://localhost/review")
    expect(page.locator("#pair-title")).to_be_visible()
    assert page.locator("kbd:visible").count() == 0
    page.close()


def test_a_proof_of_a_video_is_shown_at_its_own_moment(browser: Browser, api: Api) -> None:
    where = Where(kind=WhereKind.PART, spans=(Span(0, 4, 2, 6),), transform=RIGHT_HALF)
    page = opened(browser, api, a_task(where, query_second=1.5, reference_second=3.5))
    page.keyboard.press("b")
    expect(page.locator(".proof-note")).to_have_text("The copy at 0:01.5, the original at 0:03.5.")
    sources = page.locator(".plane img").evaluate_all("nodes => nodes.map((node) => node.getAttribute('src'))")
    assert sources == [f"/v1/pictures?id={what}&side=960" for what in ("original.jpg&at=3.50", "copy.jpg&at=1.50")]
    page.close()


def test_without_a_transform_there_is_no_such_view(browser: Browser, api: Api) -> None:
    page = opened(browser, api, a_task(Where(kind=WhereKind.WHOLE)))
    page.keyboard.press("4")
    page.keyboard.press("b")
    expect(page.get_by_role("radio", name="Side by side")).to_be_checked()
    expect(page.locator("input[value=proof], .proof")).to_have_count(0)
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
def test_what_nobody_proved_is_a_queue_of_its_own(width: int, browser: Browser, api: Api) -> None:
    page = opened(
        browser, api, a_task(Where(kind=WhereKind.WHOLE), doubt=Doubt.UNPROVED), width, "/review?queue=unproved"
    )
    queues = page.get_by_role("navigation", name="Queues")
    assert [one.inner_text() for one in queues.get_by_role("link").all()] == ["Unsure 4", "No proof yet 1", "All 1,234"]
    expect(queues.get_by_role("link", name="No proof yet")).to_have_attribute("aria-current", "page")
    expect(page.locator(".about")).to_contain_text("No proof came in time")
    expect(page.locator("#pair .verdict")).to_contain_text("no proof in time")
    expect(page.locator("#why dl")).to_contain_text("Matching part" + "all of it" + "In doubt" + "no proof in time")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    with page.expect_request("**/review/waiting*") as asked:
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert "queue=unproved" in asked.value.url
    page.close()


def test_an_empty_queue_is_not_explained(browser: Browser, api: Api) -> None:
    page = opened(browser, api, a_task(Where(kind=WhereKind.WHOLE)), path="/review?queue=unproved")
    expect(page.locator("#about")).to_be_visible()
    page.keyboard.press("n")
    expect(page.locator("#rest")).to_be_visible()
    expect(page.locator("#about")).to_be_hidden()
    page.close()


def test_after_the_unsure_match_nobody_is_asked_about_the_certain_one(browser: Browser, api: Api) -> None:
    task = a_task(Where(kind=WhereKind.WHOLE))
    certain = task["matches"][0] | {"decision": Decision.DUPLICATE, "reference": "another.jpg"}
    page = opened(browser, api, task | {"matches": [*task["matches"], certain]})
    page.keyboard.press("n")
    expect(page.locator("#rest")).to_contain_text("Other reviewers have the remaining items, or you skipped them")
    page.close()


def test_a_variant_stands_among_the_matches_and_was_decided_by_nobody(browser: Browser, api: Api) -> None:
    task = a_task(Where(kind=WhereKind.WHOLE))
    changes = {"decision": Decision.DISTINCT, "relation": Relation.VARIANT, "reference": "template.jpg", "open": False}
    page = opened(browser, api, task | {"matches": [*task["matches"], task["matches"][0] | changes]})
    beside = page.locator("#why .others button").last
    expect(beside).to_contain_text("template.jpg")
    expect(beside).to_contain_text("variant")
    expect(beside).not_to_contain_text("decided")
    page.keyboard.press("]")
    expect(page.locator("#pair .verdict")).to_contain_text("the same template or scene, other content")
    page.close()
