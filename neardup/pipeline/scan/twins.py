"""How files end: of those with identical bytes one is described, and the others wait for how that ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from neardup.pipeline.describe.decode import PASSING
from neardup.pipeline.describe.once import Once
from neardup.pipeline.describe.source import Done
from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.scan.finished import Finished
from neardup.pipeline.scan.sources import FileSource


class Twins:
    """Takes in how files ended. For one thread.

    Args:
        once: says who describes a content.
        again: is given files that are to be described once more.
    """

    def __init__(self, once: Once, again: Callable[[FileSource], object]) -> None:
        self._once = once
        self._again = again
        self._settled: dict[bytes, InvalidFrame | None] = {}
        self._twins: dict[bytes, list[FileSource]] = {}

    def settle(self, done: Done[FileSource]) -> Iterator[Finished]:
        """Yield the file, and those that waited because their bytes are the same; or keep it waiting itself."""
        source, sha256, error = done.source, done.sha256, done.error
        if not sha256:
            yield Finished(source.task.file, error=error)
        elif done.repeated:
            if sha256 in self._settled or self._once.knows(sha256):
                yield _twin(source, sha256, self._settled.get(sha256))
            elif self._once.is_taken(sha256):
                self._twins.setdefault(sha256, []).append(source)
            else:  # the one that it would wait for has just failed
                self._again(source)
        else:
            again = sha256 in self._settled and self._settled[sha256] is None  # another process had it, too
            yield Finished(source.task.file, None if error else sha256, None if again else done.result, error)
            twins = self._twins.pop(sha256, [])
            if error is not None and error.reason in PASSING:  # which says nothing of the twins
                for twin in twins:
                    self._again(twin)
                return
            self._settled[sha256] = error
            for twin in twins:
                yield _twin(twin, sha256, error)


def _twin(source: FileSource, sha256: bytes, error: InvalidFrame | None) -> Finished:
    return Finished(source.task.file, None if error else sha256, error=error)
