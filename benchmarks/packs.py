"""What packs cost, and what proofs by packs find that proofs by pictures find.

    python -m benchmarks.packs [DATA …] [--films FOLDER] [--pictures 300] [--variants 4]

Pictures of DATA (without: rendered look-alikes alone) are edited four times each; a copy is proved against its
original, and a look-alike against its fellow, by pictures of 320 px and by packs of several qualities, in colour and
grey. Films are packed twice, the second time sampled at other instants and less bright: printed is of how many
stretches of 30 s both have frames of one moment. Times are of one thread.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from benchmarks.prove import ALIKE, FILMS
from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.learn.evaluate.queries import build_set, find_kinds
from neardup.pipeline.learn.evaluate.variants import make_samples
from neardup.pipeline.learn.shared.pictures import load_pictures
from neardup.pipeline.media.reader import frame_at, open_media
from neardup.pipeline.media.tile import fit
from neardup.pipeline.prove.documents import prove_closely
from neardup.pipeline.prove.finding import Finding
from neardup.pipeline.prove.keypoints import SIDE, Keypoints, find_keypoints, use_one_thread
from neardup.pipeline.prove.pack import Pack, Packer, moments_at, read_pack
from neardup.pipeline.types import Limits, Pixels

Pairs = Sequence[tuple[str, Pixels, Pixels, float, float]]
"""What it is; query and reference of at most SIDE; the longest side of both over that of the original."""
QUALITIES = (40, 55, 65, 85)
PIECE, MOMENTS = 30.0, 6
_TILE = 160


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="*", help="folders of pictures")
    parser.add_argument("--films", type=Path, help="a folder of videos")
    parser.add_argument("--pictures", type=int, default=300, help="pictures that are edited")
    parser.add_argument("--variants", type=int, default=4, help="look-alikes of each kind")
    options = parser.parse_args()
    use_one_thread()
    pairs = [*copies(options.data, options.pictures), *look_alikes(options.variants)]
    if pairs:
        print_findings(pairs)
        print_sizes(pairs)
    if options.films:
        print_films(sorted(one for one in options.films.rglob("*") if one.suffix.lower() in FILMS))


def copies(data: Sequence[Path], count: int) -> Pairs:
    """Return edited copies and their originals."""
    if not data:
        return []
    pictures = load_pictures(data, SIDE, alike=ALIKE, most=3 * count, threads=2)
    given = build_set(pictures, find_kinds(pictures, data, {}), most=count, threads=2)
    return [
        ("copies", query.pixels, given.references[query.original], 1.0, 1.0)
        for query in given.queries
        if query.original >= 0
    ]


def look_alikes(count: int) -> Pairs:
    """Return rendered look-alikes, and copies of the same pictures."""
    made = []
    for samples in make_samples(count, None, threads=1):
        for sample in samples:
            (a, one), (b, two), (copy, three) = map(_small, (sample.variant.a, sample.variant.b, sample.copy))
            made += [("look-alikes", b, a, two, one), ("copies of those", copy, a, three, one)]
    return made


def _small(file: bytes) -> tuple[Pixels, float]:
    whole = frame_at(file, 0.0, 1 << 14, Limits())
    small = fit(whole, SIDE)
    return small, max(small.shape) / max(whole.shape)


def print_findings(pairs: Pairs) -> None:
    """Print what is found by pictures and by packs."""
    ways: list[tuple[str, Callable[[Pixels], Pixels]]] = [("pictures", lambda rgb: rgb)]
    ways += [(f"q {quality}", lambda rgb, quality=quality: _coded(rgb, quality)) for quality in QUALITIES]  # type: ignore[misc]
    ways.append(("q 65, 240 px", lambda rgb: _coded(fit(rgb, 240), 65)))
    ways.append(("q 65, grey", lambda rgb: _coded(np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)), 65)))
    print("| | pairs | by | copy | variant | unproved | other than by pictures |\n| --- | ---: | --- |" + " ---: |" * 4)
    found: dict[str, list[Finding]] = {}
    longest = 0.0
    for name, way in ways:
        found[name] = []
        for _, query, reference, *scales in pairs:
            points = [
                find_keypoints(way(one), SIDE, scale) for one, scale in zip((query, reference), scales, strict=True)
            ]
            began = time.thread_time()
            found[name].append(_finding(*points))
            longest = max(longest, time.thread_time() - began)
    for of in dict.fromkeys(kind for kind, *_ in pairs):
        numbers = [number for number, (kind, *_) in enumerate(pairs) if kind == of]
        for name, _ in ways:
            counts = Counter(found[name][number] for number in numbers)
            other = sum(found[name][number] is not found["pictures"][number] for number in numbers)
            print(f"| {of} | {len(numbers)} | {name} | {' | '.join(str(counts[one]) for one in Finding)} | {other} |")
    print(f"\nlongest proof of a pair: {1000 * longest:.0f} ms")


def _points(coded: Pixels, picture: Pixels, scale: float) -> Keypoints:
    return find_keypoints(coded, SIDE, scale * max(coded.shape[:2]) / max(picture.shape[:2]))


def _finding(query: Keypoints, reference: Keypoints) -> Finding:
    def only_small(points: Keypoints) -> Callable[[int], Keypoints | None]:
        return lambda side: points if side == SIDE else None

    return prove_closely(only_small(query), only_small(reference))[1].finding


def _coded(picture: Pixels, quality: int) -> Pixels:
    """Return a picture as it comes out of a JPEG."""
    if picture.ndim == 2:
        data = simplejpeg.encode_jpeg(np.ascontiguousarray(picture[..., None]), quality, "GRAY", "Gray")
        return np.asarray(simplejpeg.decode_jpeg(data, "GRAY"))[..., 0]
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality, "RGB", "420")
    return np.asarray(simplejpeg.decode_jpeg(data, "RGB"))


def print_sizes(pairs: Pairs) -> None:
    """Print how large packs of the references are, and what making one costs."""
    pictures = list({id(reference): reference for _, _, reference, *_ in pairs}.values())
    began, sizes = time.thread_time(), []
    for rgb in pictures:
        packer = Packer()
        packer.take(rgb)
        sizes.append(len(packer.packed(*rgb.shape[1::-1])))
    each = (time.thread_time() - began) / len(pictures)
    spread = f"median {np.median(sizes):,.0f} bytes, 95 % {np.quantile(sizes, 0.95):,.0f}, most {max(sizes):,}"
    print(f"\n{len(sizes)} packs of images: {spread}; {1000 * each:.2f} ms each without decoding")


def print_films(files: Sequence[Path]) -> None:
    """Print how large packs of films are, and how often those of two copies have frames of one moment."""
    shared = pieces = 0
    frames, sizes, seconds = 0, list[int](), 0.0
    for file in files:
        try:
            data, first = _film(file, 2.0, 0.0)
            _, second = _film(file, 1.9, 12.0)
        except InvalidFrame:
            continue
        length = first.frames[-1].until
        frames, seconds = frames + len(first.frames), seconds + length
        sizes += [len(frame.jpeg) for frame in first.frames]
        for start in np.arange(0.0, max(length - 5.0, 1.0), PIECE):
            asked = [(float(at), float(at)) for at in np.linspace(start, min(start + PIECE, length), MOMENTS)]
            pieces += 1
            shared += moments_at(first, second, asked) is not None
        del data
    each = f"one each {seconds / max(frames, 1):.1f} s, median {np.median(sizes):,.0f} bytes"
    print(f"\n{len(sizes)} frames of films of {seconds:,.0f} s: {each}")
    print(f"{shared} of {pieces} stretches of {PIECE:.0f} s have frames of one moment in both")


def _film(file: Path, fps: float, darker: float) -> tuple[bytes, Pack]:
    packer = _Darker(darker)
    for _ in (media := open_media(file, _TILE, sample_fps=fps, preview=packer)).frames:
        pass
    data = packer.packed(media.width, media.height)
    return data, read_pack(data)


class _Darker(Packer):
    """Sees each frame darker than it is, as a copy of other brightness does."""

    def __init__(self, levels: float) -> None:
        super().__init__()
        self._levels = levels

    def wants(self, tile: Pixels, second: float, alone: bool = False) -> bool:
        return super().wants((tile.astype(np.float32) * (1 - self._levels / 255)).astype(np.uint8), second, alone)


if __name__ == "__main__":
    main()
