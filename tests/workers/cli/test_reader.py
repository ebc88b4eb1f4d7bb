"""What the progress bar says while the network is prepared."""

from __future__ import annotations

from collections.abc import Generator, Sequence, Set
from pathlib import Path

import pytest

from neardup.pipeline.embed import embedder, openvino_engine
from neardup.pipeline.scan.catalog import Packed
from neardup.pipeline.scan.finished import Finished
from neardup.pipeline.scan.walk import Found
from neardup.pipeline.settings import load
from neardup.workers.cli.common import Bar
from neardup.workers.cli.reader import PREPARING, noticed
from tests.pipeline.scan.build import a_checkpoint

FILE = Found("a.png", "/a.png", 1, 0)
DESCRIBED = Finished(FILE, sha256=b"1", content=Packed(b"1", "png", b""))


class Notes(Bar):
    """Keeps what it is asked to say."""

    def __init__(self) -> None:
        super().__init__("comparing")
        self.said: list[str] = []

    def say(self, what: str) -> None:
        self.said.append(what)


def describe(files: Sequence[Found], known: Set[bytes]) -> Generator[list[Finished]]:
    del known
    yield [Finished(one) for one in files]
    yield [DESCRIBED for _ in files]


@pytest.mark.parametrize(
    ("converts", "files", "said"),
    [(True, [FILE], [[PREPARING], [PREPARING, ""]]), (False, [FILE], [[], []]), (True, [], [[], []])],
    ids=["empty cache", "converted before", "nothing new"],
)
def test_bar_says_that_the_network_is_prepared(
    monkeypatch: pytest.MonkeyPatch, converts: bool, files: list[Found], said: list[list[str]]
) -> None:
    monkeypatch.setattr(embedder, "needs_conversion", lambda *_: converts)
    bar = Notes()
    described = noticed(describe, a_checkpoint(), load(), bar)(files, frozenset())
    assert [list(bar.said) for _ in described] == said


def test_network_is_converted_where_the_cache_lacks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    checkpoint = a_checkpoint()
    assert embedder.needs_conversion(checkpoint, "cpu")
    path = openvino_engine._path(checkpoint, openvino_engine.default_cache(), narrow=False)
    path.parent.mkdir(parents=True)
    path.touch()
    assert not embedder.needs_conversion(checkpoint, "cpu")
