"""Uploads are described as the stream describes items, parts of a picture included; the network is a stand-in."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from neardup.pipeline.describe import processes
from neardup.pipeline.describe.processes import ProcessDescriber
from neardup.pipeline.errors import DependencyError, InvalidFrame
from neardup.pipeline.settings import Settings
from neardup.pipeline.types import Embedded, Pixels
from neardup.workers.api.uploads import UploadDescriber
from tests.pipeline.describe.stand_in_child import KILL, LONG
from tests.pipeline.describe.test_threads import picture
from tests.pipeline.media.test_regions import with_pasted
from tests.pipeline.scan.build import SIZE, StandIn, a_checkpoint
from tests.timing import LATE_SECONDS, until


class LargeStandIn(StandIn):
    """One whose tiles are large enough to find pictures in."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 5 * SIZE

    def embed(self, tiles: Pixels) -> Embedded:
        return super().embed(tiles[:, ::5, ::5])


@contextmanager
def uploads(**settings: object) -> Iterator[UploadDescriber]:
    opened = UploadDescriber(LargeStandIn, Settings(**settings))  # type: ignore[arg-type]
    yield opened
    opened.close()


def a_page() -> bytes:
    file = io.BytesIO()
    Image.fromarray(with_pasted((0.25, 0.25, 0.75, 0.75))).save(file, "PNG")
    return file.getvalue()


def test_a_picture_within_a_picture_is_described_too() -> None:
    with uploads() as opened:
        [part] = opened.describe(a_page()).result(LATE_SECONDS)
    assert len(part.pts) > 1
    assert part.boxes
    with uploads(regions="none") as opened:
        [part] = opened.describe(a_page()).result(LATE_SECONDS)
    assert len(part.pts) == 1


def test_what_is_no_picture_fails_alone() -> None:
    with uploads() as opened:
        wrong, right = opened.describe(b"nothing of the kind"), opened.describe(a_page())
        with pytest.raises(InvalidFrame):
            wrong.result(LATE_SECONDS)
        assert right.result(LATE_SECONDS)[0].width == 640


def test_a_uri_is_read_only_where_workers_may_read() -> None:
    with uploads() as opened, pytest.raises(InvalidFrame, match="allowed"):
        opened.describe("file:///etc/passwd").result(LATE_SECONDS)


@pytest.fixture
def isolated(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[UploadDescriber]:
    """Processes, each with a network of its own; or all with one of this process, where a test asks for it."""
    monkeypatch.setattr(processes, "CHILD", "tests.pipeline.describe.stand_in_child")
    shared = getattr(request, "param", False)
    make = StandIn if shared else lambda: pytest.fail("loaded here")
    opened = UploadDescriber(make, Settings(device="cpu", processes=2, shared_network=shared), a_checkpoint())
    yield opened
    opened.close()


@pytest.mark.parametrize("isolated", [False, True], indirect=True, ids=["own", "shared"])
def test_an_upload_that_crashes_its_decoder_costs_its_own_answer(isolated: UploadDescriber) -> None:
    answers = [isolated.describe(picture(number)) for number in range(5)]
    bad = isolated.describe(KILL)
    with pytest.raises(InvalidFrame, match=r"killed: the process that decoded it was ended by SIGSEGV"):
        bad.result(LATE_SECONDS)
    assert [len(answer.result(LATE_SECONDS)) for answer in answers] == [1] * 5


def test_an_upload_that_is_cancelled_ends_in_its_process(isolated: UploadDescriber, tmp_path: Path) -> None:
    film = isolated.describe(LONG + os.fsencode(tmp_path / "never"), "ann")
    assert isolated.describe(picture(1)).result(LATE_SECONDS)
    assert film.cancel()
    again = isolated.describe(LONG + os.fsencode(tmp_path), "ann")  # her one place is free again
    with pytest.raises(InvalidFrame, match="format"):
        again.result(LATE_SECONDS)


def test_a_network_that_processes_cannot_load_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "CHILD", "tests.pipeline.describe.stand_in_child")
    wrong = replace(a_checkpoint(), name="unusable")
    opened = UploadDescriber(lambda: pytest.fail("loaded here"), Settings(device="cpu", processes=2), wrong)
    until(lambda: opened.error, "it is told")
    assert (str(opened.error), opened.ready) == ("the model is unusable", False)
    with pytest.raises(DependencyError, match="the model is unusable"):
        opened.describe(picture(1))
    opened.close()


def test_processes_that_cannot_be_replaced_at_once_are_replaced_later(
    isolated: UploadDescriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isolated.describe(picture(1)).result(LATE_SECONDS)

    def fail(*_ignored: object) -> None:
        raise DependencyError("the zygote has died")

    with monkeypatch.context() as broken:
        broken.setattr(ProcessDescriber, "step", fail)
        until(lambda: isolated.error, "no process describes")
        assert not isolated.ready
    until(lambda: isolated.ready, "processes describe again")
    assert isolated.describe(picture(2)).result(LATE_SECONDS)
