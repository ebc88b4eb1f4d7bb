"""Prove the pairs of one item after the other by packs, in threads that each have key points and packs of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from neardup.pipeline.errors import DependencyError
from neardup.pipeline.log.changes import SEEN
from neardup.pipeline.log.proofs import Ask, Asked
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import fetch_rules
from neardup.pipeline.prove.finding import Finding, Proved
from neardup.pipeline.prove.pack import PackPictures, key_of, live_seconds, moments_at
from neardup.pipeline.prove.prover import Prover
from neardup.pipeline.settings import Settings
from neardup.workers.run.telemetry import PROOF_SECONDS

logger = logging.getLogger(__name__)
UNAVAILABLE, FAILED, LAPSED = "unavailable", "failed", "lapsed"
_KEYPOINT_BYTES = 64 * 2**20
"""Of each thread."""
_DECODE_SECONDS = 5.0
"""Processor seconds for an original that a document is read from."""


class PairProver:
    """Proves pairs by what is stored of both; may be used by any thread.

    Args:
        pictures: makes a source of pictures for one more thread.
    """

    def __init__(self, pictures: Callable[[], PackPictures]) -> None:
        self._pictures = pictures
        self._own = threading.local()

    def __call__(self, asked: Asked) -> list[tuple[Proved | None, str]]:
        """Return a proof for each ask of an item, None where there is none, and what is counted.

        Spare ones are not proved where another candidate of `seen` is a copy.

        Raises:
            DependencyError: the blob store does not answer; nothing can be said.
        """
        found = {ask: self._prove(asked, ask) for ask in asked.asks if not ask.spare}
        copied = any(
            ask.bank == SEEN and proved and proved.finding is Finding.COPY for ask, (proved, _) in found.items()
        )
        return [
            found[ask] if ask in found else (None, LAPSED) if copied else self._prove(asked, ask) for ask in asked.asks
        ]

    def _prove(self, asked: Asked, ask: Ask) -> tuple[Proved | None, str]:
        started = time.monotonic()
        try:
            proved = self._proof(asked, ask)
        except DependencyError:
            raise
        except Exception:  # a fault of ours must not let the item hang
            logger.exception(
                "proof failed item=%r offset=%d bank=%s reference=%r", asked.id, asked.offset, ask.bank, ask.reference
            )
            return None, FAILED
        if proved is None:
            return None, UNAVAILABLE
        PROOF_SECONDS.observe(time.monotonic() - started)
        return proved, proved.finding.value

    def _proof(self, asked: Asked, ask: Ask) -> Proved | None:
        pictures, prover = self._of_thread()
        item = key_of(SEEN, asked.id, asked.sha256)
        reference = key_of(ask.bank, ask.reference, ask.sha256)
        other = pictures.pack(reference)
        if other is None:
            return None
        live = not asked.sha256 and bool(ask.moments)
        own = pictures.live_pack(item, live_seconds(other, ask.moments)) if live else pictures.pack(item)
        if own is None:
            return None
        moments = moments_at(own, other, ask.moments)
        return None if moments is None else prover.prove(item, reference, moments, ask.boxes)

    def _of_thread(self) -> tuple[PackPictures, Prover]:
        if not hasattr(self._own, "prover"):
            self._own.pictures = self._pictures()
            self._own.prover = Prover(self._own.pictures, _KEYPOINT_BYTES)
        return self._own.pictures, self._own.prover


def pair_prover(settings: Settings) -> PairProver:
    """Return what proves pairs by the blob store; raises ConfigError where that cannot be used."""
    blobs = Blobs(settings.blobs_url)
    limits = replace(settings.limits, max_decode_seconds=_DECODE_SECONDS, max_decode_ratio=0.0)
    return PairProver(lambda: PackPictures(blobs, limits, fetch_rules(settings)))
