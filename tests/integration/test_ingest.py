from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.settings import Settings
from neardup.workers.cli.app import run
from neardup.workers.kafka.outbox import make_producer
from neardup.workers.kafka.topics import TopicNames
from tests.integration.test_embed_worker import (
    a_file,
    count,
    described,
    embedding,
    environment,
    names,
    producer,
    read,
    until,
)
from tests.pipeline.scan.build import save

pytestmark = pytest.mark.integration
__all__ = ["environment", "names", "producer"]  # fixtures

Command = Callable[..., str]


@pytest.fixture
def neardup(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Return the command, run in this process; it must succeed."""
    for name, value in environment.items():
        if name.startswith("NEARDUP_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def command(*arguments: object, code: int = 0) -> str:
        capsys.readouterr()
        assert run([str(argument) for argument in arguments]) == code
        told = capsys.readouterr()
        return told.err if code else told.out

    return command


def sent(neardup: Command, *arguments: object) -> tuple[int, int, int]:
    told = json.loads(neardup("ingest", *arguments, "--json"))
    return told["sent"], told["delivered_before"], told["skipped"]


def test_a_folder_is_sent_once_and_what_changed_is_sent_again(
    settings: Settings, names: TopicNames, neardup: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "media"
    for number in range(5):
        save(folder, f"sub/p{number}.png", number)
    (folder / "notes.txt").write_text("no picture")
    assert sent(neardup, folder, "--bank", "licensed") == (5, 0, 1)
    assert sent(neardup, folder, "--bank", "licensed") == (0, 5, 1)
    save(folder, "sub/p3.png", 33, modified=1_000_000_000.0)
    assert sent(neardup, folder, "--bank", "licensed") == (1, 4, 1)
    assert sent(neardup, folder, "--bank", "licensed", "--again") == (5, 0, 1)
    records = read(settings, names.media, 3)
    assert {record.key for record in records} == {f"sub/p{number}.png".encode() for number in range(5)}
    assert all(dict(record.headers) == {"bank": b"licensed"} for record in records)
    assert records[0].value == (folder / records[0].key.decode()).read_bytes()


@pytest.mark.usefixtures("names")
def test_a_run_that_was_cut_off_goes_on_behind_what_was_acknowledged(neardup: Command, tmp_path: Path) -> None:
    folder, journal = tmp_path / "media", tmp_path / "journal"
    for number in range(4):
        save(folder, f"p{number}.png", number)
    neardup("ingest", folder, "--journal", journal)
    lines = [line for line in journal.read_text().splitlines() if line]
    journal.write_text("\n".join(lines[:2]) + "\n" + lines[2][:10])  # the process died while it wrote
    assert sent(neardup, folder, "--journal", journal) == (2, 2, 0)
    assert sent(neardup, folder, "--journal", journal) == (0, 4, 0)


def test_large_files_go_by_way_of_the_blob_store_and_are_described(
    settings: Settings,
    names: TopicNames,
    neardup: Command,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2400, 2400, 3), dtype=np.uint8)
    folder = tmp_path / "media"
    folder.mkdir()
    Image.fromarray(noise).save(folder / "large.bmp")  # 17.3 MB
    Image.fromarray(noise[:1400]).save(folder / "phone.bmp")  # 10 MB
    assert sent(neardup, folder) == (2, 0, 0)
    records = {record.key.decode(): record for record in read(settings, names.media, 3)}
    content = (folder / "large.bmp").read_bytes()
    headers = dict(records["large.bmp"].headers)
    assert headers["content-type"] == b"text/uri-list"
    assert headers["sha256"].decode() == hashlib.sha256(content).hexdigest()
    assert records["large.bmp"].value.startswith((tmp_path / "blobs").as_uri().encode())
    assert records["phone.bmp"].value == (folder / "phone.bmp").read_bytes()
    with embedding(environment, tmp_path) as worker:
        until(lambda: count(settings, names.log) == 2, "both described")
        assert worker.stop()[0] == 0
    found = {record.id: record for record in described(settings, names)}
    assert found["large.bmp"].sha256 == hashlib.sha256(content).digest()
    assert (found["phone.bmp"].width, found["phone.bmp"].height) == (2400, 1400)


def test_by_uri_workers_read_pictures_where_they_lie(
    settings: Settings,
    names: TopicNames,
    neardup: Command,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "my media"
    contents = {
        name: save(folder, name, number).read_bytes() for number, name in enumerate(("a.png", "b/c.png", "d.png"))
    }
    refused = " ".join(neardup("ingest", folder, "--by-uri", code=2).split())
    assert "NEARDUP_FETCH_ALLOW" in refused
    assert count(settings, names.media, 3) == 0
    monkeypatch.setenv("NEARDUP_FETCH_ALLOW", folder.as_uri())
    assert sent(neardup, folder, "--by-uri") == (3, 0, 0)
    assert sent(neardup, folder) == (0, 3, 0)
    records = read(settings, names.media, 3)
    assert {record.key.decode(): record.value.decode() for record in records} == {
        name: (folder / name).as_uri() for name in contents
    }
    (folder / "d.png").unlink()
    with embedding(environment, tmp_path, NEARDUP_FETCH_ALLOW=folder.as_uri()) as worker:
        until(lambda: (count(settings, names.log), count(settings, names.dead_letters)) == (2, 1), "two described")
        [dead] = json.loads(neardup("dead-letters", "list", "--json"))
        assert worker.stop()[0] == 0
    assert dead["reason"] == "fetch"
    assert {one.id: one.sha256 for one in described(settings, names)} == {
        name: hashlib.sha256(contents[name]).digest() for name in ("a.png", "b/c.png")
    }


def test_dead_letters_are_listed_shown_and_tried_again(
    settings: Settings, names: TopicNames, neardup: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    place = tmp_path / "blobs" / "late.png"
    place.parent.mkdir()
    made = make_producer(settings)
    made.send(names.media, b"words", b"words", [("bank", b"blocked")], partition=0)
    made.send(names.media, place.as_uri().encode(), b"late", [("content-type", b"text/uri-list")], partition=0)
    made.close()
    with embedding(environment, tmp_path) as worker:
        until(lambda: count(settings, names.dead_letters) == 2, "two dead letters")
        listed = {one["reason"]: one for one in json.loads(neardup("dead-letters", "list", "--json"))}
        assert set(listed) == {"format", "fetch"}
        assert listed["format"]["source"] == f"{names.media}/0/0"
        assert listed["format"]["headers"] == {"bank": "blocked"}
        assert "2 dead letters: " in (said := neardup("dead-letters", "list"))
        assert "most from: no prefix in partition 0 2\n" in said
        neardup("dead-letters", "show", listed["format"]["offset"], "--output", tmp_path / "kept")
        assert (tmp_path / "kept").read_bytes() == b"words"
        assert "there is no dead letter 9" in neardup("dead-letters", "show", 9, code=2)
        assert "name the numbers" in neardup("dead-letters", "replay", code=2)
        place.write_bytes(a_file(1, "PNG"))
        assert neardup("dead-letters", "replay", "--reason", "fetch").startswith("1 sent")
        until(lambda: count(settings, names.log) == 1, "described at last")
        neardup("dead-letters", "replay", listed["format"]["offset"])
        until(lambda: count(settings, names.dead_letters) == 3, "a dead letter again")
        assert worker.stop()[0] == 0
    assert [one.id for one in described(settings, names)] == ["late"]
    last = json.loads(neardup("dead-letters", "list", "--json", "--limit", "1"))[0]
    assert (last["attempts"], last["headers"]) == (2, {"bank": "blocked"})


def test_a_topic_that_nobody_made_is_told(neardup: Command, tmp_path: Path) -> None:
    save(tmp_path, "a.png", 1)
    assert "`neardup topics create` makes it" in neardup("ingest", tmp_path / "a.png", code=2)
    assert "`neardup topics create` makes it" in neardup("dead-letters", "list", code=2)
