from __future__ import annotations

import base64
import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext

import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.records import Matched, Verdict
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.interface import FeedEntry
from neardup.pipeline.types import Decision, Span
from neardup.pipeline.where import Where, WhereKind
from neardup.workers.api.models import EXAMPLE_MATCH, MatchBody
from neardup.workers.webhook.delivery import (
    Delivery,
    DeliveryRefused,
    Receiver,
    make_delivery,
    make_receiver,
    read_secrets,
    sign,
)
from tests.timing import LATE_SECONDS
from tests.workers.receiver import DRIP_SECONDS, KEY, SECRET, Answer, Received, receiving, signature

MATCH = Matched(
    reference="cat-1",
    bank="blocked",
    decision=Decision.DUPLICATE,
    distance=0.125,
    evidence=0.5,
    probability=0.75,
    where=Where(kind=WhereKind.PART, spans=(Span(1.0, 2.0, 3.0, 4.0),)),
)
ENTRY = FeedEntry(
    "42.1", Verdict(id="cat-2", decision=Decision.DUPLICATE, matches=(MATCH,)), 1_700_000_000_123, retro=True
)
DELIVERY = Delivery("f00d_42_1", json.dumps({"data": {"id": "cat-2"}}).encode())


@pytest.fixture
def received() -> Iterator[Received]:
    with receiving() as one:
        yield one


def receiver(url: str, seconds: float = 30.0) -> closing[Receiver]:
    return closing(Receiver(url, [KEY], seconds, private=True))


