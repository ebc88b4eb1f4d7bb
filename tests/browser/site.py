"""The pages over sample media, described by the real network, in one process: to look at them.

    python -m tests.browser.site FOLDER

FOLDER keeps the media and what was described of them. Nothing else is needed; the log and the flags are in memory.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import simplejpeg

from benchmarks.sample_media import render
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.log.changes import BankChanged
from neardup.pipeline.log.proofs import Ask, Asked, Candidate, ProofExpired, answer
from neardup.pipeline.log.records import Described, Record
from neardup.pipeline.match.apply.make import read_calibration
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.media.reader import frame_at
from neardup.pipeline.prove.files import FilePictures
from neardup.pipeline.prove.prover import Prover
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.memory import MemoryStore
from neardup.pipeline.types import Limits
from neardup.workers.api.app import make_app
from neardup.workers.api.auth import Tokens, line_of
from neardup.workers.api.context import Context
from neardup.workers.api.feed import Hub
from neardup.workers.api.networks import Networks, load_network, own_network
from neardup.workers.api.originals import Originals, WantedContent
from neardup.workers.api.server import Server
from neardup.workers.api.uploads import UploadDescriber
from neardup.workers.api.view import View
from neardup.workers.match.worker import open_state
from tests.workers.api.build import MemoryLog

TOKEN = "nd_ann"
BANK = "blocked"
_BANKED = "Photos/Heroes/portrait.heic"


class Files(Originals):
    """Originals that lie in a folder, by their ids."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        super().__init__(settings, "")
        self._folder = folder

    def picture(self, place: WantedContent, seconds: float, side: int) -> Future[bytes | None]:
        return self._pool.submit(self._jpeg, place.id, seconds, side)

    def _jpeg(self, id: str, seconds: float, side: int) -> bytes | None:
        return a_jpeg(self._folder / id, seconds, side)


class ProvedLog(MemoryLog):
    """Proves what waits as soon as it was written, from files in a folder; what `proves` says no to expires."""

    def __init__(self, folder: Path, limits: Limits, proves: Callable[[str], bool] = lambda _: True) -> None:
        super().__init__()
        self._folder = folder
        self._proves = proves
        self._pictures = FilePictures(limits)
        self._prover = Prover(self._pictures)

    def append(self, records: Sequence[Record]) -> list[int]:
        """See `MemoryLog`."""
        for record in records:
            if isinstance(record, Described):
                self._pictures.add(record, self._folder / record.id)
        offsets = super().append(records)
        assert self.context is not None
        assert self.context.view is not None
        while answers := self.context.view.look(self._answers).result():
            super().append(answers)
        return offsets

    def _answers(self, state: State) -> list[Record]:
        waiting = [
            (item.id, one.offset, [pair.candidate for pair in one.pairs if pair.open])
            for one in state.undecided
            if not one.expired and (item := state.items.get(one.item)) is not None
        ]
        waiting += [(one.id, one.offset, [one.pair.candidate]) for one in state.later]
        return [self._answer(id, offset, asks) for id, offset, asks in waiting]

    def _answer(self, id: str, offset: int, asks: Sequence[Candidate]) -> Record:
        if not self._proves(id):
            return ProofExpired(id=id, offset=offset)
        wanted = [ask for ask in asks if isinstance(ask, Ask)]
        proofs = [self._prover.prove(id, ask.reference, ask.moments, ask.boxes) for ask in wanted]
        return answer(Asked(id=id, offset=offset, asks=tuple(wanted)), proofs)


def a_jpeg(path: Path, seconds: float, side: int) -> bytes:
    return simplejpeg.encode_jpeg(np.ascontiguousarray(frame_at(path, seconds, side)), 85, "RGB", "420")


def media_in(folder: Path) -> Path:
    """Return the folder of sample media, made once."""
    media = folder / "media"
    if not media.exists():
        render(media)
    return media


def describe(folder: Path, uploads: UploadDescriber) -> list[Described]:
    """Return the records of all media, as an embed worker would write them; kept in a file."""
    kept = folder / "described.msgpack"
    if kept.exists():
        return msgspec.msgpack.decode(kept.read_bytes(), type=list[Described])
    media = media_in(folder)
    paths = sorted((path for path in media.rglob("*") if path.is_file()), key=lambda path: (path.stat().st_mtime, path))
    records = []
    for path in paths:
        try:
            parts = uploads.describe(path.read_bytes()).result()
        except InvalidFrame:
            continue
        records += [msgspec.structs.replace(part, id=str(path.relative_to(media))) for part in parts]
    kept.write_bytes(msgspec.msgpack.encode(records))
    return records


@contextmanager
def site(folder: Path, port: int = 0, proves: Callable[[str], bool] = lambda _: True) -> Iterator[str]:
    """Run the pages and return their address; TOKEN is an admin's.

    Args:
        proves: whether an item of this id is proved; one that is not waits as `unproved`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(blobs=str(folder / "blobs"), api_rate_per_second=0)
    checkpoint = load_checkpoint("default")
    calibration = read_calibration(checkpoint, "")
    state = open_state(checkpoint, calibration, settings, fresh(folder / "state"), similar="searched")
    with closing(UploadDescriber(lambda: make_embedder(checkpoint, "cpu"), settings)) as uploads:
        view, store = View(state, -1), MemoryStore()
        log = ProvedLog(media_in(folder), settings.limits, proves)
        tokens = Tokens(line_of("ann", "admin", TOKEN))
        networks = Networks(own_network(checkpoint, settings, uploads), {}, partial(load_network, settings))
        context = Context(settings, "sample", tokens, store, log, networks, Hub(store), view=view, unready="")
        context.originals = Files(settings, media_in(folder))
        context.similar_space = checkpoint.similar_space
        log.context = context
        for record in describe(folder, uploads):
            if record.part == 0:
                jpeg = a_jpeg(media_in(folder) / record.id, record.seconds / 3, settings.thumbnail_side)
                context.blobs.put_thumbnail(record.id, jpeg, record.sha256.hex())
            log.append(in_bank(record))
        server = Server(make_app(context), "127.0.0.1", port)
        try:
            yield f"http://127.0.0.1:{server.port}"
        finally:
            server.close()
            view.close()


def in_bank(record: Described) -> list[Record]:
    """Return a record, and where it is the chosen one a bank with it as its reference before."""
    if record.id != _BANKED:
        return [record]
    return [BankChanged(bank=BANK, note="sample"), msgspec.structs.replace(record, bank=BANK), record]


def fresh(folder: Path) -> Path:
    """Return a folder of this name with a time, so that no state is found in it."""
    path = folder / f"{time.time_ns()}"
    path.mkdir(parents=True)
    return path


def main() -> None:
    with site(Path(sys.argv[1]), 8631) as address:
        sys.stdout.write(f"{address} token {TOKEN}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
