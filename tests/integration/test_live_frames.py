from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaProducer
from PIL import Image

from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Kind
from neardup.workers.kafka.topics import TopicNames
from tests.integration.test_embed_worker import (
    a_file,
    committed,
    count,
    described,
    embedding,
    environment,
    names,
    producer,
    read,
    until,
)
from tests.pipeline.scan.build import save_clip

pytestmark = pytest.mark.integration
__all__ = ["environment", "names", "producer"]  # fixtures


def a_slow_file() -> bytes:
    """Return a picture that takes far longer to decode than the others."""
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (1800, 1800, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "PNG", compress_level=1)
    return file.getvalue()


def test_frames_of_a_live_video_reach_the_log_in_their_order(
    settings: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    slow = a_slow_file()
    for number in range(40):
        data = slow if number % 10 == 0 else a_file(number, "PNG")
        producer.send(names.media, data, b"live", [("pts", f"{number / 2}".encode())], partition=0)
        producer.send(names.media, a_file(number, "PNG"), f"p{number}".encode(), partition=0)
    producer.send(names.media, b"", b"live", [("pts", b"end"), ("bank", b"licensed")], partition=0)
    producer.flush()
    with embedding(environment, tmp_path) as worker:
        until(lambda: committed(settings, names)[0] == 81, "everything committed")
        assert worker.stop()[0] == 0, worker.log.read_text()
    records = described(settings, names)
    assert len(records) == 81
    assert [one.source_offset for one in records] != sorted(one.source_offset for one in records)
    *frames, end = [record for record in records if record.id == "live"]
    assert [frame.pts for frame in frames] == [(number / 2,) for number in range(40)]
    assert all(frame.live and not frame.last and frame.kind is Kind.VIDEO and frame.part == 0 for frame in frames)
    assert all(frame.seconds == frame.pts[0] and len(frame.embedded().vectors) == 1 for frame in frames)
    assert (end.live, end.last, end.pts, end.bank, end.source_offset) == (True, True, (), "licensed", 80)
    [thumbnail] = {frame.thumbnail for frame in frames}  # the latest picture
    assert (tmp_path / "blobs" / thumbnail).stat().st_size > 0


def test_an_end_with_null_ends_a_live_video_and_takes_nothing_down(
    settings: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    producer.send(names.media, a_file(1, "PNG"), b"live", [("pts", b"2.5")], partition=0)
    producer.send(names.media, None, b"live", [("pts", b"end")], partition=0)
    producer.flush()
    with embedding(environment, tmp_path) as worker:
        until(lambda: committed(settings, names)[0] == 2, "everything committed")
        assert worker.stop()[0] == 0, worker.log.read_text()
    frame, end = described(settings, names)
    assert (frame.pts, end.pts, end.live, end.last) == ((2.5,), (), True, True)
    assert count(settings, names.log) == 2


def test_what_is_no_frame_of_a_live_video_is_put_aside_and_does_not_hold_up_the_others(
    settings: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    film = save_clip(tmp_path / "clip.mp4", [5, 6]).read_bytes()
    animated = io.BytesIO()
    Image.new("RGB", (9, 9)).save(animated, "GIF", save_all=True, append_images=[Image.new("RGB", (9, 9), "red")])
    bad = {"1": film, "1.1": animated.getvalue(), "-2": a_file(1, "PNG"), "end": b"x", "1.3": b"", "1.4": b"no picture"}
    for pts, value in bad.items():
        producer.send(names.media, value, b"live", [("pts", pts.encode())], partition=0)
    producer.send(names.media, a_file(1, "PNG"), b"live", [("pts", b"2.5")], partition=0)
    producer.flush()
    with embedding(environment, tmp_path) as worker:
        until(lambda: committed(settings, names)[0] == len(bad) + 1, "everything committed")
        assert worker.stop()[0] == 0, worker.log.read_text()
    told = {
        dict(one.headers)["pts"].decode(): dict(one.headers)["reason"].decode()
        for one in read(settings, names.dead_letters)
    }
    assert told == {
        "1": "schema",
        "1.1": "schema",
        "-2": "schema",
        "end": "schema",
        "1.3": "empty",
        "1.4": "format",
    }
    assert [record.pts for record in described(settings, names)] == [(2.5,)]