def test_signature_is_that_of_the_standards_own_example() -> None:
    example = Delivery("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}')
    headers = sign(example, [base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")], 1614265330.9)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_secrets_change_both_sign() -> None:
    told = sign(DELIVERY, [KEY, KEY[::-1]], 7)["webhook-signature"].split(" ")
    assert told == [signature("f00d_42_1", "7", DELIVERY.body, key) for key in (KEY, KEY[::-1])]


def test_events_of_two_tenants_are_told_apart() -> None:
    told = [make_delivery(ENTRY, "f00d", tenant=tenant) for tenant in ("", "acme", "blue")]
    assert [one.id for one in told] == ["f00d_42_1", "acme_f00d_42_1", "blue_f00d_42_1"]
    assert [json.loads(one.body)["data"].get("tenant") for one in told] == [None, "acme", "blue"]


def test_an_entry_is_told_as_the_feed_tells_it_the_same_each_time() -> None:
    delivery = make_delivery(ENTRY, "f00d")
    assert delivery == make_delivery(ENTRY, "f00d")
    assert "." not in delivery.id
    body = json.loads(delivery.body)
    assert (body["type"], body["timestamp"]) == ("item.flagged", "2023-11-14T22:13:20.123Z")
    data = body["data"]
    assert sorted(data) == ["allowed", "decision", "event", "id", "matches", "retro", "running", "space"]
    assert (data["event"], data["space"], data["retro"]) == ("42.1", "f00d", True)
    assert (data["id"], data["decision"], data["running"]) == ("cat-2", "duplicate", False)
    (match,) = data["matches"]
    assert (match["reference"], match["bank"], match["action"], match["probability"]) == (
        "cat-1",
        "blocked",
        "flag",
        0.75,
    )
    assert match["where"]["spans"][0]["reference_end"] == 4.0
    assert match == json.loads(MatchBody.model_validate(MATCH).model_dump_json())  # as the API has it
    assert match.keys() == EXAMPLE_MATCH.keys()


def test_events_go_over_one_connection_signed(received: Received) -> None:
    with receiver(received.url) as sending:
        for number in range(5):
            sending.send(Delivery(f"s_{number}_0", DELIVERY.body), time.time())
        assert sending._connection is not None
        assert sending._connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # else 20 a second
    assert received.all == [f"s_{number}_0" for number in range(5)]
    assert len(received.taken) == 5
    assert received.connections == 1


def test_where_an_item_has_been_is_told_and_is_no_part_of_what_is_signed(received: Received) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with receiver(received.url) as sending:
        sending.send(make_delivery(ENTRY, "f00d", trace), time.time())
        sending.send(make_delivery(ENTRY, "f00d"), time.time())
    assert received.traceparents == [trace, ""]
    assert received.taken[0] == received.taken[1]


def test_a_receiver_that_closed_the_connection_meanwhile_is_connected_to_again(received: Received) -> None:
    received.answer = lambda number: "reset" if number == 1 else 200
    with receiver(received.url) as sending:
        sending.send(DELIVERY, time.time())
        sending.send(DELIVERY, time.time())
    assert (len(received.all), len(received.taken), received.connections) == (3, 2, 2)


@pytest.mark.parametrize(
    ("answer", "why", "pause"),
    [
        (lambda _: 500, "status 500", 0.0),
        (lambda _: 404, "status 404", 0.0),
        (lambda _: "503 7", "status 503", 7.0),
        (lambda _: "429 soon", "status 429", 0.0),
        (lambda _: "away", "status 302", 0.0),
        (lambda _: "reset", "RemoteDisconnected", 0.0),
        (lambda _: "drip", ".", 0.0),
    ],
)
def test_what_is_not_taken_is_told(answer: Answer, why: str, pause: float) -> None:
    seconds = 1.0 if why == "." else LATE_SECONDS
    with receiving(answer) as received, receiver(received.url, seconds=seconds) as sending:
        started = time.monotonic()
        with pytest.raises(DeliveryRefused, match=why) as caught:
            sending.send(DELIVERY, time.time())
        assert time.monotonic() - started < DRIP_SECONDS / 2
        assert caught.value.pause_seconds == pause
        received.answer = lambda _: 200
        with receiver(received.url, seconds=LATE_SECONDS) if why == "." else nullcontext(sending) as patient:
            patient.send(DELIVERY, time.time())
        assert len(received.taken) == 1


def test_another_secret_is_refused(received: Received) -> None:
    sending = Receiver(received.url, [KEY[::-1]], 5, private=True)
    with closing(sending), pytest.raises(DeliveryRefused, match="status 401"):
        sending.send(DELIVERY, time.time())


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        with receiver(url) as sending, pytest.raises(DeliveryRefused, match="ConnectionRefusedError"):
            sending.send(DELIVERY, time.time())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.0.0.1", "[::1]", "169.254.169.254"])
def test_private_addresses_are_forbidden_unless_they_are_allowed(host: str) -> None:
    sending = Receiver(f"https://{host}/hook", [KEY], 2, private=False)
    with closing(sending), pytest.raises(DeliveryRefused, match="NEARDUP_WEBHOOK_PRIVATE"):
        sending.send(DELIVERY, time.time())


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "is empty"),
        ("example.org/hook", "no URL of a host"),
        ("https:///hook", "no URL of a host"),
        ("https://user:secret@example.org/", "no URL of a host"),
        ("https://example.org/a b", "no URL of a host"),
        ("https://example.org:port/", "no URL"),
        ("http://example.org/hook", "wanted https"),
        ("file:///etc/passwd", "no URL of a host"),
        ("ftp://example.org/", "wanted https"),
    ],
)
def test_a_url_that_is_none_or_not_safe_is_refused_at_the_start_and_not_shown(url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        make_receiver(Settings(webhook_url=url, webhook_secrets=SECRET))  # type: ignore[arg-type]
    assert "secret@" not in str(caught.value)


@pytest.mark.parametrize("text", ["", " , ", "secret", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64", SECRET[6:]])
def test_a_secret_that_is_none_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigError, match=r"webhook_secrets.*openssl rand") as caught:
        read_secrets(text)
    assert "c2hvcnQ" not in str(caught.value)


def test_several_secrets_are_parted_by_commas() -> None:
    other = "whsec_" + base64.b64encode(KEY[::-1]).decode()
    assert read_secrets(f"{SECRET}, {other}") == [KEY, KEY[::-1]]
