"""JPEGs decoded and squeezed to tiles on a GPU, many at a time.

A picture that is not plain, too small or large, cut off, or that nvJPEG fails on gets no answer here: the caller
decodes it on the CPU, which also has the words for what is wrong with it.

The tile is made in the steps of `image.open_image`, but for two: libjpeg shrinks while it decodes, here whole blocks of
pixels are averaged; and nvJPEG, as torchvision calls it, repeats colours that were stored at half the resolution, where
libjpeg interpolates them. The first costs 0.5 of 255 on average, the second shows in small pictures only, so those are
left to the CPU (`still.SMALL`); the descriptors agree to a cosine of 0.995 (`tests/pipeline/media/test_nvjpeg.py`).
"""

from __future__ import annotations

import io
import logging
import queue
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import Any, TypeAlias, TypeVar

import torch
from PIL import Image
from torch import Tensor

from neardup.pipeline.errors import PipelineError
from neardup.pipeline.media.extent import ends_early
from neardup.pipeline.media.identify import JPEG
from neardup.pipeline.media.jpeg import JpegHeader, read_plain_jpeg
from neardup.pipeline.media.orientation import SIDEWAYS, upright_shape
from neardup.pipeline.media.preview import Viewer
from neardup.pipeline.media.regions import GRID, Mode, find_regions
from neardup.pipeline.media.shrink import Picture, Stack
from neardup.pipeline.media.still import SMALL, jpeg_extras
from neardup.pipeline.types import Extras, Frame, Kind, Limits, Media, Pixels

logger = logging.getLogger(__name__)
T = TypeVar("T")
Decode: TypeAlias = Callable[[list[Tensor], torch.device], list[Tensor]]
"""uint8 (bytes,) of each file, on the CPU, to uint8 (3, h, w) of each picture; RuntimeError if any fails."""
BATCH = 64
_BATCH_PIXELS, _LARGE_PIXELS = 2**26, 2**25
"""Pixels on the GPU at once in a lane, of six bytes, each picture given as much room as the largest; and those of a
picture that is left to the CPU."""
_LONG = 16
"""Ratio of sides above which a picture is left to the CPU."""
_LANES = 3


@dataclass(frozen=True, slots=True)
class GpuPicture:
    """A picture that was decoded on a GPU.

    Attributes:
        frames: the whole of it, and its regions.
        small: uint8 (h, w, 3), its longer side as was asked for at most; None if it was not.
        extras: what else the file holds.
    """

    header: JpegHeader
    frames: tuple[Frame, ...]
    small: Pixels | None
    extras: Extras

    def media(self, preview: Viewer | None = None) -> Media:
        """Return it as `image.open_image` does."""
        if preview is not None and self.small is not None:
            preview.take(self.small)
        height, width = upright_shape(self.header.height, self.header.width, self.header.orientation)
        return Media(
            kind=Kind.IMAGE,
            format=JPEG.name,
            width=width,
            height=height,
            seconds=0.0,
            pixels_digest=self.header.digest,
            frames=iter(self.frames),
            extras=self.extras,
        )


