"""What the trunk, and a teacher, say of many views of pictures: all that the head for similar items is trained from.

On a CPU with OpenVINO, which takes a third of the time of torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from neardup.pipeline.embed.checkpoint import Checkpoint
from neardup.pipeline.embed.network import Siamese, load_network, read_trunk
from neardup.pipeline.embed.trunks import find_trunk
from neardup.pipeline.learn.shared.pictures import Pictures, squeeze
from neardup.pipeline.learn.train.options import TrainSettings
from neardup.pipeline.types import Pixels

BATCH, CHUNK = 8, 256
TEACHER_SIZE = 192
"""Of the tiles that the teacher sees, and at least of a view."""
MOST_ROWS = 60_000
"""Views in all, so that they fit into memory: about 5 kB each."""
Averages = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
_SMALLEST = 0.12
"""Least share of a picture's area that a view shows."""
_MIXED = 0.3
"""Share of the views that show two pictures, one over or in the other."""


class Tapped(nn.Module):
    """The averages of a trunk's maps at `taps`, side by side: uint8 tiles (n, s, s, 3) to float32 (n, c)."""

    def __init__(self, network: Siamese, taps: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.taps = network, taps

    def forward(self, tiles: Tensor) -> Tensor:
        return torch.cat(self.network.tapped(tiles, self.taps)[1], dim=1).float()

    @property
    def widths(self) -> list[int]:
        """How many columns belong to each of the taps."""
        with torch.inference_mode():
            return [part.shape[1] for part in self.network.tapped(torch.zeros(1, 32, 32, 3), self.taps)[1]]


def make_runner(module: nn.Module, size: int, device: str, threads: int) -> Callable[[Pixels], Averages]:
    """Return what computes a module's output for tiles (n, size, size, 3), n > 0, a batch at a time."""
    module = module.eval().requires_grad_(False).to(device)
    if device == "cpu" and find_spec("openvino") is not None:
        return _in_openvino(module, size, threads)

    def run(tiles: Pixels) -> Averages:
        with torch.inference_mode():
            parts = [module(torch.from_numpy(tiles[i : i + 64]).to(device)).cpu() for i in range(0, len(tiles), 64)]
        return torch.cat(parts).numpy()

    return run


def _in_openvino(module: nn.Module, size: int, threads: int) -> Callable[[Pixels], Averages]:
    from neardup.pipeline.embed.openvino_core import get_converter, get_core, ov

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.trace is deprecated, and what the converter uses
        model: Any = get_converter()(module, example_input=torch.zeros(2, size, size, 3, dtype=torch.uint8))
    model.reshape([-1, size, size, 3])
    hints = {"NUM_STREAMS": threads, "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    waiting = ov.AsyncInferQueue(get_core().compile_model(model, "CPU", hints), 2 * threads)

    def run(tiles: Pixels) -> Averages:
        parts: list[Averages] = [np.zeros(0, np.float32)] * -(-len(tiles) // BATCH)

        def keep(request: Any, place: int) -> None:
            parts[place] = request.get_output_tensor().data.copy()

        waiting.set_callback(keep)
        for place in range(len(parts)):
            waiting.start_async({0: np.ascontiguousarray(tiles[place * BATCH : (place + 1) * BATCH])}, place)
        waiting.wait_all()
        return np.concatenate(parts)

    return run


@dataclass(frozen=True)
class Seen:
    """What was said of v views of n pictures, the first of which is the whole picture; float16 to save memory.

    Attributes:
        taps: children of the trunk that were averaged. averages: (v, n, c).
        taught: (v, n, t), the teacher's unit rows; None without a teacher.
    """

    taps: tuple[int, ...]
    averages: Halves
    taught: Halves | None

    @property
    def channels(self) -> int:
        """c."""
        return int(self.averages.shape[2])


def look(checkpoint: Checkpoint, settings: TrainSettings, pictures: Pictures, tell: Callable[[float], object]) -> Seen:
    """Have both networks look at `settings.views` views of each picture, fewer of very many pictures.

    Averages are taken of the trunk's taps, and of the teacher's last two.

    Raises:
        ConfigError: weights that cannot be used.
    """
    network = load_network(replace(checkpoint, similar=None))
    taps, size = find_trunk(checkpoint.architecture.trunk).taps, checkpoint.architecture.size
    ours = make_runner(Tapped(network, taps), size, settings.device, settings.threads)
    theirs, widths = None, list[int]()
    if settings.teacher is not None:
        teacher = read_trunk(settings.teacher, settings.architecture)
        tapped = Tapped(teacher, (len(teacher.blocks) - 2, len(teacher.blocks) - 1))
        theirs, widths = make_runner(tapped, TEACHER_SIZE, settings.device, settings.threads), tapped.widths
    count = len(pictures.pixels)
    views = max(1, min(settings.views, MOST_ROWS // count))
    averages, taught = list[Halves](), list[Halves]()
    for number in range(views):
        for start in range(0, count, CHUNK):
            tell((number + start / count) / views)
            some = range(start, min(start + CHUNK, count))
            drawn = [_view(pictures, index, number, settings.seed, max(size, TEACHER_SIZE)) for index in some]
            averages.append(ours(np.stack([squeeze(one, size) for one in drawn])).astype(np.float16))
            if theirs is not None:
                taught.append(theirs(np.stack([squeeze(one, TEACHER_SIZE) for one in drawn])).astype(np.float16))
    seen = np.concatenate(averages).reshape(views, count, -1)
    return Seen(taps, seen, None if not taught else _unit(np.concatenate(taught).reshape(views, count, -1), widths))


def _unit(taught: Halves, widths: Sequence[int]) -> Halves:
    """Return rows (v, n, t) less the mean whole picture, of unit length, to which each tap gives the same."""
    parts = []
    for part in np.split(taught.astype(np.float32), np.cumsum(widths)[:-1], axis=2):
        centred = part - part[0].mean(axis=0)
        parts.append(centred / (np.linalg.norm(centred, axis=2, keepdims=True) + 1e-9))
    rows: Halves = (np.concatenate(parts, axis=2) / len(widths) ** 0.5).astype(np.float16)
    return rows


def _view(pictures: Pictures, index: int, number: int, seed: int, size: int) -> Pixels:
    """Return a view of a picture; that of number 0 is the whole picture."""
    pixels = pictures.pixels
    if number == 0:
        return pixels[index]
    random = np.random.default_rng((seed, number, index))
    return draw_view(pixels[index], pixels[int(random.integers(len(pixels)))], random, size)


def draw_view(pixels: Pixels, other: Pixels, random: np.random.Generator, size: int) -> Pixels:
    """Return a part of a picture as a tile, sometimes mirrored, sometimes with a part of another over or in it."""
    view = _part(pixels, random, size)
    if random.random() >= _MIXED:
        return np.asarray(view)
    second = _part(other, random, size)
    if random.random() < 0.5:
        return np.asarray(Image.blend(view, second, random.uniform(0.2, 0.8)))
    side = int(random.uniform(0.3, 0.75) * size)
    left, top = random.integers(0, size - side, 2).tolist()
    view.paste(second.resize((side, side), Image.Resampling.BILINEAR), (left, top))
    return np.asarray(view)


def _part(pixels: Pixels, random: np.random.Generator, size: int) -> Image.Image:
    height, width = pixels.shape[:2]
    area, aspect = random.uniform(_SMALLEST, 1.0), np.exp(random.uniform(-0.35, 0.35))
    wide, high = min(1.0, (area * aspect) ** 0.5) * width, min(1.0, (area / aspect) ** 0.5) * height
    left, top = random.uniform(0, width - wide), random.uniform(0, height - high)
    picture = Image.fromarray(pixels)
    part = picture.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + wide, top + high))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else part
