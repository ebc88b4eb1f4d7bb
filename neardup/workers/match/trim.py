"""Delete the beginning of the log, which nobody needs any more: so that what was taken down is gone from Kafka too.

The log is deleted up to the oldest snapshot that a match worker of this machine keeps. Match workers of other machines
are not asked, and one without a snapshot cannot start any more on a log that has lost its beginning.
"""

from __future__ import annotations

from pathlib import Path

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaError

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.match.apply.snapshot import VECTORS, Snapshots
from neardup.workers.kafka.log import PARTITION


def needed_from(states: Path) -> int:
    """Return the offset of the log from which on the match workers with folders below `states` need it.

    Raises:
        ConfigError: there is none, or one that has not written down anything yet.
    """
    oldest = []
    for folder in sorted(states.glob("match-*")):
        offsets = Snapshots(folder).offsets()
        if offsets:
            oldest.append(offsets[-1])
        elif (folder / VECTORS).exists():
            raise ConfigError(f"{folder}: holds no snapshot yet; wait for one, or delete the folder if nobody uses it")
    if not oldest:
        raise ConfigError(f"{states}: no match worker has written down its state here; name its machine's state_folder")
    return min(oldest) + 1


def trim(admin: KafkaAdminClient, topic: str, before: int) -> None:
    """Have the broker delete the records of a topic's one partition below an offset.

    Raises:
        DependencyError: it refused.
    """
    try:
        admin.delete_records({TopicPartition(topic, PARTITION): before})
    except KafkaError as error:
        raise DependencyError(f"topic {topic}: records before {before} not deleted: {error}") from error
