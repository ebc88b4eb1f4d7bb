"""Tenants who share Kafka, Redis, a blob store and a file of tokens have no name in common, and old names stay."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings, load
from neardup.pipeline.store.redis import prefix
from neardup.workers.embed.worker import group_of as embed_group
from neardup.workers.kafka.topics import is_below, topic_names, wanted_topics

ROOT = Path(__file__).parents[2]
SPACES = st.text("0123456789abcdef", min_size=8, max_size=8)
TENANTS = st.just("") | st.from_regex(r"[a-z0-9]([a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
PREFIXES = st.from_regex(r"[a-zA-Z0-9_-]{1,6}", fullmatch=True)


def names(settings: Settings, space: str) -> set[str]:
    """Topics, and what groups and transactions are named after."""
    return {topic.name for topic in wanted_topics(space, settings)} | {embed_group(settings, space)}


def test_without_a_tenant_names_are_what_they_were() -> None:
    settings = Settings(blobs="s3://bucket/neardup")
    assert names(settings, "f00d") == {
        "neardup.media", "neardup.dead-letters", "neardup.log.f00d", "neardup.verdicts.f00d", "neardup.asks.f00d",
        "neardup.embed.f00d",
    }  # fmt: skip
    assert prefix("f00d") == "nd:{f00d}"
    assert settings.blobs_url == "s3://bucket/neardup"


def test_a_tenant_is_part_of_every_name() -> None:
    settings = Settings(tenant="acme", topic_prefix="prod", blobs="s3://bucket/neardup/")
    assert all(name.startswith("prod.acme.") for name in names(settings, "f00d"))
    assert prefix("f00d", "acme") == "nd:{acme:f00d}"
    assert settings.blobs_url == "s3://bucket/neardup/acme"
    assert Settings(tenant="acme", blobs="/b").blobs_url == "file:///b/acme"


@given(st.tuples(PREFIXES, TENANTS, SPACES), st.tuples(PREFIXES, TENANTS, SPACES))
def test_two_tenants_share_no_name(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    if one[:2] == other[:2]:
        return
    first, second = (Settings(topic_prefix=prefix, tenant=tenant) for prefix, tenant, _ in (one, other))
    assert not names(first, one[2]) & names(second, other[2])
    assert not any(is_below(name, first.topic_root) for name in names(second, other[2]))
    if one[1] != other[1]:
        assert prefix(one[2], one[1]) != prefix(other[2], other[1])


def test_topics_of_tenants_are_not_among_those_of_the_deployment_without_one() -> None:
    assert is_below("neardup.log.f00d", "neardup")
    assert is_below("neardup.acme.log.f00d", "neardup.acme")
    assert not is_below("neardup.acme.log.f00d", "neardup")
    assert not is_below("neardup.log.f00d", "neardup.acme")


@pytest.mark.parametrize("name", ["log", "media", "embed", "packs", "-a", "a-", "A", "a.b", "a/b", "a" * 33])
def test_what_stands_elsewhere_in_a_name_is_no_tenant(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEARDUP_TENANT", name)
    with pytest.raises(ConfigError, match="NEARDUP_TENANT is"):
        load()


def test_a_kind_of_topic_or_a_folder_of_blobs_is_no_tenant() -> None:
    topics, blobs = topic_names("neardup", "f00d"), ("media", "thumbnails", "packs")
    kinds = {getattr(topics, name).split(".")[1] for name in topics.__dataclass_fields__}
    for name in itertools.chain(kinds, blobs, [embed_group(Settings(), "f00d").split(".")[1]]):
        with pytest.raises(ValueError, match="none of"):
            Settings(tenant=name)


def test_names_are_made_from_the_root_and_never_from_the_prefix_alone() -> None:
    assert isinstance(Settings.topic_root, property)
    assert Settings.topic_root.fget is not None
    uses = {
        path.relative_to(ROOT).as_posix(): text.count(".topic_prefix")
        for path in (ROOT / "neardup").rglob("*.py")
        if ".topic_prefix" in (text := path.read_text(encoding="utf-8"))
    }
    own = inspect.getsource(Settings.topic_root.fget).count(".topic_prefix")
    assert uses == {"neardup/pipeline/settings.py": own}
