"""The review page with a long queue in Redis."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from redis import Redis

from neardup.pipeline.log.records import Envelope, Matched, Verdict
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import RedisStore
from neardup.pipeline.types import Decision
from neardup.workers.api.app import make_app
from neardup.workers.api.auth import Tokens
from neardup.workers.api.context import Context
from neardup.workers.api.feed import Hub
from neardup.workers.api.networks import Network, Networks
from neardup.workers.api.server import Server
from neardup.workers.api.view import View
from tests.integration.conftest import Services
from tests.pipeline.match.build import a_state
from tests.timing import BUSY, soonest
from tests.workers.api.build import MemoryLog, StubUploads, load_stub

pytestmark = pytest.mark.integration
DATABASE = 14


def test_the_first_view_is_soon_there_with_ten_thousand_items_queued(
    browser: Browser, services: Services, tmp_path: Path
) -> None:
    redis = f"{services.redis}/{DATABASE}"
    with (
        Redis.from_url(redis) as client,
        closing(RedisStore(redis, "s")) as store,
        closing(View(a_state(), 9_999)) as view,
    ):
        client.flushdb()
        store.apply([a_flag(n) for n in range(10_000)])
        uploads = StubUploads()
        networks = Networks(Network("default", "s", uploads, a_state), {}, load_stub)
        settings = Settings(blobs=str(tmp_path))
        context = Context(settings, "s", Tokens(), store, MemoryLog(), networks, Hub(store), view=view, unready="")
        server = Server(make_app(context), "127.0.0.1", 0)
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/login")  # the browser has started what it starts once
        wanted = 1.0 * BUSY
        seconds = soonest(lambda: first_view(page, f"http://127.0.0.1:{server.port}/review"), wanted)
        expect(page.locator("#queued-unsure")).to_have_text("10,000")
        page.close()
        server.close()
        client.flushdb()
    assert seconds < wanted


def first_view(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("#pair-title").wait_for()


def a_flag(number: int) -> Envelope:
    match = Matched(
        reference="head", bank="seen", decision=Decision.UNSURE, distance=0.5, evidence=0.5, probability=0.6
    )
    verdict = Verdict(id=f"item-{number}", decision=Decision.UNSURE, matches=(match,), head="")
    return Envelope(offset=number, events=(verdict,))
