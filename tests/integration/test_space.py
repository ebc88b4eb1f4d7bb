"""A second model beside the first over real services: filled, compared, switched to and back, then dropped."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from redis import Redis

from neardup.pipeline.embed.checkpoint import save_checkpoint
from neardup.pipeline.log.records import Described, Removed, Reviewed
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import RedisStore, prefix
from neardup.pipeline.types import Decision
from neardup.workers.api.turns import TurnsFeed
from neardup.workers.embed.worker import group_of
from neardup.workers.kafka.log import Tail, read_record
from neardup.workers.kafka.spaces import Gate
from neardup.workers.kafka.topics import topic_names
from tests.integration.test_up import CHECKPOINT, ROOT, environment, ingest, running, until
from tests.pipeline.scan.build import a_checkpoint, save

pytestmark = pytest.mark.integration
__all__ = ["environment"]  # a fixture
OTHER = a_checkpoint("other", seed=1)
KINDS = ("match", "flag")


class Two:
    """Both models, their environments, stores, and what the webhook's filter lets through."""

    def __init__(self, environment: dict[str, str], settings: Settings, folder: Path) -> None:
        self.folder, self.settings = folder, settings
        save_checkpoint(OTHER, folder / "other.safetensors")
        self.model = str(folder / "other.safetensors")
        self.old = {**environment, "NEARDUP_PROVE": "false"}
        self.new = {**self.old, "NEARDUP_MODEL": self.model}

    def command(self, *words: str, model: str = "", code: int = 0) -> str:
        line = [sys.executable, "-m", "tests.integration.stand_in", *words]
        environment = self.new if model == "new" else self.old
        done = subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout + done.stderr

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
    environment: dict[str, str], settings: Settings, stores: tuple[RedisStore, RedisStore], tmp_path: Path
) -> None:
    old, new = stores
    two = Two(environment, settings, tmp_path)
    gates = [Gate(settings, one.space) for one in (CHECKPOINT, OTHER)]

    def told() -> list[str]:
        """What is in the feed, whichever space one asks; and its numbers rise."""
        feeds = [
            TurnsFeed(store, lambda space: old if space == CHECKPOINT.space else new, gate).feed("", 100)
            for store, gate in zip(stores, gates, strict=True)
        ]
        assert feeds[0] == feeds[1]
        numbers = [int(entry.event.partition(".")[0]) for entry in feeds[0]]
        assert numbers == sorted(set(numbers))
        return [entry.verdict.id for entry in feeds[0]]

    for seed in range(8):
        save(tmp_path / "first", f"{seed}.png", seed)
    for seed in range(3):
        save(tmp_path / "copies", f"copy-{seed}.png", seed, side=48)
    save(tmp_path / "banned", "banned.png", 7, side=56)
    with ExitStack() as running_workers:
        up = running_workers.enter_context(running(two.old, tmp_path))
        up.await_ready(("embed", *KINDS))
        ingest(two.old, tmp_path / "first")
        until(lambda: old.applied() == 7, f"originals are told; {up.log()}")
        ingest(two.old, tmp_path / "copies")
        until(lambda: old.applied() == 10, "copies are told")
        two.command("bank", "create", "banned")
        ingest(two.old, tmp_path / "banned", "--bank", "banned")
        until(lambda: old.applied() == 12, "the reference is told")
        two.command("bank", "add", "banned", "5.png", "--note", "banned once")
        two.command("review", "copy-1.png", "1.png", "not-a-match")
        two.command("takedown", "5.png", "--wait")

        made = two.command("space", "create", two.model)
        assert f"space {OTHER.space} of {two.model} stands by" in made
        assert "serves" in two.command("space", "drop", CHECKPOINT.space, "--yes", code=2)
        assert "stands by" not in two.command("takedown", "6.png", model="new", code=2)  # it names the one that serves
        (tmp_path / "new").mkdir()
        other = running_workers.enter_context(running(two.new, tmp_path / "new"))
        until(lambda: set(other.ports()) == {"embed", *KINDS}, "ports are told")
        for kind in KINDS:
            until(lambda kind=kind: other.ready(kind), f"{kind} is ready; {other.log()}")  # type: ignore[misc]
        filled = two.command("space", "fill", two.model, "--missing", str(tmp_path / "missing.csv"))
        assert "12 described (0 from thumbnails)" in filled, filled
        assert not (tmp_path / "missing.csv").exists()

        logs = [two.log(one.space) for one in (CHECKPOINT, OTHER)]
        stand = [one for one in _ids(logs[0]) if one[1] != "5.png"]
        assert _ids(logs[1]) == [*stand, ("banned", "5.png")]  # what was banned and taken down stays banned
        assert [type(one) for one in logs[1][-2:]] == [Reviewed, Removed]
        assert {one.space for one in logs[1] if isinstance(one, Described)} == {OTHER.space}
        until(lambda: new.applied() == len(logs[1]) - 1, f"the new space is told; {other.log()}")
        assert [(one.id, one.note) for one in new.references("banned", 0, 9)] == [
            (one.id, one.note) for one in old.references("banned", 0, 9)
        ]
        assert told() == [entry.verdict.id for entry in old.feed("", 100)]  # nothing of the space that stands by
        size = len(told())
        assert "0 of 10 would change" in two.command("space", "compare", two.model, "--output", str(tmp_path / "page"))
        two.command("space", "fill", two.model, "--missing", str(tmp_path / "missing.csv"))
        assert len(two.log(OTHER.space)) == len(logs[1])  # each once

        save(tmp_path / "more", "copy-4.png", 4, side=48)
        ingest(two.old, tmp_path / "more")
        two.command("space", "switch", two.model)
        save(tmp_path / "later", "copy-6.png", 6, side=48)
        ingest(two.new, tmp_path / "later")
        until(lambda: told()[size:] == ["copy-4.png", "copy-6.png"], f"both are told once; {told()} {other.log()}")
        assert old.verdict("copy-6.png") is None
        assert "serves" in two.command("takedown", "0.png", code=2)
        two.command("review", "copy-6.png", "6.png", "not-a-match", model="new")
        assert not gates[1].counts(len(logs[1]) - 1)
        assert gates[1].counts(len(two.log(OTHER.space)) - 1)
        assert not gates[0].counts(len(two.log(CHECKPOINT.space)))

        two.command("space", "switch", str(tmp_path / "model.safetensors"))
        until(lambda: old.verdict("copy-6.png") is not None, "the old space has it now")
        save(tmp_path / "last", "copy-3.png", 3, side=48)
        ingest(two.old, tmp_path / "last")
        until(lambda: told()[size:] == ["copy-4.png", "copy-6.png", "copy-3.png"], f"each is told once; {told()}")
        assert new.verdict("copy-3.png") is None
        listed = json.loads(two.command("space", "list", "--json"))
        assert (listed["serving"], listed["standby"]) == (CHECKPOINT.space, [OTHER.space])
        assert "workers of space" in two.command("space", "drop", two.model, "--yes", code=2)

    two.command("space", "drop", OTHER.space, "--yes")
    with KafkaAdminClient(bootstrap_servers=settings.kafka) as admin:
        assert not [one for one in admin.list_topics() if OTHER.space in one and settings.topic_prefix in one]
        assert group_of(settings, OTHER.space) not in [one["group_id"] for one in admin.list_groups()]
    with Redis.from_url(settings.redis.get_secret_value()) as client:
        assert client.keys(f"{prefix(OTHER.space)}*".replace("[", "?")) == []
    assert not list((tmp_path / "data").rglob(f"*log.{OTHER.space}*"))
    verdict = old.verdict("copy-1.png")
    assert verdict is not None
    assert verdict.decision is Decision.DISTINCT


def _ids(log: list[object]) -> list[tuple[str, str]]:
    return [(one.bank, one.id) for one in log if isinstance(one, Described)]
