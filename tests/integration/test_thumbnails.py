from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from kafka import KafkaProducer
from PIL import Image

from neardup.pipeline.settings import Settings
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
    until,
)
from tests.pipeline.scan.build import save_clip

pytestmark = pytest.mark.integration
__all__ = ["environment", "names", "producer"]  # fixtures


def test_a_thumbnail_is_in_the_blob_store_when_its_record_is_in_the_log(
    settings: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    film = save_clip(tmp_path / "clip.mp4", [5, 6, 7]).read_bytes()
    for _ in range(2):  # what comes again overwrites its own
        producer.send(names.media, film, b"film", partition=0)
        producer.send(names.media, a_file(1, "PNG"), b"still", partition=1)
        producer.send(names.media, a_file(1, "PNG"), b"twin", partition=1)
    producer.flush()
    with embedding(environment, tmp_path, NEARDUP_THUMBNAIL_SIDE="40") as worker:
        until(lambda: sum(committed(settings, names).values()) == 6, "everything committed")
        assert 'neardup_stage_duration_seconds_count{stage="store"} 6.0' in worker.get("/metrics")[1]
        assert worker.stop()[0] == 0, worker.log.read_text()
    found = {record.id: record for record in described(settings, names)}
    blobs = tmp_path / "blobs"
    for record in found.values():
        with Image.open(io.BytesIO((blobs / record.thumbnail).read_bytes())) as picture:
            assert (picture.format, picture.size) == ("JPEG", (40, 40))
    assert hashlib.sha256(a_file(1, "PNG")).hexdigest()[:32] in found["still"].thumbnail
    files = {path.relative_to(blobs).as_posix() for path in blobs.rglob("*") if path.is_file()}
    assert files == {record.thumbnail for record in found.values()}
    assert len(files) == 3


def test_thumbnails_can_be_switched_off(
    settings: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    producer.send(names.media, a_file(1, "PNG"), b"still", partition=1)
    producer.flush()
    with embedding(environment, tmp_path, NEARDUP_THUMBNAIL_SIDE="0"):
        until(lambda: count(settings, names.log) == 1, "described")
    assert [record.thumbnail for record in described(settings, names)] == [""]
    assert not (tmp_path / "blobs").exists()


def test_a_blob_store_that_fails_delays_items_and_loses_none(
    settings: Settings, names: TopicNames, producer: KafkaProducer, environment: dict[str, str], tmp_path: Path
) -> None:
    for number in range(20):
        producer.send(names.media, a_file(number, "PNG"), f"p{number}".encode(), partition=number % 3)
    producer.flush()
    blobs = tmp_path / "blobs"
    blobs.write_text("a file where the folder should be")
    with embedding(environment, tmp_path) as worker:
        until(lambda: '"failures":2' in worker.log.read_text(), "tried twice")
        assert sum(committed(settings, names).values()) == 0
        assert worker.get("/readyz")[0] == 503
        blobs.unlink()
        until(lambda: sum(committed(settings, names).values()) == 20, "everything committed")
        assert worker.stop()[0] == 0, worker.log.read_text()
    found = {record.id: record for record in described(settings, names)}
    assert set(found) == {f"p{number}" for number in range(20)}
    assert all((blobs / record.thumbnail).exists() for record in found.values())
    assert count(settings, names.dead_letters) == 0
