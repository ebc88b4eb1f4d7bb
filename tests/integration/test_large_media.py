"""A photo of 6 MB and a video of 60 MB, with the settings of a fresh install."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from neardup.pipeline.embed.checkpoint import save_checkpoint
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import RedisStore
from neardup.pipeline.types import Decision
from neardup.workers.kafka.topics import create_topics, open_admin
from tests.integration.test_embed_worker import count, read, until
from tests.pipeline.scan.build import a_checkpoint, a_picture
from tests.timing import LATE_SECONDS

pytestmark = pytest.mark.integration
CHECKPOINT = a_checkpoint()
MAX_INGEST_MEBIBYTES = 125
"""Some 65 are its own; the video has 60 and more."""


def a_photo(path: Path, side: int, quality: int) -> None:
    """Write a picture of 4 : 3 with noise, as a phone in the evening."""
    picture = np.asarray(a_picture(1, 64).resize((4 * side, 3 * side), Image.Resampling.BICUBIC), np.uint8)
    noise = np.random.default_rng(0).integers(0, 48, picture.shape, dtype=np.uint8)
    Image.fromarray(picture // 2 + noise).save(path, "JPEG", quality=quality)


def a_film(path: Path, seeds: range, bit_rate: int) -> None:
    """Write a noisy video that shows another picture each second."""
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 1280, 960, "yuv420p", bit_rate
        stream.codec_context.options = {"qmin": "1"}
        for seed in seeds:
            picture = np.asarray(a_picture(seed, 64).resize((1280, 960), Image.Resampling.NEAREST), np.uint8) // 2
            for _ in range(8):
                noise = random.integers(0, 64, picture.shape, dtype=np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture + noise, format="rgb24")))
        container.mux(stream.encode(None))


class Fresh:
    """Commands with the settings of a fresh install, but for where things are, and a stand-in for the network."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        save_checkpoint(CHECKPOINT, folder / "model.safetensors")
        ours = {name: value for name, value in os.environ.items() if not name.startswith("NEARDUP_")}
        self._environment = {
            **ours,
            "NEARDUP_KAFKA": settings.kafka,
            "NEARDUP_REDIS": settings.redis.get_secret_value(),
            "NEARDUP_TOPIC_PREFIX": settings.topic_prefix,
            "NEARDUP_PROVE": "false",
            "NEARDUP_MODEL": str(folder / "model.safetensors"),
            "XDG_DATA_HOME": str(folder / "data"),
            "XDG_STATE_HOME": str(folder / "state"),
            "OMP_NUM_THREADS": "1",
        }
        with open_admin(settings) as admin:
            create_topics(admin, CHECKPOINT.space, settings)

    @contextmanager
    def command(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        program = "neardup.workers.cli.main" if arguments[0] == "ingest" else "tests.integration.stand_in"
        command = [sys.executable, "-m", program, *arguments]
        with subprocess.Popen(command, env=self._environment, cwd=Path(__file__).parents[2]) as process:
            try:
                yield process
            finally:
                process.kill()


def peak(process: subprocess.Popen[bytes]) -> float:
    """Return the most memory that a process held so far, in MiB; 0 once it has ended."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def peak_to_the_end(process: subprocess.Popen[bytes]) -> float:
    most = 0.0
    while process.poll() is None:
        most = max(most, peak(process))
    return most


def test_a_photo_of_6_mb_and_a_video_of_60_mb_are_judged(settings: Settings, tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    a_photo(media / "photo.jpg", 1000, 95)
    a_film(media / "film.mp4", range(10, 34), 60_000_000)
    assert (media / "photo.jpg").stat().st_size > 6e6
    assert (media / "film.mp4").stat().st_size > 60e6
    copies = tmp_path / "copies"
    copies.mkdir()
    a_photo(copies / "photo copy.jpg", 200, 60)
    a_film(copies / "film copy.mp4", range(12, 22), 1_000_000)
    fresh, space = Fresh(settings, tmp_path), CHECKPOINT.space
    with ExitStack() as stack:
        for name in ("embed", "match", "flag"):
            stack.enter_context(fresh.command("worker", name, "--port", "0"))
        store = stack.enter_context(closing(RedisStore(settings.redis.get_secret_value(), space)))
        with fresh.command("ingest", str(media)) as ingest:
            memory = peak_to_the_end(ingest)
            assert ingest.returncode == 0
        until(lambda: store.verdict("film.mp4") is not None, "the video is judged")
        until(lambda: store.verdict("photo.jpg") is not None, "the photo is judged")
        with fresh.command("ingest", str(copies)) as ingest:
            assert ingest.wait(LATE_SECONDS) == 0
        found = {}
        for id in ("photo copy.jpg", "film copy.mp4"):
            until(lambda id=id: store.verdict(id) is not None, f"{id} is judged")  # type: ignore[misc]
            found[id] = store.verdict(id)
        assert 50 < memory < MAX_INGEST_MEBIBYTES
    for id, original in (("photo copy.jpg", "photo.jpg"), ("film copy.mp4", "film.mp4")):
        verdict = found[id]
        assert verdict is not None
        assert (verdict.decision, verdict.matches[0].reference) == (Decision.DUPLICATE, original)
    names = f"{settings.topic_prefix}.dead-letters"
    assert count(settings, names) == 0, [one.headers for one in read(settings, names)]
