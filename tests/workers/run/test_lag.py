from __future__ import annotations

from collections.abc import Mapping

import pytest
from kafka.errors import KafkaError
from prometheus_client import REGISTRY

from neardup.pipeline.settings import Settings
from neardup.workers.run import lag
from neardup.workers.run.lag import LagWatch, Place, messages_behind


class Asked:
    """A broker with offsets 10 to 100, 0 to 5 and 3 to 3."""

    def __init__(self, committed: Mapping[int, int] | None = None) -> None:
        self._committed = committed or {}

    def range(self, topic: str) -> dict[int, tuple[int, int]]:
        assert topic == "lag-test"
        return {0: (10, 100), 1: (0, 5), 2: (3, 3)}

    def committed(self, group: str, topic: str) -> Mapping[int, int]:
        assert (group, topic) == ("g", "lag-test")
        return self._committed

    def close(self) -> None:
        pass


def test_lag_is_the_end_less_what_is_committed_of_all_partitions_whoever_reads_them() -> None:
    assert messages_behind(Asked({0: 40, 1: 5, 2: 3}), "lag-test", "g") == {0: 60, 1: 0, 2: 0}
    assert messages_behind(Asked({0: 40}), "lag-test", "g") == {0: 60, 1: 5, 2: 0}  # nothing of the second is done
    assert messages_behind(Asked({0: 2, 1: 9}), "lag-test", "g") == {0: 90, 1: 0, 2: 0}  # the first 10 have expired


def test_a_group_that_begins_at_the_end_has_nothing_to_do_at_first() -> None:
    assert messages_behind(Asked(), "lag-test", "g", new_group_at_end=True) == {0: 0, 1: 0, 2: 0}
    assert messages_behind(Asked({0: 99}), "lag-test", "g", new_group_at_end=True) == {0: 1, 1: 0, 2: 0}


def test_a_process_with_a_place_of_its_own_is_behind_in_the_one_partition() -> None:
    place = Place()
    assert messages_behind(Asked(), "lag-test", place) == {}
    place.next = 70
    assert messages_behind(Asked(), "lag-test", place) == {0: 30}


def shown() -> list[float | None]:
    labels = [{"topic": "lag-test", "partition": str(number)} for number in range(3)]
    return [REGISTRY.get_sample_value("neardup_consumer_lag_messages", one) for one in labels]


def test_what_cannot_be_asked_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[dict[int, int] | Exception] = [{0: 60, 1: 0}, KafkaError("away"), KafkaError("away"), {1: 7}, {}]

    def ask() -> Mapping[int, int]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watch = LagWatch("lag-test", ask)
    expected = [[60, 0, None], [None] * 3, [None] * 3, [None, 7, None], [None] * 3]
    for one in expected:
        watch.look()
        assert shown() == one
    assert caplog.text.count("lag is not known topic=lag-test") == 1


def test_nothing_waits_for_who_stands_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag, "KafkaBroker", lambda _settings: Asked())
    stands_by = [True]
    watch = lag.watch_lag(Settings(), "lag-test", "g", waits=lambda: not stands_by[0])
    watch.close()
    watch.look()
    assert shown() == [0, 0, 0]
    stands_by[0] = False
    watch.look()
    assert shown() == [90, 5, 0]
