"""JPEGs decoded and squeezed to tiles on a GPU, as many at a time as there are waiting.

Many threads call `GpuJpegs.open`, each with one picture; the one that finds a lane free takes along whatever waits. A
picture that is not plain, too small or large, cut off, or that nvJPEG fails on gets no answer here: the caller decodes
it on the CPU, which also has the words for what is wrong with it.

The tile is made in the steps of `image.open_image`, but for two: libjpeg shrinks while it decodes, here whole blocks of
pixels are averaged; and nvJPEG, as torchvision calls it, repeats colours that were stored at half the resolution, where
libjpeg interpolates them. The first costs 0.5 of 255 on average, the second shows in small pictures only, so those are
left to the CPU; the descriptors agree to a cosine of 0.995 (`tests/pipeline/media/test_nvjpeg.py`).
"""

from __future__ import annotations

import io
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from neardup.pipeline.errors import PipelineError
from neardup.pipeline.media.extent import ends_early
from neardup.pipeline.media.identify import JPEG
from neardup.pipeline.media.jpeg import PlainJpeg, read_plain_jpeg
from neardup.pipeline.media.orientation import SIDEWAYS, upright
from neardup.pipeline.media.preview import Preview
from neardup.pipeline.media.regions import Mode, find_regions
from neardup.pipeline.types import Frame, Kind, Limits, Media, Pixels

logger = logging.getLogger(__name__)
Decode: TypeAlias = Callable[[list[Tensor], torch.device], list[Tensor]]
"""uint8 (bytes,) of each file, on the CPU, to uint8 (3, h, w) of each picture; RuntimeError if any fails."""
BATCH = 256
_BATCH_PIXELS, _LARGE_PIXELS = 2**26, 2**25
"""Pixels on the GPU at once in a lane, and those of a picture that is left to the CPU."""
_LONG = 16
"""Ratio of sides above which a picture is left to the CPU: such a filter outgrows the memory of a GPU's blocks."""
_SMALL = 1.5
"""Shorter side, in tiles, below which a picture is left to the CPU: there repeated colours show; it is quickly done."""
_LANES = 2


@dataclass(frozen=True, slots=True)
class _Picture:
    """What comes back from the GPU, as it was stored: a tile, and a small picture if one was asked for."""

    tile: Pixels
    small: Pixels | None = None


@dataclass(frozen=True, slots=True)
class _Request:
    """A picture that waits: `side` is that of the small picture, 0 for none."""

    data: bytes
    pixels: int
    size: int
    side: int
    answer: Future[_Picture | None] = field(default_factory=Future)


class GpuJpegs:
    """A decoder for all threads of a process. Each lane is a stream: one decodes while another resizes and copies.

    Args:
        device: "cpu" runs the same code without streams, for tests.
        decode: nvJPEG, or what stands in for it.
    """

    def __init__(self, device: str = "cuda", decode: Decode | None = None, lanes: int = _LANES) -> None:
        self._device = torch.device(device)
        self._api: Any = torch.cuda if self._device.type == "cuda" else torch.cpu
        self._decode = decode or decode_by_torchvision
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._lanes: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(lanes):
            self._lanes.put(self._api.Stream())

    def open(
        self, data: bytes, size: int, limits: Limits, preview: Preview | None = None, regions: Mode = "none"
    ) -> Media | None:
        """Decode a picture as `image.open_image` does, or return None: then the CPU is to decode it.

        So it does where there are regions, which are cut from pixels that stay on the GPU.
        The digest of the pixels is another one than the CPU's: of the compressed picture without its metadata.

        Raises:
            PipelineError: the GPU failed, and this process cannot use it any more.
        """
        header = _admit(data, size, limits)
        if header is None or regions == "grid":
            return None
        request = _Request(data, header.width * header.height, size, preview.side if preview else 0)
        with self._lock:
            self._waiting.append(request)
        lane = self._lanes.get()
        try:  # each that waits leads once and takes at least one: nobody is left behind
            self._lead(lane)
        finally:
            self._lanes.put(lane)
        picture = request.answer.result()
        if picture is None:
            return None
        turn = header.orientation
        tile = upright(picture.tile, turn)
        if regions == "boxes" and any(find_regions(tile[None])):
            return None
        if preview is not None and picture.small is not None:
            preview.take(upright(picture.small, turn))
        sideways = turn >= SIDEWAYS
        return Media(
            kind=Kind.IMAGE,
            format=JPEG.name,
            width=header.height if sideways else header.width,
            height=header.width if sideways else header.height,
            seconds=0.0,
            pixels_digest=header.digest,
            frames=iter((Frame(pts=0.0, tile=tile),)),
        )

    def _lead(self, lane: Any) -> None:
        """Answer a batch of those that wait, if there are any left."""
        batch = self._take()
        if not batch:
            return
        try:
            with torch.inference_mode(), self._api.stream(lane):
                pictures = self._pictures(batch)
        except torch.AcceleratorError as error:
            failed = PipelineError(f"the GPU failed, a new process has to begin: {error}")
            for request in batch:
                request.answer.set_exception(failed)
            return
        except Exception:  # full memory, a fault of ours: it costs time and no picture
            logger.warning("GPU decoding failed, to be done by the CPU pictures=%d", len(batch), exc_info=True)
            pictures = [None] * len(batch)
        for request, picture in zip(batch, pictures, strict=True):
            request.answer.set_result(picture)

    def _take(self) -> list[_Request]:
        batch: list[_Request] = []
        room = _BATCH_PIXELS
        with self._lock:
            while self._waiting and len(batch) < BATCH and (not batch or self._waiting[0].pixels <= room):
                batch.append(self._waiting.popleft())
                room -= batch[-1].pixels
        return batch

    # -- on the stream of a lane -------------------------------------------------------------------------------------

    def _pictures(self, batch: Sequence[_Request]) -> list[_Picture | None]:
        files = [torch.frombuffer(bytearray(request.data), dtype=torch.uint8) for request in batch]
        coming: list[tuple[Tensor, ...] | None] = []
        for request, rgb in zip(batch, self._decode_each(files), strict=True):
            coming.append(None if rgb is None else self._shrunk(rgb, request))
        self._wait()
        return [None if shrunk is None else _Picture(*map(_array, shrunk)) for shrunk in coming]

    def _shrunk(self, rgb: Tensor, request: _Request) -> tuple[Tensor, ...]:
        """Return the tile, and the small picture if one was asked for, on their way to the host."""
        return tuple(self._to_host(pixels) for pixels in shrink(rgb, request.size, request.side))

    def _decode_each(self, files: list[Tensor]) -> list[Tensor | None]:
        """Return the picture of each file; a batch that fails is halved until those that fail stand alone."""
        # Torchvision decodes on a stream of its own, into memory of this one's, and waits for nothing on this one
        # (pytorch/vision #9606): so nothing may be under way here.
        self._wait()
        try:
            return list(self._decode(files, self._device))
        except torch.AcceleratorError:
            raise
        except RuntimeError as error:
            self._api.synchronize()  # what the failed call began still writes into memory that is free again
            if len(files) == 1:
                logger.debug("nvJPEG failed on a picture, which goes to the CPU error=%s", error)
                return [None]
        middle = len(files) // 2
        return self._decode_each(files[:middle]) + self._decode_each(files[middle:])

    def _to_host(self, rgb: Tensor) -> Tensor:
        """Begin to copy (3, h, w) to the host as (h, w, 3)."""
        pixels = rgb.permute(1, 2, 0).contiguous()
        here = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        return here.copy_(pixels, non_blocking=True)

    def _wait(self) -> None:
        """Wait for all that was begun on the lane's stream."""
        event = self._api.Event()
        event.record()
        event.synchronize()


