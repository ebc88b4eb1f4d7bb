"""The CPU engine: the torch network, converted to OpenVINO.

Conversion needs torch and some seconds, so its result is cached for the next process, which then never imports torch.
The cache is only ever a shortcut: a file that is missing, torn or of another version is made anew, and a home that
cannot be written to is no error.

An int8 network runs on 8-bit kernels, and what is between them in float32. Where the processor's 8-bit products
saturate, it is converted in a form in which they cannot (`saturation.py`). A float network runs in bfloat16 where that
is faster and near enough (`precision.py`); then its first blocks (`Trunk.precise`) stay in float32, which costs 1 to
3 % and halves the angle to the float32 descriptor.

What OpenVINO makes of an int8 network for one thread is cached, too, for the processes that describe: they start in a
third of the time.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

import numpy as np

from neardup.pipeline.embed.checkpoint import Architecture, Checkpoint
from neardup.pipeline.embed.embedder import check_tiles, put_together
from neardup.pipeline.embed.hash import dct_hash
from neardup.pipeline.embed.openvino_core import get_converter, get_core, ov
from neardup.pipeline.embed.precision import choose_precision, identify_processor, saturates
from neardup.pipeline.embed.trunks import find_trunk
from neardup.pipeline.errors import DependencyError
from neardup.pipeline.files import write_whole
from neardup.pipeline.types import Descriptors, Embedded, Pixels

logger = logging.getLogger(__name__)
T = TypeVar("T")
BATCH, LEAST = 16, 8
"""Tiles in one request: about so many, as more gain nothing and leave the cache; fewer where threads would be idle."""
_CONVERSION = 3
"""Goes up when `_convert` or `_pack` change what is computed, so that older caches are not used."""
_DIGEST = 32
_LENGTH = 8


class OpenVinoEmbedder:
    """See `embedder.Embedder`. Each thread is a stream of its own, which takes whole batches.

    Threads are tied to no core: several processes would tie theirs to the same ones, and decoders be in their way.
    """

    def __init__(self, checkpoint: Checkpoint, threads: int, cache: Path | None = None) -> None:
        """Load the network, from the cache where it is there.

        Args:
            cache: folder for the converted network; the user's cache folder without it.
        """
        self.space, self.similar_space = checkpoint.space, checkpoint.similar_space
        self.dimension, self.size = checkpoint.architecture.dimension, checkpoint.architecture.size
        self._width = self.dimension + (checkpoint.similar.dimension if checkpoint.similar else 0)
        core = get_core()
        int8 = checkpoint.architecture.precision == "int8"
        precision, folder = "f32", cache or default_cache()
        if int8 and threads == 1:
            compiled = compile_once(core, checkpoint, folder)
        else:
            model = _load_sized(core, checkpoint, folder)
            if not int8:
                kept = _path(checkpoint, folder, narrow=False).with_suffix(f".precision-{identify_processor(core)}")
                precision = choose_precision(core, model, self.size, self.dimension, kept)
            compiled = core.compile_model(model, "CPU", _settings(threads, precision))
        # Two for each stream, so that one which is done finds the next at hand while another is held up.
        self._requests = [compiled.create_infer_request() for _ in range(2 * threads)]
        self._threads = threads
        self._lock = threading.Lock()
        self.engine = f"openvino {'int8' if int8 else precision} on cpu"
        self.processor = str(core.get_property("CPU", "FULL_DEVICE_NAME"))
        self.check_counts = (1, 3, threads * BATCH)
        self.remedy = (
            f"remove the folder {folder} and start again; if that does not help, uninstall openvino, "
            "so that torch computes, which is right and slower"
        )

    def embed(self, tiles: Pixels) -> Embedded:
        """See `embedder.Embedder.embed`."""
        vectors, (hashes, detail) = self._run(tiles, lambda: dct_hash(tiles))
        return put_together(vectors, self.dimension, hashes, detail)

    def rows(self, batches: Sequence[Pixels]) -> list[Descriptors]:
        """See `embedder.BatchEmbedder.rows`."""
        return [self._run(tiles, lambda: None)[0] for tiles in batches]

    def _run(self, tiles: Pixels, meanwhile: Callable[[], T]) -> tuple[Descriptors, T]:
        """Return the rows of tiles, and what `meanwhile` returned."""
        check_tiles(tiles, self.size)
        vectors = np.empty((len(tiles), self._width), np.float32)
        parts = self._parts(len(tiles))
        lanes = len(self._requests)
        tiles = np.ascontiguousarray(tiles)
        with self._lock:
            try:
                for lane, part in enumerate(parts[:lanes]):
                    self._requests[lane].start_async({0: tiles[part]}, share_inputs=True)
                aside = meanwhile()
                for i, part in enumerate(parts):
                    request = self._requests[i % lanes]
                    request.wait()
                    vectors[part] = request.get_output_tensor().data
                    if i + lanes < len(parts):
                        request.start_async({0: tiles[parts[i + lanes]]}, share_inputs=True)
            finally:  # an interrupt leaves no request running on tiles that may go away
                for request in self._requests:
                    request.wait()
        return vectors, aside

    def _parts(self, count: int) -> list[slice]:
        """Cut a batch into requests of nearly the same size."""
        requests = max(round(count / BATCH), min(self._threads, count // LEAST), 1) if count else 0
        borders = [count * i // requests for i in range(requests + 1)] if requests else []
        return [slice(start, stop) for start, stop in pairwise(borders)]


def default_cache() -> Path:
    """Return the user's cache folder for converted networks."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "neardup" / "openvino"


