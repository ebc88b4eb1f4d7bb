"""The stream decides by proof: `neardup up` with its prove worker, over real services, the network a stand-in."""

from __future__ import annotations

import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from neardup.pipeline.prove.finding import Finding
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import RedisStore
from neardup.pipeline.types import Decision
from tests.integration.test_up import CHECKPOINT, Up, environment, ingest, running
from tests.pipeline.prove.test_prover import a_scene
from tests.timing import until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
__all__ = ["environment"]  # a fixture
KINDS = ("embed", "match", "prove", "flag")


@pytest.fixture
def proving(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name != "NEARDUP_PROVE"}


@pytest.fixture
def store(settings: Settings) -> Iterator[RedisStore]:
    with closing(RedisStore(settings.redis.get_secret_value(), CHECKPOINT.space)) as made:
        yield made


def scene(seed: int) -> Image.Image:
    return Image.fromarray(a_scene(seed, 360, 480))


def captioned(seed: int, words: str) -> Image.Image:
    """Return a scene with writing over it, as two memes of one picture have."""
    made = scene(seed)
    drawn = ImageDraw.Draw(made)
    for top in (20, 290):
        drawn.text((24, top), words, "white", ImageFont.load_default(44), stroke_width=3, stroke_fill="black")
    return made


def send(environment: dict[str, str], folder: Path, *options: str, **pictures: Image.Image) -> None:
    folder.mkdir()
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.jpg", quality=90 if name.endswith("original") else 60)
    ingest(environment, folder, *options)


def lag(up: Up) -> float:
    """Return how many asks wait, as the prove worker's metrics say; -1 while they do not say it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{up.ports()['prove']}/metrics", timeout=10) as answer:
        found = re.findall(r"^neardup_consumer_lag_messages\{.*asks.*\} (\S+)$", answer.read().decode(), re.MULTILINE)
    return sum(map(float, found)) if found else -1.0


def test_a_copy_is_proved_and_a_look_alike_is_not(proving: dict[str, str], store: RedisStore, tmp_path: Path) -> None:
    with running(proving, tmp_path) as up:
        up.await_ready(KINDS)
        originals = {f"{seed}-original": scene(seed) for seed in range(4)}
        send(proving, tmp_path / "first", **originals, meme=captioned(9, "one does not"))
        until(lambda: store.applied() >= 4, f"all are applied; {up.log()}")

        small = scene(0).resize((300, 225))
        send(proving, tmp_path / "second", copy=small, other_meme=captioned(9, "but why not?"))
        until(lambda: store.verdict("copy.jpg") and store.verdict("other_meme.jpg"), f"both are decided; {up.log()}")
        verdict = store.verdict("copy.jpg")
        assert verdict is not None
        proved = verdict.matches[0]
        assert (verdict.decision, proved.reference) == (Decision.DUPLICATE, "0-original.jpg")
        assert proved.proof is not None
        assert proved.proof.finding is Finding.COPY
        assert proved.where.transform is not None
        other = store.verdict("other_meme.jpg")
        assert other is not None
        assert other.matches, "evidence alone takes it for a copy"
        assert other.matches[0].proof is not None
        assert other.decision is not Decision.DUPLICATE
        assert store.members("0-original.jpg") == {"copy.jpg"}

        until(lambda: lag(up) == 0, f"nothing waits for a proof any more; {up.log()}")

        pid = up.worker("prove")
        os.kill(pid, signal.SIGKILL)
        send(proving, tmp_path / "third", again=scene(1).resize((330, 248)))
        until(lambda: store.verdict("again.jpg"), f"decided after the prove worker was killed; {up.log()}")
        assert [entry.verdict.id for entry in store.feed("", 100)].count("again.jpg") == 1
        assert up.worker("prove") != pid

        # A bank gets references later: the head of a star is proved, and its members are told of with it.
        send(proving, tmp_path / "fourth", "--bank", "blocked", banned=scene(0).resize((320, 240)))
        until(lambda: in_bank(store, "0-original.jpg"), f"an earlier original is proved; {up.log()}")
        assert in_bank(store, "0-original.jpg") == {"banned.jpg": (Decision.DUPLICATE, Finding.COPY)}
        assert in_bank(store, "copy.jpg") == {"banned.jpg": (Decision.DUPLICATE, None)}


def in_bank(store: RedisStore, item: str) -> dict[str, tuple[Decision, Finding | None]]:
    """Return how an item matches references of the bank."""
    verdict = store.verdict(item)
    matches = [] if verdict is None else [match for match in verdict.matches if match.bank == "blocked"]
    return {one.reference: (one.decision, None if one.proof is None else one.proof.finding) for one in matches}
