"""The API worker against a real Kafka and Redis, with match and flag workers beside it; the network is a stand-in."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import RedisStore
from neardup.workers.api.app import make_app
from neardup.workers.api.auth import Tokens, line_of
from neardup.workers.api.context import Context
from neardup.workers.api.feed import Hub
from neardup.workers.api.follow import ViewFollower
from neardup.workers.api.networks import Network, Networks
from neardup.workers.api.server import ApiWorker, Server
from neardup.workers.api.view import View
from neardup.workers.flag.worker import FlagWorker
from neardup.workers.kafka.changes import KafkaWrites
from neardup.workers.kafka.log import Tail
from neardup.workers.kafka.topics import topic_names
from tests.integration.stream import SPACE, a_match_worker, a_state_in, append, make_topics
from tests.pipeline.match.build import D, a_state, picture
from tests.timing import BUSY, LATE_SECONDS, until
from tests.workers.api.build import StubUploads, an_image

pytestmark = pytest.mark.integration


@contextmanager
def stepping(worker: Any) -> Iterator[None]:
    """Step a worker in a thread."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set():
            worker.step()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(LATE_SECONDS)
        worker.close()


@contextmanager
def an_api_worker(settings: Settings, folder: Path, name: str = "eve") -> Iterator[httpx2.Client]:
    """Run one API worker with its server, and return a client that has an admin's token of this name."""
    names = topic_names(settings.topic_prefix, SPACE)
    store = RedisStore(settings.redis.get_secret_value(), SPACE)
    networks = Networks(Network("default", SPACE, StubUploads(), lambda: a_state(stars=False)), {}, _none)
    tokens = Tokens(line_of(name, "admin", "nd_eve"))
    context = Context(settings, SPACE, tokens, store, KafkaWrites(settings, names), networks, Hub(store))
    view = context.view = View(a_state_in(folder), -1)
    follower = ViewFollower(Tail(settings, names.log), Tail(settings, names.verdicts), view, D, context.told)
    server = Server(make_app(context), "127.0.0.1", 0)
    client = httpx2.Client(
        base_url=f"http://127.0.0.1:{server.port}", headers={"Authorization": "Bearer nd_eve"}, timeout=LATE_SECONDS
    )
    with client, stepping(ApiWorker(context, view, None, follower)):
        yield client
        server.close()
    view.close()


@contextmanager
def workers(settings: Settings, folder: Path, *names: str) -> Iterator[list[httpx2.Client]]:
    """Run match and flag workers and an API worker for each name."""
    with ExitStack() as stack:
        stack.enter_context(stepping(a_match_worker(settings, folder / "match")))
        verdicts = Tail(settings, topic_names(settings.topic_prefix, SPACE).verdicts)
        flag = FlagWorker(verdicts, RedisStore(settings.redis.get_secret_value(), SPACE))
        stack.enter_context(stepping(flag))
        yield [stack.enter_context(an_api_worker(settings, folder / f"api-{n}", n)) for n in names]


def _none(name: str, place: str) -> Network:
    raise AssertionError((name, place))


def test_items_are_found_flagged_and_taken_down_at_every_api_worker(settings: Settings, tmp_path: Path) -> None:
    settings = settings.model_copy(update={"blobs": str(tmp_path / "blobs")})
    make_topics(settings)
    append(settings, [picture("a", 0), picture("b", 60)])
    with workers(settings, tmp_path, "eve", "bob") as (one, other):
        for client in (one, other):
            until(lambda c=client: c.get("/readyz").json()["offset"] == 1, "the view catches up")  # type: ignore[misc]

        told: Future[str] = Future()
        begun = threading.Event()

        def watch() -> None:
            with one.stream("GET", "/v1/feed?limit=1") as answer:
                begun.set()
                told.set_result(answer.read().decode())

        threading.Thread(target=watch, daemon=True).start()
        assert begun.wait(LATE_SECONDS)
        append(settings, [picture("copy", 3)])
        event = told.result(LATE_SECONDS)
        assert "event: duplicate" in event
        assert json.loads(event.split("data: ")[1].split("\n")[0])["matches"][0]["reference"] == "a"

        for client in (one, other):
            until(lambda c=client: c.get("/v1/items/copy").status_code == 200, "the item is found")  # type: ignore[misc]
            match = client.post("/v1/match", content=an_image(1), headers={"Content-Type": "image/png"}).json()
            assert match["original"] == "a"
        gone = one.delete("/v1/items/a").json()
        assert (gone["gone"], gone["was_held"]) == (True, True)
        assert gone["seconds"] < 2 * BUSY
        until(lambda: other.get("/v1/items/a").status_code == 404, "gone elsewhere too", 2 * BUSY)
        assert one.get("/v1/items/copy").json()["is_original"] is True


def test_banks_and_reviews_are_changed_at_one_api_worker_and_seen_at_the_other(
    settings: Settings, tmp_path: Path
) -> None:
    make_topics(settings)
    append(settings, [picture("a", 0), picture("a2", 5), picture("b", 60), picture("b2", 64)])
    with workers(settings, tmp_path, "eve", "bob") as (eve, bob):
        for client in (eve, bob):
            until(lambda c=client: c.get("/readyz").json()["offset"] == 3, "the view catches up")  # type: ignore[misc]
        assert eve.post("/v1/banks", json={"bank": "blocked", "why": "4711"}).status_code == 201
        until(lambda: bob.get("/v1/banks/blocked").status_code == 200, "the bank at the other")
        added = bob.post("/v1/banks/blocked/references", json={"item": "b"}).json()
        assert (added["applied"], {one["item"] for one in added["earlier"]}) == (True, {"b", "b2"})
        match = bob.post("/v1/match", content=an_image(61), headers={"Content-Type": "image/png"}).json()
        assert (match["bank"], match["original"]) == ("blocked", "b")

        ask = {"count": 2, "queue": "all"}
        claims = [one.post("/v1/reviews/claims", json=ask).json()["items"] for one in (eve, bob)]
        taken = [[one["item"] for one in items] for items in claims]
        assert taken == [["a2", "b2"], ["b"]]
        body = {"item": "a2", "reference": "a", "outcome": "not-a-match"}
        assert bob.post("/v1/reviews", json=body).status_code == 409
        assert eve.post("/v1/reviews", json=body).json()["applied"] is True
        assert [one["item"] for one in eve.post("/v1/reviews/claims", json=ask).json()["items"]] == ["b2"]
        until(lambda: bob.get("/v1/clusters?item=a").json()["total"] == 0, "the cluster at the other")
        told = [(one["kind"], one["about"], one["by"]) for one in bob.get("/v1/audit").json()["entries"]]
        assert told == [
            ("reviewed", "a2", "eve"),
            ("reference-changed", "b", "bob"),
            ("bank-changed", "blocked", "eve"),
        ]