def is_converted(checkpoint: Checkpoint, cache: Path | None = None) -> bool:
    """Return whether the cache has the network for this version of OpenVINO."""
    folder = cache or default_cache()
    return any(_path(checkpoint, folder, narrow).is_file() for narrow in (False, True))


def load_model(core: Any, checkpoint: Checkpoint, cache: Path, narrow: bool | None = None) -> Any:
    """Return the converted network, not yet compiled; from the cache where it is there.

    A `narrow` one has no sum of two 8-bit products beyond 16 bits; without the word, this processor decides.
    """
    if narrow is None:
        narrow = _is_narrow(core, checkpoint, cache)
    path = _path(checkpoint, cache, narrow)
    model = _unpack(core, _read(path))
    if model is not None:
        return model
    with _alone(path):
        model = _unpack(core, _read(path))  # another process may have made it meanwhile
        if model is not None:
            return model
        logger.info("network is converted for this processor, once, which takes up to half a minute path=%s", path)
        packed = _pack(_convert(checkpoint, narrow), checkpoint.architecture)
        try:
            write_whole(path, packed)
        except DependencyError as error:
            logger.info("converted network not cached path=%s error=%s", path, error)
    model = _unpack(core, packed)
    assert model is not None
    return model


def compile_once(core: Any, checkpoint: Checkpoint, cache: Path) -> Any:
    """Return an int8 network compiled for one thread; from the cache where it is there, whole, and of this processor.

    Before it is cached it is tried: what comes back from OpenVINO's export must compute the same, bit by bit.
    """
    settings = _settings(1, "f32")
    made_for = hashlib.sha256(f"{identify_processor(core)} {sorted(settings.items())}".encode()).hexdigest()[:12]
    path = _path(checkpoint, cache, _is_narrow(core, checkpoint, cache)).with_suffix(f".{made_for}")
    kept = _rest(_read(path))
    if kept:
        try:
            return core.import_model(io.BytesIO(kept), "CPU", settings)
        except RuntimeError as error:
            logger.info("compiled network not used path=%s error=%s", path, error)
            kept = None
    compiled = core.compile_model(_load_sized(core, checkpoint, cache), "CPU", settings)
    if kept is None:  # nothing is kept where it was tried in vain
        found = _exported(core, compiled, settings, checkpoint.architecture.size)
        try:
            write_whole(path, hashlib.sha256(found).digest() + found)
        except DependencyError as error:
            logger.info("compiled network not cached path=%s error=%s", path, error)
    return compiled


def _exported(core: Any, compiled: Any, settings: dict[str, object], size: int) -> bytes:
    """Return a compiled network as bytes, none where another would come back from them."""
    tiles = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    try:
        exported = compiled.export_model().getvalue()
        again = core.import_model(io.BytesIO(exported), "CPU", settings)
        same = [one.create_infer_request().infer({0: tiles})[0] for one in (compiled, again)]
    except RuntimeError as error:
        logger.info("compiled network cannot be cached error=%s", error)
        return b""
    return bytes(exported) if np.array_equal(*same) else b""


