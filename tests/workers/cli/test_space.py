from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings
from neardup.workers.cli import space as command
from neardup.workers.kafka import spaces, topics
from neardup.workers.kafka.spaces import Spaces, Turn
from neardup.workers.space import drop as dropping

SWITCHED = Spaces(turns=(Turn(space="new"),), standby=("old",))


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Spaces]:
    """What the topic has, the newest last; there are no other topics."""
    found = [SWITCHED]

    class Topic:
        def __init__(self, _settings: Settings) -> None: ...

        def read(self) -> Spaces:
            return found[-1]

        def write(self, spaces: Spaces) -> None:
            found.append(spaces)

        def close(self) -> None: ...

    @contextmanager
    def nobody(_settings: Settings) -> Iterator[None]:
        yield

    monkeypatch.setattr(spaces, "SpacesTopic", Topic)
    monkeypatch.setattr(topics, "open_admin", nobody)
    monkeypatch.setattr(topics, "list_topics", lambda *_: [])
    return found


def dropped_by(monkeypatch: pytest.MonkeyPatch, drop: Callable[[Settings, str], list[str]]) -> None:
    monkeypatch.setattr(dropping, "drop", drop)
    command.drop("old", yes=True, state=None, model=None)


def test_a_space_whose_workers_run_still_stands_by(written: list[Spaces], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_settings: Settings, space: str) -> list[str]:
        raise ConfigError(f"workers of space {space} run")

    with pytest.raises(ConfigError, match="run"):
        dropped_by(monkeypatch, refuse)
    assert written == [SWITCHED]  # else they would take themselves for those of a space that serves


def test_a_space_stands_by_until_nothing_of_it_is_left(written: list[Spaces], monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(_settings: Settings, _space: str) -> list[str]:
        assert written[-1].standby == ("old",)
        written.append(written[-1].with_standby("third"))  # another command meanwhile
        return []

    dropped_by(monkeypatch, drop)
    assert written[-1] == SWITCHED.with_standby("third").without("old")
