from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from neardup.pipeline.log.records import Record
from neardup.pipeline.types import Kind
from tests.pipeline.match.build import picture
from tests.pipeline.match.query.test_content import SPACE, a_state_with_contents, shows
from tests.workers.api.build import Api, an_api, an_image

PNG = {"Content-Type": "image/png"}


def ids(answer: dict[str, list[dict[str, str]]]) -> list[str]:
    return [one["id"] for one in answer["results"]]


def test_near_duplicates_of_one_original_are_one_result(api: Api) -> None:
    told = api.client.post("/v1/search", content=an_image(4), headers=PNG).json()
    assert ids(told) == ["a2", "b", "c"]
    assert told["results"][0]["original"] == "a"
    assert [other["id"] for other in told["results"][0]["others"]] == ["a"]
    assert told["next"] is None


def test_a_result_says_how_long_a_video_is(tmp_path: Path) -> None:
    with an_api(
        tmp_path, [picture("a", 0), msgspec.structs.replace(picture("v", 60), kind=Kind.VIDEO, seconds=8.5)]
    ) as api:
        told = api.client.get("/v1/similar?id=a").json()
    assert [(one["id"], one["kind"], one["seconds"]) for one in told["results"]] == [("v", "video", 8.5)]


def test_ungrouped_members_stand_for_themselves(api: Api) -> None:
    told = api.client.post("/v1/search?grouped=false", content=an_image(4), headers=PNG).json()
    assert ids(told) == ["a2", "a", "b", "c"]


def test_of_an_item_its_own_near_duplicates_are_left_out_unless_asked_for(api: Api) -> None:
    assert ids(api.client.get("/v1/items/a2/similar").json()) == ["b", "c"]
    assert ids(api.client.get("/v1/items/a2/similar?grouped=false").json()) == ["a", "b", "c"]


def test_a_distance_bounds_what_is_found(api: Api) -> None:
    told = api.client.get("/v1/items/b/similar?max_distance=1.0").json()
    assert ids(told) == ["a2"] or ids(told) == ["a2", "c"]
    assert all(one["distance"] <= 1.0 for one in told["results"])


@pytest.fixture
def many(tmp_path: Path) -> Api:
    records: list[Record] = [picture(f"p{n}", 0, plane=n) for n in range(1, 31)]
    return an_api(tmp_path, [picture("p0", 0), *records])  # type: ignore[return-value]


def test_pages_follow_each_other_by_cursor_for_items_and_uploads(many: object) -> None:
    with many as api:  # type: ignore[attr-defined]
        for first in (
            api.client.get("/v1/items/p0/similar?k=25&page=10"),
            api.client.post("/v1/search?k=25&page=10", content=an_image(0), headers=PNG),
        ):
            told, found = first.json(), ids(first.json())
            while told["next"]:
                told = api.client.get("/v1/search", params={"cursor": told["next"]}).json()
                found += ids(told)
            assert len(found) == len(set(found)) == 25


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é", "lgoKAMs_8AAAAAAAAMOg2gACYWE=" * 3])
def test_a_cursor_that_is_none_is_refused(api: Api, cursor: str) -> None:
    answer = api.client.get("/v1/search", params={"cursor": cursor})
    assert answer.status_code == 422


@pytest.mark.parametrize("query", ["k=0", "k=1001", "k=x", "max_distance=-1", "max_distance=nan", "page=0"])
def test_what_is_out_of_range_is_refused(api: Api, query: str) -> None:
    answer = api.client.get(f"/v1/items/a/similar?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["in"].startswith("query.")


@pytest.fixture
def with_contents(tmp_path: Path) -> Iterator[Api]:
    """Two cats, a dog, and what nothing was said of; the dog looks most like the first cat as copies go."""
    records = [
        shows(picture("cat", 0), -120),
        shows(picture("other cat", 0, plane=1), -110),
        shows(picture("dog", 50), -40),
        picture("silent", 0, plane=2),
    ]
    with an_api(tmp_path, records, a_state_with_contents()) as running:
        running.context.similar_space = SPACE
        running.context.networks.own.uploads.similar_space = SPACE  # type: ignore[attr-defined]
        yield running


def test_what_is_similar_is_ranked_by_content_where_the_network_has_a_head_for_it(with_contents: Api) -> None:
    for told in (
        with_contents.client.get("/v1/items/cat/similar").json(),
        with_contents.client.post("/v1/search?max_distance=3.9", content=an_image(0), headers=PNG).json(),
    ):
        assert ids(told)[-2:] == ["other cat", "dog"]
        assert (told["head"], told["space"]) == ("similar", SPACE)


def test_likely_copies_are_ranked_by_the_copy_head_if_that_is_asked_for(with_contents: Api) -> None:
    told = with_contents.client.get("/v1/items/cat/similar?head=copy").json()
    assert ids(told)[0] == "dog"
    assert (told["head"], told["space"]) == ("copy", "s")
    told = with_contents.client.post("/v1/search?head=copy", content=an_image(50), headers=PNG).json()
    assert ids(told)[0] == "dog"
    assert with_contents.client.get("/v1/items/cat/similar?head=x").status_code == 422


def test_an_item_of_which_nothing_was_said_is_looked_up_by_its_descriptors(with_contents: Api) -> None:
    told = with_contents.client.get("/v1/items/silent/similar").json()
    assert told["head"] == "copy"
    assert sorted(ids(told)) == ["cat", "dog", "other cat"]


def test_pages_by_content_follow_each_other(with_contents: Api) -> None:
    for first in (
        with_contents.client.get("/v1/items/cat/similar?page=1"),
        with_contents.client.post("/v1/search?page=1", content=an_image(0), headers=PNG),
    ):
        told, found = first.json(), ids(first.json())
        while told["next"]:
            told = with_contents.client.get("/v1/search", params={"cursor": told["next"]}).json()
            assert told["head"] == "similar"
            found += ids(told)
        assert found[-2:] == ["other cat", "dog"]
