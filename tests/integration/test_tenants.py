"""Two tenants on one broker, Redis, blob store and state folder, with the workers as `neardup up` runs them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from redis import Redis

from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import RedisStore, prefix
from neardup.pipeline.types import Decision
from tests.integration.test_up import CHECKPOINT, ROOT, environment, ingest, running, until
from tests.pipeline.scan.build import save

pytestmark = pytest.mark.integration
__all__ = ["environment"]  # a fixture
TENANTS = ("acme", "blue")


@pytest.fixture
def stores(settings: Settings) -> Iterator[dict[str, RedisStore]]:
    with ExitStack() as stack:
        yield {
            tenant: stack.enter_context(
                closing(RedisStore(settings.redis.get_secret_value(), CHECKPOINT.space, tenant=tenant))
            )
            for tenant in TENANTS
        }


def command(environment: dict[str, str], *words: str) -> str:
    line = [sys.executable, "-m", "tests.integration.stand_in", *words]
    return subprocess.run(line, env=environment, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def test_tenants_do_not_see_each_other(
    environment: dict[str, str], settings: Settings, stores: dict[str, RedisStore], tmp_path: Path
) -> None:
    acme, blue = stores.values()
    of = {tenant: {**environment, "NEARDUP_TENANT": tenant, "NEARDUP_PROVE": "false"} for tenant in TENANTS}
    for tenant in TENANTS:
        (tmp_path / tenant).mkdir()
    original, copy = tmp_path / "first", tmp_path / "second"
    save(original, "cat.png", 1)
    save(copy, "copy.png", 1, side=48)
    with ExitStack() as workers:
        ups = [workers.enter_context(running(of[tenant], tmp_path / tenant)) for tenant in TENANTS]
        for up in ups:
            up.await_ready(("embed", "match", "flag"))
        ingest(of["acme"], original)
        until(lambda: acme.applied() == 0, lambda: f"acme's original is told; {ups[0].log()}")
        for tenant, store, offset in (("acme", acme, 1), ("blue", blue, 0)):
            ingest(of[tenant], copy)
            until(lambda store=store, offset=offset: store.applied() == offset, f"the copy of {tenant} is told")
        said = [store.verdict("copy.png") for store in (acme, blue)]
        assert [one and one.decision for one in said] == [Decision.DUPLICATE, Decision.DISTINCT]
        assert [len(store.feed("", 10)) for store in (acme, blue)] == [1, 0]

        command(of["blue"], "takedown", "copy.png", "--wait")
        assert [store.verdict("copy.png") is None for store in (acme, blue)] == [False, True]
        files = [path for path in (tmp_path / "data/neardup/blobs").rglob("*") if path.is_file()]
        assert {path.relative_to(tmp_path / "data/neardup/blobs").parts[0] for path in files} == {"acme"}

    listed = command(of["blue"], "topics", "list")
    assert listed.count(f"{settings.topic_prefix}.blue.") == len(listed.splitlines()) == 5
    assert command(environment, "topics", "list") == ""  # of the deployment without a tenant
    with Redis.from_url(settings.redis.get_secret_value(), decode_responses=True) as client:
        assert {str(key).split("}")[0] + "}" for key in client.keys("*")} == {
            prefix(CHECKPOINT.space, tenant) for tenant in TENANTS
        }
    command(of["blue"], "rebuild", "flags")
    assert acme.members("cat.png") == {"copy.png"}
