"""Remove all that there is of a space: topics, consumer groups, keys in Redis, state, collections in Milvus."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from kafka import KafkaAdminClient

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.match.compare.collection import index_name
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import open_store
from neardup.workers.embed.worker import group_of as embed_group
from neardup.workers.kafka.topics import kafka_errors, open_admin, topic_names
from neardup.workers.space.fill import fill_group, lock_group

logger = logging.getLogger(__name__)
_GROUP_GONE = frozenset({"OK", "GroupIdNotFoundError"})
"""What kafka-python says of a group that was deleted, or is not there."""


def groups_of(settings: Settings, space: str, all_groups: list[str]) -> list[str]:
    """Return those of all groups of the broker that belong to a space and to no other."""
    names = topic_names(settings.topic_root, space)
    own = {group(settings, space) for group in (embed_group, fill_group, lock_group)}
    return [one for one in all_groups if one in own or one.startswith((f"{names.verdicts}.", f"{names.asks}."))]


def drop(settings: Settings, space: str) -> list[str]:
    """Remove a space and return what was removed, in words; what is not there is passed over.

    Raises:
        ConfigError: workers of the space run, or were killed some seconds ago.
        DependencyError: Kafka, Redis or Milvus failed; called again, it goes on.
    """
    names = topic_names(settings.topic_root, space)
    with open_admin(settings) as admin, kafka_errors():
        groups = groups_of(settings, space, [one["group_id"] for one in admin.list_groups()])
        described: dict[str, Any] = admin.describe_groups(groups) if groups else {}
        if busy := _busy(described):
            raise ConfigError(f"workers of space {space} run ({', '.join(busy)}): end them first")
        done = _drop_groups(admin, groups)
        there = set(admin.list_topics())
        topics = [one for one in (names.log, names.verdicts, names.asks) if one in there]
        if topics:
            admin.delete_topics(topics, timeout_ms=30_000)
        done += [f"topic {one}" for one in topics]
    with closing(open_store(settings, space)) as store:
        if settings.milvus:  # before Redis forgets which banks there are
            from neardup.pipeline.index.milvus.server import drop_space

            indexes = [SEEN, *(index_name(bank.name) for bank in store.banks() if bank.name != SEEN)]
            done += [f"collection {one}" for one in drop_space(settings.milvus_options, indexes, space)]
        store.clear()
    done.append("keys in Redis")
    folder = settings.state_path / names.log
    if folder.is_dir():
        shutil.rmtree(folder)
        done.append(f"folder {folder}")
    return done


def _busy(described: Mapping[str, Any]) -> list[str]:
    """Return the groups that have members, each with the machines that these are on."""
    found = []
    for group, one in sorted(described.items()):
        if one["members"]:
            hosts = sorted({str(member["client_host"]).lstrip("/") for member in one["members"]})
            found.append(f"{group} on {', '.join(hosts)}")
    return found


def _drop_groups(admin: KafkaAdminClient, groups: list[str]) -> list[str]:
    if not groups:
        return []
    for group, outcome in admin.delete_groups(groups).items():
        if outcome not in _GROUP_GONE:
            raise ConfigError(f"group {group} cannot be deleted: {outcome}")
    return [f"group {one}" for one in groups]
