"""The describing engine of an embed worker: processes, or threads of the worker itself.

One worker reads and feeds as many processes as it has threads to use: so what a decoder does to its process costs one
item, and partitions need not be as many as processes. More workers of the group share more partitions. On a GPU the
network is the worker's, which all its processes feed; its threads, if it describes in them, decode on the GPU, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neardup.pipeline.describe.choose import count_processes, shares_network
from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.driver import Describer
from neardup.pipeline.describe.orders import Setup
from neardup.pipeline.describe.processes import AHEAD, ORDER_ITEMS, ProcessDescriber
from neardup.pipeline.describe.threads import ThreadDescriber
from neardup.pipeline.embed.checkpoint import Checkpoint, load_checkpoint
from neardup.pipeline.embed.embedder import BatchEmbedder, make_embedder
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.settings import Settings, usable_cores
from neardup.pipeline.types import Descriptors
from neardup.workers.embed.known_content import look_digest
from neardup.workers.embed.known_good import GoodSource, prove_by, prove_with
from neardup.workers.embed.record import PolledItem
from neardup.workers.run.gpu import watch_gpu
from neardup.workers.run.observer import Telemetry

logger = logging.getLogger(__name__)
CPU_BATCH, GPU_BATCH = 32, 256
_WRITERS = 16
"""Thumbnails on their way at once to a store that is elsewhere."""
_START_SECONDS = 300.0


@dataclass(frozen=True)
class Engine:
    """What describes items for one worker after the other.

    Attributes:
        space: of the network. look: see `known_content.look_digest`. most_items: under way at once.
        make: returns a describer; called for each worker.
        prove: returns why a known good picture fails with a describer, "" if it does not.
    """

    space: str
    look: bytes
    most_items: int
    make: Callable[[], Describer[PolledItem]]
    prove: Callable[[Describer[PolledItem]], str]


def open_engine(settings: Settings) -> Engine:
    """Return the engine, after it has described a picture that is known to be good.

    Raises:
        ConfigError: an unusable checkpoint, or a device that is not there.
    """
    checkpoint = load_checkpoint(settings.model)
    # As many as decode: several workers of one machine share its cores by that setting, see `up`.
    threads = min(settings.worker_threads, usable_cores())
    if count := count_processes(settings, threads):
        return _in_processes(settings, checkpoint, count)
    return _in_threads(settings, checkpoint, threads)


def _in_processes(settings: Settings, checkpoint: Checkpoint, count: int) -> Engine:
    say_what_has_no_effect(settings)
    look = _look(settings, checkpoint)
    setup = Setup(checkpoint, look, fetch_seconds=settings.fetch_seconds)

    share: Callable[[], BatchEmbedder] | None = None
    if shares_network(settings):
        embedder = _open_network(settings, checkpoint, count)
        share = lambda: embedder  # noqa: E731

    def make() -> ProcessDescriber[PolledItem | GoodSource]:
        return ProcessDescriber(count, setup, Telemetry(), fair=True, share=share)

    def describe(describer: ProcessDescriber[PolledItem | GoodSource], file: bytes) -> Descriptors:
        done = describer.describe_now(GoodSource(file), _START_SECONDS)
        if done.error is not None:
            raise done.error
        return np.asarray(done.result, np.float32)

    first = make()
    try:
        prove = prove_by(lambda file: describe(first, file))
    except BaseException:
        first.close()
        raise
    ready = [first]
    logger.info("network ready space=%s processes=%d", checkpoint.space, count)
    return Engine(
        checkpoint.space,
        look_digest(look),
        (AHEAD + 2) * ORDER_ITEMS * count,
        lambda: ready.pop() if ready else make(),  # type: ignore[arg-type, return-value]
        lambda describer: prove(lambda file: describe(describer, file)),  # type: ignore[arg-type]
    )


def say_what_has_no_effect(settings: Settings) -> None:
    """Log a setting that was given and that processes do not use."""
    if "max_batch_wait_seconds" in settings.model_fields_set:
        logger.warning("NEARDUP_MAX_BATCH_WAIT_SECONDS has no effect: processes embed at once what they decode")


def _in_threads(settings: Settings, checkpoint: Checkpoint, threads: int) -> Engine:
    embedder = _open_network(settings, checkpoint, threads)
    batch, jpegs, look = CPU_BATCH, None, _look(settings, checkpoint)
    if "cuda" in embedder.engine:
        from neardup.pipeline.media.nvjpeg import open_gpu_jpegs

        batch, jpegs = GPU_BATCH, open_gpu_jpegs()
    logger.info("network ready space=%s engine=%s", embedder.space, embedder.engine)

    def make() -> Describer[PolledItem]:
        return ThreadDescriber(
            embedder,
            look,
            settings.worker_threads,
            batch,
            settings.max_batch_wait_seconds,
            0 if Blobs(settings.blobs_url).local else _WRITERS,
            jpegs,
            Telemetry(),
        )

    prove = prove_with(embedder, checkpoint, jpegs)
    return Engine(embedder.space, look_digest(look), 4 * batch, make, lambda _describer: prove())


def _open_network(settings: Settings, checkpoint: Checkpoint, threads: int) -> BatchEmbedder:
    embedder = make_embedder(checkpoint, settings.device, threads=threads)
    if "cuda" in embedder.engine:
        watch_gpu()
    return embedder


def _look(settings: Settings, checkpoint: Checkpoint) -> Look:
    size = checkpoint.architecture.size
    return Look(size, settings.limits, settings.sample_fps, settings.regions, settings.thumbnail_side)
