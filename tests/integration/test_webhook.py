"""What is flagged reaches a receiver that fails at times, by workers as processes that are killed at times."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from neardup.pipeline.log.records import Envelope, Matched, Verdict
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Decision
from neardup.workers.kafka.leader import Publisher
from neardup.workers.kafka.topics import create_topics, open_admin, topic_names
from tests.integration.test_embed_worker import environment, until
from tests.integration.test_ingest import Command, neardup
from tests.pipeline.scan.build import a_checkpoint
from tests.timing import LATE_SECONDS
from tests.workers.receiver import Received, receiving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
__all__ = ["environment", "neardup"]  # fixtures
SPACE = a_checkpoint().space


def flagged(number: int) -> Envelope:
    match = Matched(
        reference="r", bank="seen", decision=Decision.DUPLICATE, distance=0.1, evidence=0.9, probability=0.99
    )
    verdict = Verdict(id=f"item-{number}", decision=Decision.DUPLICATE, matches=(match,))
    distinct = Verdict(id=f"other-{number}", decision=Decision.DISTINCT)
    return Envelope(offset=number, events=(distinct, verdict), timestamp_ms=1_700_000_000_000)


class Verdicts:
    """Publishes envelopes, some in each transaction."""

    def __init__(self, settings: Settings) -> None:
        with open_admin(settings) as admin:
            create_topics(admin, SPACE, settings)
        self._publisher = Publisher(settings, topic_names(settings.topic_prefix, SPACE))
        self.published = 0

    def publish(self, count: int) -> None:
        envelopes = [flagged(self.published + n) for n in range(count)]
        self.published += count
        for start in range(0, count, 7):
            self._publisher.publish(envelopes[start : start + 7])

    def close(self) -> None:
        self._publisher.close()


@pytest.fixture
def verdicts(settings: Settings) -> Iterator[Verdicts]:
    with closing(Verdicts(settings)) as made:
        yield made


@contextmanager
def webhook(
    environment: dict[str, str], folder: Path, received: Received, **more: str
) -> Iterator[subprocess.Popen[bytes]]:
    environment.update({**received.settings, "NEARDUP_WEBHOOK_SECONDS": "1", **more})
    command = [sys.executable, "-m", "neardup.workers.cli.main", "--verbose", "worker", "webhook", "--port", "0"]
    log = folder / f"webhook-{len(list(folder.glob('webhook-*')))}.log"
    with log.open("wb") as file, subprocess.Popen(command, env=environment, stderr=file) as process:
        try:
            yield process
        finally:
            process.kill()


def at_work(folder: Path) -> bool:
    """Whether the last one that was started has been given the webhook."""
    logs = sorted(folder.glob("webhook-*.log"), key=os.path.getmtime)
    return "the webhook is this worker's now" in logs[-1].read_text()


def first_of_each(events: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(events))


def test_every_event_comes_in_order_though_the_receiver_fails_and_workers_are_killed(
    verdicts: Verdicts, environment: dict[str, str], tmp_path: Path
) -> None:
    rng = random.Random(5)
    verdicts.publish(20)  # before there was a webhook: of no interest

    def answer(_number: int) -> int | str:
        return rng.choice([200] * 12 + [500, "503 1", "reset", "drip"])

    with receiving(answer) as received:
        with webhook(environment, tmp_path, received) as first:
            until(lambda: at_work(tmp_path), "joined")
            until(lambda: not verdicts.publish(1) and bool(received.taken), "the first event")  # type: ignore[func-returns-value]
            begin = int(received.events[0].removeprefix("item-"))
            assert begin >= 20
            verdicts.publish(20)
            until(lambda: len(received.taken) > 10, "some events")
            first.kill()
        verdicts.publish(15)  # while none runs
        with webhook(environment, tmp_path, received) as second:
            until(lambda: received.events[-1:] == [f"item-{verdicts.published - 1}"], "all events")
            second.terminate()
            assert second.wait(timeout=LATE_SECONDS) == 0
        took = len(received.taken)
        with webhook(environment, tmp_path, received):
            until(lambda: at_work(tmp_path), "joined again")
            verdicts.publish(1)
            until(lambda: len(received.taken) > took, "one more")
    assert first_of_each(received.events) == [f"item-{n}" for n in range(begin, verdicts.published)]
    assert received.events[took:] == [f"item-{verdicts.published - 1}"]  # it ended well: nothing comes again
    assert len(received.events) - len(set(received.events)) < 20


def test_what_is_not_taken_is_a_dead_letter_and_can_be_sent_again(
    verdicts: Verdicts, environment: dict[str, str], neardup: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:

    def letters() -> list[dict[str, object]]:
        told: list[dict[str, object]] = json.loads(neardup("dead-letters", "list", "--json"))
        return told

    with receiving() as received:
        with webhook(environment, tmp_path, received, NEARDUP_WEBHOOK_RETRY_SECONDS="0"):
            until(lambda: at_work(tmp_path), "joined")
            until(lambda: not verdicts.publish(1) and bool(received.taken), "the first event")  # type: ignore[func-returns-value]
            until(lambda: received.events[-1] == f"item-{verdicts.published - 1}", "all so far")
            received.answer = lambda _number: 422
            verdicts.publish(1)
            until(lambda: bool(letters()), "a dead letter")
            received.answer = lambda _number: 200
            verdicts.publish(1)
            until(lambda: received.events[-1] == f"item-{verdicts.published - 1}", "the next event")
        lost = verdicts.published - 2
        (letter,) = letters()
        assert (letter["reason"], letter["detail"], letter["attempts"]) == ("webhook", "status 422", 5)
        assert letter["key"] == f"{SPACE}_{lost}_1"
        assert f"item-{lost}" not in received.events
        for name, value in environment.items():
            if name.startswith("NEARDUP_WEBHOOK"):
                monkeypatch.setenv(name, value)
        received.answer = lambda _number: 500
        assert "did not take event" in neardup("dead-letters", "replay", "--reason", "webhook", code=1)
        received.answer = lambda _number: 200
        assert "1 sent once more" in neardup("dead-letters", "replay", "--reason", "webhook")
        assert received.events[-1] == f"item-{lost}"


def test_a_webhook_without_a_secret_or_with_an_unsafe_address_is_refused_at_once(
    verdicts: Verdicts, environment: dict[str, str], tmp_path: Path
) -> None:
    assert verdicts
    with receiving() as received:
        for name, value, told in (
            ("NEARDUP_WEBHOOK_SECRETS", "", "webhook_secrets is empty"),
            ("NEARDUP_WEBHOOK_PRIVATE", "false", "wanted https"),
        ):
            with webhook(environment, tmp_path, received, **{name: value}) as process:
                assert process.wait(timeout=LATE_SECONDS) == 2
            log = max(tmp_path.glob("webhook-*.log"), key=os.path.getmtime).read_text()
            assert told in log.splitlines()[-1]
            assert received.url not in log
