"""A live video from its frames in `media` to the feed in Redis, with the workers as processes."""

from __future__ import annotations

import io
from contextlib import ExitStack
from pathlib import Path

import pytest
from kafka import KafkaProducer

from neardup.pipeline.log.records import Verdict
from neardup.pipeline.store.redis import RedisStore
from neardup.pipeline.types import Decision
from tests.integration.test_embed_worker import embedding, producer, until
from tests.integration.test_stream_end_to_end import Stream, store, stream
from tests.pipeline.scan.build import a_picture, save_clip

pytestmark = pytest.mark.integration
__all__ = ["producer", "store", "stream"]  # fixtures


def a_frame(seed: int) -> bytes:
    file = io.BytesIO()
    a_picture(seed).save(file, "JPEG", quality=60)
    return file.getvalue()


def test_live_video_is_flagged_once_while_it_runs(
    stream: Stream, store: RedisStore, producer: KafkaProducer, tmp_path: Path
) -> None:
    def send(pts: str, frame: bytes = b"") -> None:
        producer.send(stream.names.media, frame, b"cam", [("pts", pts.encode())])

    def said() -> Verdict:
        return store.verdict("cam") or Verdict(id="cam", decision=Decision.DISTINCT)

    with ExitStack() as running:
        running.enter_context(embedding(stream.environment, tmp_path))
        matcher, _ = (running.enter_context(stream.worker(name)) for name in ("match", "flag"))
        producer.send(stream.names.media, save_clip(tmp_path / "film.mp4", range(40)).read_bytes(), b"film")
        until(lambda: store.verdict("film") is not None, "the film's verdict")
        shown = [*range(100, 106), *range(10, 22)]  # a second of each: from 6 s on the film from its 10 s
        for number, seed in enumerate(shown):
            send(f"{number}.0", a_frame(seed))
            send(f"{number}.5", a_frame(seed))
        until(lambda: bool(store.feed("", 10)), "the live video in the feed")
        assert said().running
        matcher.kill()
        running.enter_context(stream.worker("match"))
        for number, seed in enumerate(range(22, 34), len(shown)):
            send(f"{number}.25", a_frame(seed))
        send("7.5", a_frame(200))  # known already
        send("end")
        until(lambda: said().decision is Decision.DUPLICATE and not said().running, "the last verdict")
    (match,) = said().matches
    (span,) = match.where.spans
    assert (match.reference, match.where.whole) == ("film", False)
    assert (span.query_start, span.query_end) == pytest.approx((6, 30), abs=1)
    assert (span.reference_start, span.reference_end) == pytest.approx((10, 34), abs=1)
    (entry,) = store.feed("", 10)
    assert (entry.verdict.id, entry.verdict.running) == ("cam", True)
    assert [(one.reference, one.decision) for one in entry.verdict.matches] == [("film", Decision.DUPLICATE)]