@dataclass(frozen=True, slots=True)
class _File:
    """A file that may be decoded here; `place` is its place among those that were given."""

    place: int
    data: bytes
    header: JpegHeader

    @property
    def shape(self) -> tuple[int, int]:
        return upright_shape(self.header.height, self.header.width, self.header.orientation)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is to be made of pictures: tiles of a size, small pictures of a side (0: none), and regions."""

    size: int
    side: int
    regions: Mode


class GpuJpegs:
    """A decoder for all threads of a process. Each lane is a stream: one decodes while another resizes and copies.

    Args:
        device: "cpu" runs the same code without streams, for tests.
        decode: nvJPEG, or what stands in for it.
    """

    def __init__(self, device: str = "cuda", decode: Decode | None = None, lanes: int = _LANES) -> None:
        self._device = torch.device(device)
        self._on_gpu = self._device.type == "cuda"
        self._api: Any = torch.cuda if self._on_gpu else torch.cpu
        # One that is waited for without keeping a core busy.
        self._event: Callable[[], Any] = partial(torch.cuda.Event, blocking=True) if self._on_gpu else torch.cpu.Event
        self._decode = decode or decode_by_torchvision
        self._lanes: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(lanes):
            self._lanes.put(self._api.Stream())

    def open(
        self, files: Sequence[bytes], size: int, limits: Limits, side: int = 0, regions: Mode = "none"
    ) -> list[GpuPicture | None]:
        """Decode pictures; None stands for each that the CPU is to decode.

        Args:
            files: whole files of any kind.
            size: side of the tiles. side: longer side of the small pictures, 0 for none. regions: see `Cutter`.
        Raises:
            PipelineError: the GPU failed, and this process cannot use it any more.
        """
        admitted = [
            _File(place, data, header)
            for place, data in enumerate(files)
            if (header := _admit(data, size, limits)) is not None
        ]
        pictures: list[GpuPicture | None] = [None] * len(files)
        admitted.sort(key=lambda file: max(file.shape))
        for batch in _batches(admitted, lambda file: file.shape):
            for file, picture in zip(batch, self._open_batch(batch, _Wish(size, side, regions)), strict=True):
                pictures[file.place] = picture
        return pictures

    def _open_batch(self, batch: Sequence[_File], wish: _Wish) -> list[GpuPicture | None]:
        lane = self._lanes.get()
        try:
            with torch.inference_mode(), self._api.stream(lane):
                return self._pictures(batch, wish)
        except torch.AcceleratorError as error:
            raise PipelineError(f"the GPU failed, a new process has to begin: {error}") from error
        except Exception:  # full memory, a fault of ours: it costs time and no picture
            logger.warning("GPU decoding failed, to be done by the CPU pictures=%d", len(batch), exc_info=True)
            return [None] * len(batch)
        finally:
            self._lanes.put(lane)

    # -- on the stream of a lane -------------------------------------------------------------------------------------

    def _pictures(self, batch: Sequence[_File], wish: _Wish) -> list[GpuPicture | None]:
        files = [torch.frombuffer(bytearray(file.data), dtype=torch.uint8) for file in batch]
        found = [(file, rgb) for file, rgb in zip(batch, self._decode_each(files), strict=True) if rgb is not None]
        if not found:
            return [None] * len(batch)
        whole = [_whole(upright(rgb, file.header.orientation), wish.size) for file, rgb in found]
        stack = Stack(whole)
        coming = self._to_host(stack.squeezed(wish.size))
        smalls = self._smalls(stack, wish.side)
        self._wait()
        tiles: Pixels = coming.numpy()
        parts = zip(found, tiles, self._regions(whole, tiles, wish), smalls, strict=True)
        made = {
            file.place: GpuPicture(
                file.header, (Frame(0.0, tile), *regions), small, jpeg_extras(file.data, file.header, tile)
            )
            for (file, _), tile, regions, small in parts
        }
        return [made.get(file.place) for file in batch]

    def _smalls(self, stack: Stack, side: int) -> Iterator[Pixels | None]:
        """Begin to make small pictures; they can be taken out when the stream was waited for."""
        if not side:
            return repeat(None, len(stack))
        coming, shapes = stack.fitted(side)
        pairs = zip(self._to_host(coming).numpy(), shapes, strict=True)
        return (small[:height, :width] for small, (height, width) in pairs)

    def _regions(self, whole: Sequence[Picture], tiles: Pixels, wish: _Wish) -> list[list[Frame]]:
        """Return the regions of each picture, cut from the pixels that are still on the GPU."""
        frames: list[list[Frame]] = [[] for _ in whole]
        if wish.regions == "none":
            return frames
        found = [GRID] * len(whole) if wish.regions == "grid" else find_regions(tiles)
        cut = [
            (place, box, part)
            for place, boxes in enumerate(found)
            for box in boxes
            if (part := whole[place].cut(box)) is not None
        ]
        for some in _batches(cut, lambda one: one[2].rgb.shape[1:]):
            coming = self._to_host(Stack([part for _, _, part in some]).squeezed(wish.size, whole_blocks=True))
            self._wait()
            for (place, box, _), tile in zip(some, coming.numpy(), strict=True):
                frames[place].append(Frame(0.0, tile, box))
        return frames

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

    def _to_host(self, pixels: Tensor) -> Tensor:
        """Begin to copy to the host. The memory is pinned, and free again when the last tile in it is forgotten."""
        here = torch.empty(pixels.shape, dtype=pixels.dtype, pin_memory=self._on_gpu)
        return here.copy_(pixels, non_blocking=True)

    def _wait(self) -> None:
        """Wait for all that was begun on the lane's stream."""
        event = self._event()
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


def reduction(height: int, width: int, size: int) -> int:
    """Return the whole factor by which `image.open_image` shrinks a JPEG before it squeezes it."""
    decoded = next((scale for scale in (8, 4, 2) if min(height, width) // scale >= size), 1)
    return decoded * max(1, -(-min(height, width) // decoded) // (2 * size))


def upright(rgb: Tensor, orientation: int) -> Tensor:
    """Return a picture (3, h, w) turned and mirrored as `orientation.upright` does."""
    if orientation >= SIDEWAYS:
        rgb = rgb.transpose(1, 2)
    flipped = [2] * (orientation in (2, 3, 6, 7)) + [1] * (orientation in (3, 4, 7, 8))
    return rgb.flip(flipped) if flipped else rgb.contiguous()


def _whole(rgb: Tensor, size: int) -> Picture:
    height, width = rgb.shape[1:]
    return Picture(rgb, reduction(height, width, size))


def _batches(items: Sequence[T], shape: Callable[[T], Sequence[int]]) -> Iterator[list[T]]:
    """Yield as many items as fit beside each other, each given as much room as the largest.

    Args:
        shape: height and width of an item, in pixels.
    """
    batch: list[T] = []
    height = width = 0
    for item in items:
        rows, columns = shape(item)
        height, width = max(height, rows), max(width, columns)
        if batch and (len(batch) == BATCH or (len(batch) + 1) * height * width > _BATCH_PIXELS):
            yield batch
            batch, height, width = [], rows, columns
        batch.append(item)
    if batch:
        yield batch


def _admit(data: bytes, size: int, limits: Limits) -> JpegHeader | None:
    """Return the header of a picture that may be decoded here."""
    if len(data) > limits.max_bytes or (header := read_plain_jpeg(data)) is None:
        return None
    short, long = sorted((header.width, header.height))
    if short < SMALL * size or long > _LONG * short or short * long > min(limits.max_pixels, _LARGE_PIXELS):
        return None
    return None if ends_early(JPEG, io.BytesIO(data)) else header
