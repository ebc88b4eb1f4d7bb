"""A second model beside the first over real services: filled, compared, switched to and back, then dropped."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from kafka import KafkaAdminClient
from msgspec.structs import replace
from redis import Redis

from neardup.pipeline.embed import embedder
from neardup.pipeline.embed.checkpoint import save_checkpoint
from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.proofs import ItemProved
from neardup.pipeline.log.records import Described, Removed, Reviewed
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.settings import Settings, load
from neardup.pipeline.store.redis import RedisStore, prefix
from neardup.pipeline.types import Decision
from neardup.workers.api.turns import TurnsFeed
from neardup.workers.cli.app import run
from neardup.workers.embed import engine
from neardup.workers.embed import worker as embed
from neardup.workers.flag import worker as flag
from neardup.workers.kafka import membership
from neardup.workers.kafka.log import Fetched, Tail, read_record
from neardup.workers.kafka.presence import Presence
from neardup.workers.kafka.spaces import Gate, SpacesTopic
from neardup.workers.kafka.topics import topic_names
from neardup.workers.match import worker as match
from neardup.workers.prove import worker as prove
from neardup.workers.run.runner import Worker
from neardup.workers.space.fill import Progress
from neardup.workers.space.originals import PAST, KeptOriginals
from neardup.workers.space.switch import Switch
from neardup.workers.webhook import worker as webhook
from tests.pipeline.scan.build import StandIn, a_checkpoint, save
from tests.timing import LATE_SECONDS, until

pytestmark = pytest.mark.integration
CHECKPOINT = a_checkpoint()
OTHER = a_checkpoint("other", seed=1)


class Two:
    """Both models, their workers as threads, and commands as they are typed."""

    def __init__(self, settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.settings = folder, settings
        self.models = {}
        for one in (CHECKPOINT, OTHER):
            self.models[one.space] = str(folder / f"{one.name}.safetensors")
            save_checkpoint(one, Path(self.models[one.space]))
        self._environment = {
            "NEARDUP_KAFKA": settings.kafka,
            "NEARDUP_REDIS": settings.redis.get_secret_value(),
            "NEARDUP_TOPIC_PREFIX": settings.topic_prefix,
            "NEARDUP_PROVE": "false",
            "NEARDUP_PROCESSES": "1",
            "NEARDUP_THREADS": "2",
            "XDG_DATA_HOME": str(folder / "data"),
        }
        self._monkeypatch = monkeypatch
        for name, value in self._environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(folder)
        monkeypatch.setattr(membership, "SESSION_SECONDS", 6.0)
        for worker in (embed, match, flag, prove):
            monkeypatch.setattr(
                worker, "watch_lag", lambda *_arguments, **_options: None
            )  # its threads outlive the test
        for module in (embedder, engine):
            monkeypatch.setattr(module, "make_embedder", lambda one, *_more, **_options: StandIn(one.space))

    def command(self, *words: str, space: str = CHECKPOINT.space, code: int = 0) -> str:
        """Run a command with the model of a space, and return what it prints."""
        self._monkeypatch.setenv("NEARDUP_MODEL", self.models[space])
        with io.StringIO() as said, redirect_stdout(said), redirect_stderr(said):
            done = run(list(words))
            text = said.getvalue()
        assert done == code, f"{' '.join(words)}: {text}"
        return text

    @contextmanager
    def workers(self, space: str, kinds: Sequence[Any] = (embed, match, flag)) -> Iterator[None]:
        """Run workers of a space."""
        settings = load(model=self.models[space])
        stop, failures = threading.Event(), list[BaseException]()

        def live(make: Callable[[], Worker]) -> None:
            while not stop.is_set():
                worker = None
                try:
                    worker = make()
                    while not stop.is_set():
                        worker.step()
                    worker.drain(2)
                except DependencyError:
                    stop.wait(0.3)
                except BaseException as error:
                    failures.append(error)
                    return
                finally:
                    if worker is not None:
                        worker.close()

        joined: list[Presence] = []  # which the end of a process ends

        def join(*given: Any) -> Presence:
            joined.append(Presence(*given))
            return joined[-1]

        with patch("neardup.workers.embed.worker.Presence", join):
            threads = [threading.Thread(target=live, args=(one.connector(settings),), daemon=True) for one in kinds]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(LATE_SECONDS)
            for presence in joined:
                presence.close()
            assert not failures

    def log(self, space: str) -> list[object]:
        with closing(Tail(self.settings, topic_names(self.settings.topic_root, space).log)) as tail:
            end, found = tail.end(), list[object]()
            while tail.position() < end:
                found += [read_record(one.value) for one in tail.poll(0.3, 1000)]
            return found


@pytest.fixture
def stores(settings: Settings) -> Iterator[tuple[RedisStore, RedisStore]]:
    with ExitStack() as stack:
        url = settings.redis.get_secret_value()
        old, new = (stack.enter_context(closing(RedisStore(url, one.space))) for one in (CHECKPOINT, OTHER))
        yield old, new


def test_a_new_model_is_filled_switched_to_and_back(
    settings: Settings, stores: tuple[RedisStore, RedisStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = stores
    two = Two(settings, tmp_path, monkeypatch)
    here, other = two.models.values()
    gates = [Gate(settings, one.space) for one in (CHECKPOINT, OTHER)]

    def told() -> list[str]:
        """What is in the feed, whichever space one asks; and its numbers rise."""
        feeds = [
            TurnsFeed(store, lambda space: old if space == CHECKPOINT.space else new, gate).feed("", 100)
            for store, gate in zip(stores, gates, strict=True)
        ]
        assert feeds[0] == feeds[1][: len(feeds[0])]  # what came in between is in the second
        numbers = [int(entry.event.partition(".")[0]) for entry in feeds[0]]
        assert numbers == sorted(set(numbers))
        return [entry.verdict.id for entry in feeds[0]]

    for seed in range(8):
        save(tmp_path / "first", f"{seed}.png", seed)
    for seed in range(3):
        save(tmp_path / "copies", f"copy-{seed}.png", seed, side=48)
    save(tmp_path / "banned", "banned.png", 7, side=56)
    two.command("topics", "create", "--partitions", "2")
    with ExitStack() as running:
        running.enter_context(two.workers(CHECKPOINT.space))
        two.command("ingest", str(tmp_path / "first"))
        until(lambda: old.applied() == 7, "originals are told")
        two.command("ingest", str(tmp_path / "copies"))
        until(lambda: old.applied() == 10, "copies are told")
        two.command("bank", "create", "banned")
        two.command("ingest", str(tmp_path / "banned"), "--bank", "banned")
        until(lambda: old.applied() == 12, "the reference is told")
        two.command("bank", "add", "banned", "5.png", "--note", "banned once")
        two.command("review", "copy-1.png", "1.png", "not-a-match")
        two.command("takedown", "5.png", "--wait")

        alone = two.command("space", "list")
        assert alone.strip() == f"{CHECKPOINT.space}  serves from offset 0 of its log on"
        made = two.command("space", "create", other)
        assert f"space {OTHER.space} of {other} stands by" in made
        assert "serves" in two.command("space", "drop", CHECKPOINT.space, "--yes", code=2)
        assert f"{CHECKPOINT.space} serves" in two.command("takedown", "6.png", space=OTHER.space, code=2)
        running.enter_context(two.workers(OTHER.space))
        fill = ("space", "fill", other, "--missing", str(tmp_path / "missing.csv"), "--thumbnails")
        find, lost = KeptOriginals._content, {"6.png", "2.png"}
        Blobs(load().blobs_url).erase("2.png")
        with monkeypatch.context() as failing:
            failing.setattr(KeptOriginals, "_content", lambda it, one: PAST if one.id in lost else find(it, one))
            failing.setattr(Progress, "commit", lambda *_: None)  # as if it was killed before it could
            filled = two.command(*fill)
        assert "11 described (1 from thumbnails), 3 changes and takedowns copied, 1 without an original" in filled
        assert (tmp_path / "missing.csv").read_text().splitlines()[1].startswith("seen,2.png,")
        compared = two.command("space", "compare", other, "--output", str(tmp_path / "page"))
        assert "2 of 10 items would change" in compared  # it and its copy
        os.utime(tmp_path / "first" / "2.png", (1, 1))
        two.command("ingest", str(tmp_path / "first"))
        until(lambda: old.applied() == 16, "it is delivered again")
        assert "1 described (0 from thumbnails), 0 changes" in two.command(*fill)
        assert (tmp_path / "missing.csv").read_text() == "bank,id,offset,why\n"

        logs = [two.log(one.space) for one in (CHECKPOINT, OTHER)]
        stand = [one for one in _ids(logs[0])[:-1] if one[1] not in ("5.png", "2.png")]
        # What was banned and taken down stays banned; what came again stands where it did.
        assert _ids(logs[1]) == [*stand, ("banned", "5.png"), ("seen", "2.png")]
        assert [type(one) for one in logs[1][-3:-1]] == [Reviewed, Removed]
        assert {one.space for one in logs[1] if isinstance(one, Described)} == {OTHER.space}
        until(lambda: new.applied() == len(logs[1]) - 1, "the new space is told")
        assert [(one.id, one.note) for one in new.references("banned", 0, 9)] == [
            (one.id, one.note) for one in old.references("banned", 0, 9)
        ]
        assert told() == [entry.verdict.id for entry in old.feed("", 100)]  # nothing of the space that stands by
        size = len(told())
        two.command(*fill)
        assert len(two.log(OTHER.space)) == len(logs[1])  # each once

        save(tmp_path / "more", "copy-4.png", 4, side=48)
        two.command("ingest", str(tmp_path / "more"))
        with monkeypatch.context() as failing:
            failing.setattr(Switch, "_hand_over", _fail)
            two.command("space", "switch", other, code=1)
        with closing(SpacesTopic(settings)) as topic:  # as if it was killed in the middle
            spaces = topic.read()
            assert spaces is not None
            assert (spaces.serving, spaces.switching) == (CHECKPOINT.space, "")
            topic.write(replace(spaces, switching=OTHER.space))
        assert "is under way" in two.command("takedown", "0.png", code=1)
        assert "called off" in two.command("space", "switch", here)
        two.command("space", "switch", other)
        save(tmp_path / "later", "copy-6.png", 6, side=48)
        two.command("ingest", str(tmp_path / "later"), space=OTHER.space)
        until(lambda: told()[size:] == ["copy-4.png", "copy-6.png"], f"both are told once; {told()}")
        assert old.verdict("copy-6.png") is None
        verdicts = topic_names(settings.topic_root, OTHER.space).verdicts
        assert not webhook.has_begun(settings, verdicts)
        group = webhook.group_of(settings, verdicts)
        with closing(webhook.GroupPlace(settings, verdicts, group, lambda: 0)) as place:
            seen = list[Fetched]()
            until(lambda: seen.extend(place.poll(0.2, False)) or bool(seen), "a receiver begins with the turn")
            assert seen[0].offset == 0
        assert webhook.has_begun(settings, verdicts)
        assert "serves" in two.command("takedown", "0.png", code=2)
        two.command("review", "copy-6.png", "6.png", "not-a-match", space=OTHER.space)
        assert not gates[1].counts(len(logs[1]) - 1)
        assert gates[1].counts(len(two.log(OTHER.space)) - 1)
        assert not gates[0].counts(len(two.log(CHECKPOINT.space)))

        two.command("space", "switch", here)
        until(lambda: old.verdict("copy-6.png") is not None, "the old space has it now")
        save(tmp_path / "last", "copy-3.png", 3, side=48)
        two.command("ingest", str(tmp_path / "last"))
        until(lambda: told()[size:] == ["copy-4.png", "copy-6.png", "copy-3.png"], f"each is told once; {told()}")
        assert new.verdict("copy-3.png") is None
        listed = json.loads(two.command("space", "list", "--json"))
        assert (listed["serving"], listed["standby"]) == (CHECKPOINT.space, [OTHER.space])
        refused = two.command("space", "drop", other, "--yes", code=2)
        assert f"workers of space {OTHER.space} run" in refused
        for kind in ("match", "flag"):
            assert f"verdicts.{OTHER.space}.{kind} on 127.0.0.1" in refused

    two.command("space", "drop", OTHER.space, "--yes")
    with KafkaAdminClient(bootstrap_servers=settings.kafka) as admin:
        names = [*admin.list_topics(), *(one["group_id"] for one in admin.list_groups())]
        assert not [one for one in names if OTHER.space in one and settings.topic_prefix in one]
    with Redis.from_url(settings.redis.get_secret_value()) as client:
        assert client.keys(f"{prefix(OTHER.space)}*".replace("[", "?")) == []
    assert not list((tmp_path / "data").rglob(f"*log.{OTHER.space}*"))
    verdict = old.verdict("copy-1.png")
    assert verdict is not None
    assert verdict.decision is Decision.DISTINCT


def test_a_switch_waits_for_proofs(
    settings: Settings, stores: tuple[RedisStore, RedisStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = stores
    two = Two(settings, tmp_path, monkeypatch)
    monkeypatch.setenv("NEARDUP_PROVE", "true")
    other = two.models[OTHER.space]
    for seed in range(3):
        save(tmp_path / "first", f"{seed}.png", seed, side=160)
        save(tmp_path / "copies", f"copy-{seed}.jpg", seed, side=140)
    two.command("topics", "create", "--partitions", "2")
    with ExitStack() as running:
        running.enter_context(two.workers(CHECKPOINT.space, (embed, match, flag, prove)))
        for name in ("first", "copies"):
            two.command("ingest", str(tmp_path / name))
        until(lambda: len(old.feed("", 10)) == 3, "copies are told")
        two.command("space", "create", other)
        running.enter_context(two.workers(OTHER.space))
        refused = two.command("space", "switch", other, "--wait", "4", code=1)
        assert "prove workers of the new space, which have 3 pairs to prove; the old space goes on" in refused
        running.enter_context(two.workers(OTHER.space, (prove,)))
        two.command("space", "switch", other)
        kinds = [type(one) for one in two.log(OTHER.space)]
        assert (kinds.count(Described), kinds.count(ItemProved)) == (6, 3)
        with closing(Gate(settings, OTHER.space)) as gate:
            assert not any(gate.counts(offset) for offset in range(len(kinds)))  # the old space has told of all
        assert len(new.feed("", 10)) == 3


def _fail(*_: object) -> None:
    raise DependencyError("the broker went away")


def _ids(log: list[object]) -> list[tuple[str, str]]:
    return [(one.bank, one.id) for one in log if isinstance(one, Described)]