def _settings(threads: int, precision: str) -> dict[str, object]:
    return {
        "NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision,
        "ENABLE_CPU_PINNING": False,
    }  # fmt: skip


def _load_sized(core: Any, checkpoint: Checkpoint, cache: Path) -> Any:
    """Return the converted network for tiles of its size."""
    model, size = load_model(core, checkpoint, cache), checkpoint.architecture.size
    model.reshape([-1, size, size, 3])
    return model


def _is_narrow(core: Any, checkpoint: Checkpoint, cache: Path) -> bool:
    return checkpoint.architecture.precision == "int8" and saturates(core, cache)


def _path(checkpoint: Checkpoint, cache: Path, narrow: bool) -> Path:
    version = hashlib.sha256(f"{_CONVERSION} {ov.get_version()}".encode()).hexdigest()[:8]
    heads = f"{checkpoint.space}-{checkpoint.similar_space}" if checkpoint.similar else checkpoint.space
    return cache / f"{heads}-{version}{'-16bit' if narrow else ''}.bin"


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Have processes that start together make a file one after the other, as far as its folder can be written to."""
    with ExitStack() as held:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context(path.with_suffix(".lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _convert(checkpoint: Checkpoint, narrow: bool) -> Any:
    """Return the network for OpenVINO; see `load_model`."""
    import torch

    from neardup.pipeline.embed.network import load_network
    from neardup.pipeline.embed.pooling import GeM, GeMByRoots

    convert = get_converter()
    network = load_network(checkpoint).requires_grad_(False)
    if narrow:
        find_trunk(checkpoint.architecture.trunk).narrow(network.trunk)
    if isinstance(network.pool, GeM) and GeMByRoots.fits(network.pool):
        network.pool = GeMByRoots(network.pool)
    size = checkpoint.architecture.size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated, and what the converter uses
        return convert(network, example_input=torch.zeros(2, size, size, 3, dtype=torch.uint8))


def _pack(model: Any, architecture: Architecture) -> bytes:
    """Return the network as one byte string: digest of the rest, length of the graph, graph (XML), weights."""
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "model.xml"
        # The steps of an int8 network are no float16; the weights of a float one are, in the checkpoint already.
        ov.save_model(model, graph, compress_to_fp16=architecture.precision == "float")
        text = _keep_precise(graph, find_trunk(architecture.trunk).precise)
        weights = graph.with_suffix(".bin").read_bytes()
    rest = len(text).to_bytes(_LENGTH, "little") + text + weights
    return hashlib.sha256(rest).digest() + rest


def _keep_precise(graph: Path, blocks: int) -> bytes:
    """Return the XML of the graph with the layers of the trunk's first blocks marked to be computed in float32."""
    root = ElementTree.parse(graph).getroot()
    first = tuple(f"__module.trunk.{block}{mark}" for block in range(blocks) for mark in "./")
    for layer in root.iter("layer"):
        if layer.get("name", "").startswith(first) and layer.get("type") != "Const":
            info = layer.find("rt_info")
            if info is None:
                info = ElementTree.Element("rt_info")
                layer.insert(0 if layer.find("data") is None else 1, info)
            ElementTree.SubElement(info, "attribute", name="precise", version="0")
    return ElementTree.tostring(root)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _rest(data: bytes) -> bytes | None:
    """Return what follows its digest, None where that is another's."""
    rest = data[_DIGEST:]
    return rest if hashlib.sha256(rest).digest() == data[:_DIGEST] else None


def _unpack(core: Any, data: bytes) -> Any | None:
    """Return the network, or None where the bytes are not whole or not to be understood."""
    rest = _rest(data)
    if rest is None:
        return None
    end = _LENGTH + int.from_bytes(rest[:_LENGTH], "little")
    try:
        return core.read_model(model=rest[_LENGTH:end], weights=ov.Tensor(np.frombuffer(rest[end:], np.uint8)))
    except RuntimeError as error:
        logger.info("cached network not used error=%s", error)
        return None
