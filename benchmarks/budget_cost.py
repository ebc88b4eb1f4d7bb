"""What it costs to count what decoding costs: each format with its budget and limits, and without.

    python -m benchmarks.budget_cost

Rounds take turns, and of each kind the quickest counts, by the processor time of this process: what else the machine
does changes little. Without means that nothing is counted, estimated or looked at before a library decodes.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import av
import numpy as np
from PIL import Image

from neardup.pipeline.media import container, reader, still
from neardup.pipeline.media.budget import Budget
from neardup.pipeline.types import Limits

SIZE = 192
SECONDS = 0.05
"""Of a round of one format."""


def photograph(width: int, height: int) -> Image.Image:
    """Return a picture with as much detail as a photograph has, more or less."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((width, height))
    return Image.fromarray(np.clip(np.asarray(coarse) + rng.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8))


def saved(format: str, width: int = 500, height: int = 400, **options: object) -> bytes:
    """Return a photograph as a file."""
    file = io.BytesIO()
    photograph(width, height).save(file, format, **options)
    return file.getvalue()


def film(muxer: str, seconds: int = 4) -> bytes:
    """Return a film of 320 × 240 pixels, 25 frames a second."""
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        wide = np.asarray(photograph(320 + 25 * seconds, 240))
        for number in range(25 * seconds):
            shown = np.ascontiguousarray(wide[:, number : number + 320])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        output.mux(stream.encode())
    return file.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "JPEG 500 × 400": lambda: saved("JPEG", quality=85),
    "JPEG 4000 × 3000": lambda: saved("JPEG", 4000, 3000, quality=85),
    "JPEG, progressive": lambda: saved("JPEG", quality=85, progressive=True),
    "PNG": lambda: saved("PNG"),
    "WebP": lambda: saved("WEBP", quality=80),
    "TIFF, LZW": lambda: saved("TIFF", compression="tiff_lzw"),
    "GIF": lambda: saved("GIF"),
    "MP4, 4 s": lambda: film("mp4"),
    "MKV, 4 s": lambda: film("matroska"),
}


@contextmanager
def unguarded() -> Iterator[None]:
    """Have nothing counted, estimated, or looked at before a library decodes."""
    with ExitStack() as all_of_them:
        for owner, names in (
            (Budget, ("check", "frame", "expect", "allocate", "long")),
            (still, ("expect_picture", "check_strips", "check_pixels", "_check_memory")),
            (container, ("check_tables", "_held_bytes")),
        ):
            for name in names:
                all_of_them.enter_context(patch.object(owner, name, lambda *_arguments: None))
        all_of_them.enter_context(patch.object(still, "Metered", io.BytesIO))
        yield


def seconds_each(content: bytes, rounds: int) -> tuple[float, float]:
    """Return the processor seconds of one file, with its budget and without."""
    best = [float("inf")] * 2
    count = 1 + int(SECONDS / max(1e-4, _time(content, 1)))
    for _ in range(rounds):
        best[0] = min(best[0], _time(content, count))
        with unguarded():
            best[1] = min(best[1], _time(content, count))
    return best[0], best[1]


def _time(content: bytes, count: int) -> float:
    begun = time.process_time()
    for _ in range(count):
        for _frame in reader.open_media(content, SIZE, Limits(), regions="boxes").frames:
            pass
    return (time.process_time() - begun) / count


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Measure what budgets cost.")
    parser.add_argument("--rounds", type=int, default=30, help="of each kind (default: 30)")
    rounds = parser.parse_args().rounds
    print("| file | ms with budget | ms without | share |\n| --- | ---: | ---: | ---: |")
    totals = [0.0, 0.0]
    for name, make in FILES.items():
        with_budget, without = seconds_each(make(), rounds)
        totals[0] += with_budget / without
        totals[1] += 1
        share = 100 * (with_budget / without - 1)
        print(f"| {name} | {1000 * with_budget:.2f} | {1000 * without:.2f} | {share:+.1f} % |", flush=True)
    print(f"| mean | | | {100 * (totals[0] / totals[1] - 1):+.1f} % |")


if __name__ == "__main__":
    main()
