"""The pages in a real browser, over a stream that runs: Kafka, Redis, and all workers as processes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect
from redis import Redis

from neardup.pipeline.changes import ClusterEdited, Outcome, Reviewed
from neardup.pipeline.messages import Envelope, Matched, Verdict
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import RedisStore
from neardup.pipeline.types import Decision
from neardup.workers.api.app import make_app
from neardup.workers.api.auth import COOKIE, Tokens
from neardup.workers.api.context import Context
from neardup.workers.api.feed import Hub
from neardup.workers.api.networks import Network, Networks
from neardup.workers.api.server import Server
from neardup.workers.api.view import View
from tests.browser.stack import Stack, until
from tests.integration.conftest import Services
from tests.pipeline.match.build import a_state
from tests.pipeline.scan.build import save, save_clip
from tests.workers.api.build import MemoryLog, StubUploads, load_stub

pytestmark = pytest.mark.integration
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

SPEED_DATABASE = 14


@pytest.fixture(scope="module")
def stack(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    with closing(Stack(services, folder, f"pages-{uuid.uuid4().hex[:8]}")) as stack:
        stack.start()
        yield stack


class Desk:
    """A browser of somebody who is logged in; what goes wrong in it is collected."""

    def __init__(self, browser: Browser, stack: Stack, who: str, width: int = 1280, scheme: str = "light") -> None:
        self._stack = stack
        self.context: BrowserContext = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,  # type: ignore[arg-type]
        )
        self.context.add_cookies([{"name": COOKIE, "value": f"nd_{who}", "url": stack.url}])
        self.problems: list[str] = []
        self.context.on("console", lambda message: self._heard(message.type, message.text))
        self.context.on("weberror", lambda error: self.problems.append(str(error.error)))
        self.context.on("request", lambda request: self._check(request.url))

    def open(self, path: str) -> Page:
        page = self.context.new_page()
        page.goto(self._stack.url + path)
        return page

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.problems.append(text)

    def _check(self, url: str) -> None:
        if not url.startswith((self._stack.url, "blob:")):
            self.problems.append(f"request {url}")


class Desks:
    """Makes desks, and asks at the end what went wrong at them."""

    def __init__(self, browser: Browser, stack: Stack) -> None:
        self._browser, self._stack = browser, stack
        self._made: list[Desk] = []

    def __call__(self, who: str = "ann", **how: object) -> Desk:
        self._made.append(Desk(self._browser, self._stack, who, **how))  # type: ignore[arg-type]
        return self._made[-1]

    def close(self) -> list[str]:
        for desk in self._made:
            desk.context.close()
        return [problem for desk in self._made for problem in desk.problems]


@pytest.fixture
def desks(browser: Browser, stack: Stack) -> Iterator[Desks]:
    made = Desks(browser, stack)
    yield made
    assert made.close() == []


def expected(desks: Desks, *words: str) -> None:
    """Pass over what the browser noted of a refusal that a test brought about."""
    for desk in desks._made:
        desk.problems = [one for one in desk.problems if not any(word in one for word in words)]


@pytest.fixture
def shop(stack: Stack, tmp_path: Path) -> Iterator[Shop]:
    yield Shop(stack, tmp_path)
    stack.clear_queue()


class Shop:
    """Publishes pictures; those of one seed show the same. No two tests have the same seeds."""

    seeds = iter(range(1, 10_000))

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack, self.folder = stack, folder

    def family(self, name: str, copies: int) -> None:
        """Publish an original and copies of it, one after the other."""
        seed = next(self.seeds)
        self._stack.publish(save(self.folder, f"{name}.png", seed))
        for n in range(copies):
            self._stack.publish(save(self.folder, f"{name}-copy-{n}.png", seed, 72 + 8 * n))


def title(page: Page) -> str:
    expect(page.locator("#pair-title")).to_be_visible()
    return page.locator("#pair-title").inner_text()


def complain(page: Page) -> list[str]:
    """Return what axe-core finds, and whether the page is wider than its window."""
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": RULES}).response["violations"]
    told = [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]
    if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
        told.append("it is wider than its window")
    return told


def test_what_is_published_is_queued_judged_by_keyboard_and_outlives_a_restart(
    stack: Stack, desks: Desks, shop: Shop
) -> None:
    page = desks().open("/review")
    expect(page.locator("#rest")).to_contain_text("Nothing waits for a decision")
    page.evaluate("window.same = true")
    shop.family("cat", 2)
    expect(page.locator("#pair-title")).to_contain_text("cat-copy-0.png show the same as cat.png")
    expect(page.locator("#left")).to_have_text("2 items left")

    page.keyboard.press("n")
    expect(page.locator("#pair-title")).to_contain_text("cat-copy-1.png")
    until(lambda: said(stack, "cat-copy-0.png") is Decision.DISTINCT, "the rejection is in Redis")
    page.keyboard.press("m")
    expect(page.locator("#rest")).to_contain_text("Nothing waits for a decision")
    page.keyboard.press("u")
    expect(page.locator("#pair-title")).to_contain_text("cat-copy-1.png")
    page.keyboard.press("m")
    wanted = [
        ("cat-copy-0.png", Outcome.NOT_A_MATCH, "ann"),
        ("cat-copy-1.png", Outcome.MATCH, "ann"),
        ("cat-copy-1.png", Outcome.UNDO, "ann"),
        ("cat-copy-1.png", Outcome.MATCH, "ann"),
    ]
    until(lambda: audited(stack) == wanted, "the audit log has it all")
    assert stack.store.queued() == 0
    assert page.evaluate("window.same")
    stack.stop()
    expect(page.locator("#line")).to_contain_text("connection lost")
    stack.start()
    assert audited(stack) == wanted
    assert said(stack, "cat-copy-0.png") is Decision.DISTINCT
    shop.family("dog", 1)  # the page has found its way back by itself
    expect(page.locator("#pair-title")).to_contain_text("dog-copy-0.png", timeout=15_000)
    page.keyboard.press("m")
    until(lambda: stack.store.queued() == 0, "all is decided on")
    assert page.evaluate("window.same")
    expect(page.locator("#problem")).to_be_empty()
    expected(desks, "ERR_", "503")  # while nobody answered, and then while the view began


def said(stack: Stack, item: str) -> Decision | None:
    verdict = stack.store.verdict(item)
    return None if verdict is None else verdict.decision


def audited(stack: Stack) -> list[tuple[str, Outcome, str]]:
    records = [entry.changed.record for entry in reversed(stack.store.audit("", 100))]
    return [(one.item, one.outcome, one.by) for one in records if isinstance(one, Reviewed)]


def test_no_two_seats_get_the_same_item_and_what_is_skipped_goes_to_another(
    stack: Stack, desks: Desks, shop: Shop
) -> None:
    shop.family("seat", 6)
    until(lambda: stack.store.queued() == 6, "all wait")
    ann, bob = desks(), desks("bob")
    pages = [ann.open("/review"), ann.open("/review"), bob.open("/review")]
    assert len({title(page) for page in pages}) == 3
    first = title(pages[0])
    pages[0].keyboard.press("s")
    expect(pages[0].locator("#pair-title")).not_to_have_text(first)
    expect(pages[2].locator("#waiting")).to_contain_text("with ann")
    while stack.store.queued():
        pages[2].keyboard.press("m")
        if pages[2].locator("#rest").is_visible():
            for page in pages[:2]:
                page.close()
        pages[2].wait_for_timeout(150)
    decided = [item for item, _, by in audited(stack) if by == "bob"]
    assert sorted(decided) == [f"seat-copy-{n}.png" for n in range(6)]


def test_a_video_is_compared_moment_by_moment(stack: Stack, desks: Desks, shop: Shop) -> None:
    film = save_clip(shop.folder / "film.mp4", seeds := [next(Shop.seeds) for _ in range(10)])
    stack.publish(film)
    stack.publish(save_clip(shop.folder / "clip.mp4", seeds[4:8]))
    page = desks().open("/review")
    assert "clip.mp4 show the same as film.mp4" in title(page).replace("\n", " ")
    images = page.locator(".sides .picture img")
    expect(page.locator(".timeline svg")).to_be_visible()
    moved = times(page)
    assert moved[0] == pytest.approx(moved[1] + 4, abs=0.6)
    page.keyboard.press("ArrowRight")
    assert times(page) == pytest.approx([time + 0.5 for time in moved], abs=0.01)
    box = page.locator(".timeline svg").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.45 * box["width"], box["y"] + 5)
    assert times(page) == pytest.approx([4.5, 0.5], abs=0.3)
    page.locator(".pairs button").last.click()
    assert times(page)[1] > 2.5
    until(lambda: all(one.evaluate("image => image.complete") for one in images.all()), "both are loaded")
    assert [one.evaluate("image => image.naturalWidth") for one in images.all()] == [64, 64]
    page.keyboard.press("m")
    until(lambda: stack.store.queued() == 0, "it is decided on")


def times(page: Page) -> list[float]:
    """Return the seconds of the original and the copy that are shown."""
    sources = [str(one.get_attribute("src")) for one in page.locator(".sides .picture img").all()]
    return [float(source.partition("at=")[2].partition("&")[0]) for source in sources]


def test_a_search_begins_with_an_upload_an_id_or_a_result(desks: Desks, shop: Shop) -> None:
    shop.family("lamp", 3)
    shop.family("vase", 0)
    page = desks("eve").open("/search")
    page.set_input_files("#file", shop.folder / "lamp-copy-1.png")
    expect(page.locator(".copies")).to_contain_text("identical file")
    expect(page.locator("#grid li").first).to_contain_text("+3 copies")
    assert page.evaluate("location.search") == ""
    page.keyboard.press("/")
    page.keyboard.type("vase.png")
    page.keyboard.press("Enter")
    expect(page.locator("#asked h2")).to_have_text("vase.png")
    lamp = page.locator("#grid a.picture[title='Search from this']").first
    wanted = lamp.get_attribute("data-item")
    lamp.click()
    expect(page.locator("#asked h2")).to_have_text(wanted or "")
    page.go_back()
    expect(page.locator("#asked h2")).to_have_text("vase.png")
    page.evaluate(PASTE, list((shop.folder / "vase.png").read_bytes()))
    expect(page.locator("#asked")).to_contain_text("it was not taken in")
    expect(page.locator(".copies")).to_contain_text("vase.png")
    page.locator("#item").fill("nosuch")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_contain_text("no item 'nosuch'")
    expected(desks, "404")


PASTE = """bytes => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], "pasted.png", { type: "image/png" }));
  dispatchEvent(new ClipboardEvent("paste", { clipboardData: data }));
}"""


def test_pages_of_results_follow_each_other(stack: Stack, desks: Desks, shop: Shop) -> None:
    stack.publish(*(save(shop.folder, f"many-{n}.png", next(Shop.seeds)) for n in range(30)))
    page = desks("eve").open("/search?item=many-0.png")
    expect(page.locator("#grid li")).to_have_count(24)
    page.locator("#more").click()
    until(lambda: page.locator("#grid li").count() > 28, "more are shown")
    ids = page.locator("#grid .name").all_inner_texts()
    assert len(set(ids)) == len(ids)


def test_clusters_are_split_led_and_merged_by_keyboard_and_undone(stack: Stack, desks: Desks, shop: Shop) -> None:
    shop.family("bird", 2)
    shop.family("fish", 0)
    page = desks().open("/clusters?item=bird-copy-1.png")
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.locator("#done")).to_contain_text("bird-copy-0.png was taken out")
    until(lambda: stack.store.head("bird-copy-0.png") == "", "it stands alone")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#members")).to_contain_text("bird-copy-0.png")
    until(lambda: stack.store.head("bird-copy-0.png") == "bird.png", "it is back")
    expect(page.locator("#members [data-compare]").first).to_be_focused()  # so that one goes on from there
    page.keyboard.press("o")
    expect(page.locator("#original-title")).to_have_text("bird-copy-0.png")
    until(lambda: stack.store.head("bird.png") == "bird-copy-0.png", "another leads")
    page.locator("#into").fill("fish.png")
    page.keyboard.press("Enter")
    expect(page.locator("#original-title")).to_have_text("fish.png")
    until(lambda: len(stack.store.members("fish.png")) == 3, "all are under one head")
    page.locator("#into").fill("nosuch")
    page.keyboard.press("Enter")
    expect(page.locator("[role=alert]")).to_contain_text("there is no item 'nosuch'")
    edits = [entry.changed.record for entry in stack.store.audit("", 100)]
    assert [one.by for one in edits if isinstance(one, ClusterEdited)] == ["ann"] * 5
    expected(desks, "404")


def test_somebody_logs_in_by_the_page_and_out(browser: Browser, stack: Stack) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{stack.url}/search?item=lamp.png")
    page.get_by_label("Token").fill("nd_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not known")
    page.get_by_label("Token").fill("nd_eve")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?item=lamp.png")
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto(f"{stack.url}/search")
    page.wait_for_url(f"{stack.url}/login?next=/search")
    context.close()


def test_axe_finds_nothing_and_every_page_fits_its_window(stack: Stack, desks: Desks, shop: Shop) -> None:
    seeds = [next(Shop.seeds) for _ in range(6)]
    stack.publish(save_clip(shop.folder / "a long name of a film.mp4", seeds))
    stack.publish(save_clip(shop.folder / "a part of it.mp4", seeds[2:5]))
    shop.family("leaf", 3)
    look_at_all(desks(scheme="light", width=1440))
    look_at_all(desks(scheme="dark", width=390))


def look_at_all(desk: Desk) -> None:
    for path in ("/", "/docs", "/login", "/ops"):
        assert complain(desk.open(path)) == [], path
    search = desk.open("/search?item=leaf-copy-1.png")
    expect(search.locator("#grid li").first).to_be_visible()
    assert complain(search) == []
    cluster = desk.open("/clusters?item=leaf.png")
    assert complain(cluster) == []
    cluster.locator("[data-compare]").first.click()
    assert complain(cluster) == []
    review = desk.open("/review")
    assert "a part of it.mp4" in title(review)
    expect(review.locator("#near li").first).to_be_visible()
    for key in ("1", "2"):
        review.keyboard.press(key)
        assert complain(review) == [], key
    review.keyboard.press("?")
    assert complain(review) == []
    review.goto(review.url.replace("/review", "/"))  # which lets go of what it had
    review.wait_for_timeout(200)


def test_the_first_view_is_soon_there_with_ten_thousand_items_queued(
    browser: Browser, services: Services, tmp_path: Path
) -> None:
    redis = f"{services.redis}/{SPEED_DATABASE}"
    with (
        Redis.from_url(redis) as client,
        closing(RedisStore(redis, "s")) as store,
        closing(View(a_state(), -1)) as view,
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
        began = time.monotonic()
        page.goto(f"http://127.0.0.1:{server.port}/review")
        page.locator("#pair-title").wait_for()
        seconds = time.monotonic() - began
        expect(page.locator("#left")).to_have_text("10,000 items left")
        page.close()
        server.close()
        client.flushdb()
    assert seconds < 1.0


def a_flag(number: int) -> Envelope:
    match = Matched(
        reference="head", bank="seen", decision=Decision.UNSURE, distance=0.5, evidence=0.5, probability=0.6
    )
    verdict = Verdict(id=f"item-{number}", decision=Decision.UNSURE, matches=(match,), head="")
    return Envelope(offset=number, events=(verdict,))