def open_gpu_jpegs(device: str = "cuda") -> GpuJpegs | None:
    """Return a decoder, or None where nvJPEG is not to be had."""
    file = io.BytesIO()
    Image.new("RGB", (256, 256)).save(file, "JPEG")
    probe = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    try:
        decode_by_torchvision([probe], torch.device(device))
    except (ImportError, AttributeError, RuntimeError) as error:
        logger.warning("JPEGs are decoded on the CPU, nvJPEG does not work error=%s", error)
        return None
    return GpuJpegs(device)


def decode_by_torchvision(files: list[Tensor], device: torch.device) -> list[Tensor]:
    """See `Decode`. On a CPU it is libjpeg-turbo that decodes."""
    # Deprecated since 0.29 in favour of torchcodec, which wants torch 2.11.
    from torchvision.io import ImageReadMode, decode_jpeg

    pictures: list[Tensor] = decode_jpeg(files, mode=ImageReadMode.RGB, device=device)
    return pictures


def shrink(rgb: Tensor, size: int, side: int) -> tuple[Tensor, ...]:
    """Return the tile of a picture, and if `side` is not 0 also the picture with its longer side `side` at most.

    Args:
        rgb: uint8 (3, h, w) on any device.
    Returns:
        uint8 (3, size, size) and uint8 (3, h', w').
    """
    height, width = rgb.shape[1:]
    factor = reduction(height, width, size)
    pixels = rgb[None].float()
    if factor > 1:
        pixels = F.avg_pool2d(pixels, factor, ceil_mode=True, count_include_pad=False)
    # As `tile.squeeze`, but in floats: CUDA has no kernel for bytes.
    scales = (size * factor / height * (1 + 1e-9), size * factor / width * (1 + 1e-9))
    tile = F.interpolate(pixels, scale_factor=scales, mode="bilinear", antialias=True, recompute_scale_factor=False)
    return (_bytes(tile), _fit(pixels, side)) if side else (_bytes(tile),)


def reduction(height: int, width: int, size: int) -> int:
    """Return the whole factor by which `image.open_image` shrinks a JPEG before it squeezes it."""
    decoded = next((scale for scale in (8, 4, 2) if min(height, width) // scale >= size), 1)
    return decoded * max(1, -(-min(height, width) // decoded) // (2 * size))


def _fit(pixels: Tensor, side: int) -> Tensor:
    height, width = pixels.shape[2:]
    scale = side / max(height, width)
    if scale >= 1:
        return _bytes(pixels)
    fitting = (max(1, round(height * scale)), max(1, round(width * scale)))
    return _bytes(F.interpolate(pixels, size=fitting, mode="bilinear", antialias=True))


def _bytes(pixels: Tensor) -> Tensor:
    # (1, 3, h, w) -> (3, h, w)
    return pixels[0].round().to(torch.uint8)


def _array(pixels: Tensor) -> Pixels:
    """Copy out of pinned memory, which is scarce."""
    return np.array(pixels.numpy())


def _admit(data: bytes, size: int, limits: Limits) -> PlainJpeg | None:
    """Return the header of a picture that may be decoded here."""
    if len(data) > limits.max_bytes or (header := read_plain_jpeg(data)) is None:
        return None
    short, long = sorted((header.width, header.height))
    if short < _SMALL * size or long > _LONG * short or short * long > min(limits.max_pixels, _LARGE_PIXELS):
        return None
    return None if ends_early(JPEG, io.BytesIO(data)) else header
