"""How files end: of those with identical bytes one is described, and the others wait for how that ends."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator

from neardup.pipeline.embed.description import Description
from neardup.pipeline.errors import InvalidFrame, Reason
from neardup.pipeline.scan.catalog import Content, Packed, pack
from neardup.pipeline.scan.decode import Decoder, End, Job
from neardup.pipeline.scan.finished import Finished
from neardup.pipeline.types import Media

PASSING = frozenset({Reason.UNREADABLE, Reason.VANISHED, Reason.CHANGED})
"""Reasons that say something about the moment and not about the content of a file."""


class Twins:
    """Takes in how jobs ended. For one thread.

    Args:
        decoder: what decoded them.
        known: hashes of contents that need no description.
        again: told of jobs that are to be decoded once more.
    """

    def __init__(self, decoder: Decoder, known: Container[bytes], again: Callable[[Job], object]) -> None:
        self._decoder = decoder
        self._known = known
        self._again = again
        self._settled: dict[bytes, InvalidFrame | None] = {}
        self._twins: dict[bytes, list[Job]] = {}

    def settle(self, job: Job, end: End) -> Iterator[Finished]:
        """Yield the file, and those that waited because their bytes are the same; or keep it waiting itself."""
        sha256, error = end.sha256, end.error or job.description.error
        if sha256 is None:
            yield Finished(job.file, error=error)
        elif end.media is None and error is None:
            if sha256 in self._settled or sha256 in self._known:
                yield _twin(job, sha256, self._settled.get(sha256))
            elif self._decoder.is_taken(sha256):
                self._twins.setdefault(sha256, []).append(job)
            else:  # the one that it would wait for has just failed
                self._again(job)
        else:
            content = None if end.media is None or error is not None else _content(job.description, end.media, sha256)
            yield Finished(job.file, sha256 if error is None else None, content, error)
            twins = self._twins.pop(sha256, [])
            if error is not None and error.reason in PASSING:  # which says nothing of the twins
                self._decoder.forget(sha256)
                for twin in twins:
                    self._again(twin)
                return
            self._settled[sha256] = error
            for twin in twins:
                yield _twin(twin, sha256, error)


def _twin(job: Job, sha256: bytes, error: InvalidFrame | None) -> Finished:
    return Finished(job.file, sha256 if error is None else None, error=error)


def _content(description: Description, media: Media, sha256: bytes) -> Packed:
    return pack(Content(sha256, media.format, description.parts(media, sha256)))
