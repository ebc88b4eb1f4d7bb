from __future__ import annotations

import re

from neardup.workers.api.pages.words import breakable, clock, percent
from tests.pipeline.match.build import picture
from tests.workers.api.build import Api


def edit(api: Api, item: str, edit: str, who: str = "bob", **more: str) -> tuple[int, str]:
    """Return the status, and where the browser goes on."""
    form = {"item": item, "edit": edit, **more}
    answer = api.client.post("/clusters/edits", data=form, headers=api.as_(who), follow_redirects=False)
    return answer.status_code, answer.headers.get("location", answer.text)


def shown(api: Api, item: str) -> tuple[str, list[str]]:
    """Return the original and the copies that the page of an item shows."""
    html = api.client.get("/clusters", params={"item": item}).text
    original = re.findall(r'id="original-title" class="name">([^<]*)<', html)
    return original[0], re.findall(r'data-id="([^"]*)"', html)


def test_a_cluster_is_shown_by_any_of_its_items(api: Api) -> None:
    for item in ("a", "a2"):
        assert shown(api, item) == ("a", ["a2"])
    assert shown(api, "b") == ("b", [])
    unknown = api.client.get("/clusters?item=nobody")
    assert (unknown.status_code, "There is no item &#39;nobody&#39;." in unknown.text) == (404, True)
    assert api.client.get("/clusters").status_code == 200


def test_an_id_is_shown_as_text(api: Api) -> None:
    hostile = "<script>alert(1)</script>\"&'"
    api.log.append([picture(hostile, 200), picture(f"{hostile}2", 203)])
    html = api.client.get("/clusters", params={"item": hostile, "done": "split", "moved": hostile}).text
    assert "<script>alert" not in html


def test_edits_are_made_and_told_and_can_be_undone(api: Api) -> None:
    status, where = edit(api, "a2", "split", back="a")
    assert (status, where) == (303, "/clusters?item=a&done=split&moved=a2&before=a")
    assert shown(api, "a") == ("a", [])
    page = api.client.get(where).text
    assert "a2 was taken out of its cluster" in page
    assert "Undo: put it back" in page
    assert edit(api, "a2", "merge", into="a", back="a")[0] == 303
    assert shown(api, "a2") == ("a", ["a2"])
    assert edit(api, "a2", "head")[0] == 303
    assert shown(api, "a") == ("a2", ["a"])
    assert edit(api, "a2", "merge", into=" b ")[0] == 303
    assert shown(api, "a2") == ("b", ["a", "a2"])
    assert [entry.changed.record.by for entry in api.store.audit("", 10)] == ["bob"] * 4


def test_a_refused_edit_is_told_on_the_page(api: Api) -> None:
    status, html = edit(api, "b", "split")
    assert (status, "stands alone" in html) == (409, True)
    status, html = edit(api, "b", "merge", into="nobody")
    assert (status, "there is no item &#39;nobody&#39;" in html) == (404, True)


def test_a_reader_sees_no_edits_and_can_make_none(api: Api) -> None:
    assert "/clusters/edits" not in api.client.get("/clusters?item=a", headers=api.as_("ann")).text
    assert edit(api, "a2", "split", "ann") == (303, "/login?next=/clusters/edits")
    assert shown(api, "a") == ("a", ["a2"])


def test_an_edit_that_is_not_applied_yet_is_told_so(api: Api) -> None:
    api.log.held = True
    import neardup.workers.api.pages.clusters as page

    page.WAIT, before = 0.05, page.WAIT
    try:
        status, where = edit(api, "a2", "split")
    finally:
        page.WAIT = before
    assert (status, where.endswith("&later=1")) == (303, True)
    assert "does not show it yet" in api.client.get(where).text


def test_numbers_are_said_in_words() -> None:
    assert [percent(share) for share in (1.0, 0.98765, 0.0)] == ["> 99.99 %", "99 %", "< 0.1 %"]
    assert [clock(seconds) for seconds in (0.4, 61, 3725)] == ["0:00", "1:01", "1:02:05"]


def test_long_ids_break_after_a_mark_and_are_escaped() -> None:
    assert breakable("a/<b>_2.gif") == "a/<wbr>&lt;b&gt;_<wbr>2.gif"
