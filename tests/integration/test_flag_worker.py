from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from redis import Redis

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.records import Envelope, Verdict
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.memory import MemoryStore
from neardup.pipeline.store.redis import RedisStore
from neardup.workers.flag.worker import FlagWorker
from neardup.workers.kafka.leader import Publisher
from neardup.workers.kafka.log import Tail
from neardup.workers.kafka.topics import topic_names
from tests.integration.stream import SPACE, a_log, make_topics, oracle

pytestmark = pytest.mark.integration


@pytest.fixture
def told(settings: Settings, tmp_path: Path) -> list[Envelope]:
    """Envelopes of a log, published three at a time."""
    make_topics(settings)
    envelopes = oracle(tmp_path / "oracle", a_log(7, 150))
    with closing(Publisher(settings, topic_names(settings.topic_prefix, SPACE))) as publisher:
        for start in range(0, len(envelopes), 3):
            publisher.publish(envelopes[start : start + 3])
    return envelopes


@pytest.fixture
def store(redis: str) -> Iterator[RedisStore]:
    with closing(RedisStore(redis, SPACE)) as made:
        yield made


def a_flag_worker(settings: Settings) -> FlagWorker:
    verdicts = Tail(settings, topic_names(settings.topic_prefix, SPACE).verdicts)
    return FlagWorker(verdicts, RedisStore(settings.redis.get_secret_value(), SPACE))


def run_to_the_end(worker: FlagWorker, store: RedisStore, last: int) -> None:
    for _ in range(100):
        if store.applied() == last:
            return
        worker.step()
    pytest.fail(f"stands at {store.applied()}, wanted {last}")


def dump(url: str) -> dict[bytes, object]:
    """Return all that Redis holds, in comparable form: each key's content and when it is forgotten."""
    with Redis.from_url(url) as client:
        found: dict[bytes, object] = {}
        for key in client.keys("*"):
            kind = client.type(key)
            if kind == b"set":
                content: object = frozenset(client.smembers(key))
            elif kind == b"zset":
                content = client.zrange(key, 0, -1, withscores=True)
            elif kind == b"stream":
                content = client.xrange(key), client.xinfo_stream(key)["last-generated-id"]
            else:
                content = client.get(key) if kind == b"string" else client.hgetall(key)
            found[key] = content, client.expiretime(key)
        return found


def test_what_redis_holds_is_what_was_published(settings: Settings, store: RedisStore, told: list[Envelope]) -> None:
    reference = MemoryStore()
    reference.apply(told)
    with closing(a_flag_worker(settings)) as worker:
        run_to_the_end(worker, store, len(told) - 1)
    assert store.feed("", 10_000) == reference.feed("", 10_000)
    ids = {event.id for one in told for event in one.events if isinstance(event, Verdict)}
    for item in ids:
        assert store.verdict(item) == reference.verdict(item)
        assert store.members(item) == reference.members(item)


def test_a_redis_without_room_is_waited_for_and_then_holds_everything(
    settings: Settings, store: RedisStore, told: list[Envelope]
) -> None:
    url = settings.redis.get_secret_value()
    with Redis.from_url(url) as client, closing(a_flag_worker(settings)) as worker:
        try:
            client.config_set("maxmemory", 1)
            with pytest.raises(DependencyError, match=r"Redis: .*maxmemory"):  # what /readyz and the log say
                worker.step()
        finally:
            client.config_set("maxmemory", 0)
        assert store.applied() == -1
    with closing(a_flag_worker(settings)) as worker:  # as the runner makes it
        run_to_the_end(worker, store, len(told) - 1)
    held = dump(url)
    store.clear()
    store.apply(told)
    assert dump(url) == held


def test_a_restart_goes_on_where_redis_stands(settings: Settings, store: RedisStore, told: list[Envelope]) -> None:
    store.apply(told[:100])
    with closing(a_flag_worker(settings)) as worker:
        assert worker._verdicts.position() > 60  # it does not begin at the beginning
        run_to_the_end(worker, store, len(told) - 1)
    held = dump(settings.redis.get_secret_value())
    store.clear()
    store.apply(told)
    assert dump(settings.redis.get_secret_value()) == held


def test_a_redis_that_lost_everything_is_filled_again(
    settings: Settings, store: RedisStore, told: list[Envelope]
) -> None:
    url = settings.redis.get_secret_value()
    with closing(a_flag_worker(settings)) as worker:
        run_to_the_end(worker, store, len(told) - 1)
        held = dump(url)
        with Redis.from_url(url) as client:
            client.flushdb()
        run_to_the_end(worker, store, len(told) - 1)
        assert dump(url) == held


def test_nothing_changes_when_it_is_all_written_again(
    settings: Settings, store: RedisStore, told: list[Envelope]
) -> None:
    with closing(a_flag_worker(settings)) as worker:
        run_to_the_end(worker, store, len(told) - 1)
        held = dump(settings.redis.get_secret_value())
        worker._verdicts.seek(0)
        for _ in range(3):
            worker.step()
        assert dump(settings.redis.get_secret_value()) == held
