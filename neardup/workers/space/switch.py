"""Let another space serve: at one offset of each log, between two items, with nothing under way.

First the new space is filled while the old one serves. Then, for some seconds, nothing is taken in: embed workers and
changes wait. Once both spaces have published all that they have, and every proof has come, one record says that the new
one serves. What was flagged before that is announced by the old space, what comes after by the new one, nothing twice.
Whatever fails before that record, the old space goes on; a process that is killed in between leaves media waiting,
until the command is given again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from kafka import KafkaAdminClient, OffsetAndMetadata, TopicPartition
from msgspec.structs import replace

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import open_store
from neardup.workers.embed.worker import group_of
from neardup.workers.kafka.log import PARTITION
from neardup.workers.kafka.spaces import LOOK_SECONDS, Spaces, SpacesTopic
from neardup.workers.kafka.topics import kafka_errors, open_admin, topic_names
from neardup.workers.space.fill import Fill, fill_group
from neardup.workers.space.watch import SpaceWatch, back_for_proofs

NEAR = 100
"""Records of the old log that may be left when the pause begins."""
_TICK_SECONDS = 0.2


class Switch:
    """One attempt.

    Args:
        spaces: as they are; its serving one is left. target: that is to serve.
        fill: of the target from the serving one.
        wait_seconds: that the pause may last before all goes on as it was.
        say: called with what is waited for.
    """

    def __init__(
        self,
        settings: Settings,
        topic: SpacesTopic,
        spaces: Spaces,
        target: str,
        fill: Fill,
        wait_seconds: float,
        say: Callable[[str], object],
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._spaces = spaces
        self._source, self._target = spaces.serving, target
        self._fill = fill
        self._wait_seconds = wait_seconds
        self._say = say
        self._said = ""
        self._began = 0.0

    def run(self) -> Spaces:
        """Return the spaces as they are afterwards.

        Raises:
            DependencyError: it took too long, or something outside failed; the old space goes on.
            ConfigError: another command changed the spaces meanwhile.
        """
        back = back_for_proofs(self._settings)
        with (
            closing(SpaceWatch(self._settings, self._source, back)) as old,
            closing(SpaceWatch(self._settings, self._target, back)) as new,
        ):
            while self._fill.done < self._fill.end - NEAR:
                self._fill.step()
                self._wait(self._fill.why_waiting)
            self._look_again()
            self._topic.write(replace(self._spaces, switching=self._target))
            try:
                last, first = self._drain(old, new)
                self._hand_over(last, first)
            except BaseException:
                self._topic.write(replace(self._spaces, switching=""))
                raise
            switched = self._spaces.switched(self._target, last, first)
            self._topic.write(switched)
            return switched

    def _look_again(self) -> None:
        """Take in what other commands changed in the hours that a fill takes."""
        found = self._topic.read()
        if found is None or found.serving != self._source or self._target not in found.standby:
            raise ConfigError("not switched: another command changed the spaces meanwhile, see `neardup space list`")
        self._spaces = found

    def _drain(self, old: SpaceWatch, new: SpaceWatch) -> tuple[int, int]:
        """Return the last offset of the old space's turn and the first of the new one's; nothing is under way then."""
        self._began = time.monotonic()
        time.sleep(2 * LOOK_SECONDS)  # by then all workers know
        with open_admin(self._settings) as admin:
            while members := _members(admin, group_of(self._settings, self._source)):
                self._in_time(f"{members} embed workers of the old space")
                self._fill.step()  # else it would lose its lock after a minute
                time.sleep(_TICK_SECONDS)
        while True:
            end = self._fill.end
            while self._fill.done < end or self._fill.step():
                self._fill.step()
                self._in_time(self._fill.why_waiting or "the match worker of the old space")
            if why := self._undone(old, new):
                self._in_time(why)
                continue
            if self._fill.end == end:
                return end - 1, new.end

    def _undone(self, old: SpaceWatch, new: SpaceWatch) -> str:
        for name, watch in (("old", old), ("new", new)):
            if not watch.drained():
                waiting = f", which have {watch.waiting} pairs to prove" if watch.waiting else ""
                return f"{'prove' if waiting else 'match'} workers of the {name} space{waiting}"
        for name, space, last in (("old", self._source, old.last), ("new", self._target, new.last)):
            with closing(open_store(self._settings, space)) as store:
                if store.applied() < last:
                    time.sleep(_TICK_SECONDS)
                    return f"the flag worker of the {name} space"
        return ""

    def _hand_over(self, last: int, first: int) -> None:
        """Have the new space's embed workers begin where the old one's stopped, and a fill the other way at the cut."""
        groups = group_of(self._settings, self._source), group_of(self._settings, self._target)
        log = topic_names(self._settings.topic_root, self._target).log
        with kafka_errors(), open_admin(self._settings) as admin:
            done = admin.list_group_offsets([groups[0]]).get(groups[0], {})
            _commit(admin, groups[1], {one: at.offset for one, at in done.items() if at.offset >= 0})
            back = fill_group(self._settings, self._source)
            _commit(admin, back, {TopicPartition(log, PARTITION): first}, str(last + 1))

    def _in_time(self, why: str) -> None:
        if time.monotonic() - self._began > self._wait_seconds:
            raise DependencyError(
                f"not switched: after {self._wait_seconds:g} s this waited for {why}; the old space goes on serving"
            )
        self._wait(why)

    def _wait(self, why: str) -> None:
        if why and why != self._said:
            self._said = why
            self._say(f"waits for {why}")


def _members(admin: KafkaAdminClient, group: str) -> int:
    with kafka_errors():
        return len(admin.describe_groups([group])[group]["members"])


def _commit(admin: KafkaAdminClient, group: str, offsets: dict[TopicPartition, int], note: str = "") -> None:
    """Set the offsets of a group that has no members; raises DependencyError if Kafka refuses."""
    if not offsets:
        return
    wanted = {partition: OffsetAndMetadata(offset, note, -1) for partition, offset in offsets.items()}
    for partition, error in admin.alter_group_offsets(group, wanted).items():
        if error.errno:
            raise DependencyError(f"group {group}, partition {partition.partition}: {error.__name__}")
