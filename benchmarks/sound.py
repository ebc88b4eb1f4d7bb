"""How well digests tell one sound from another, and what hearing costs.

    python -m benchmarks.sound --seconds 12
    python -m benchmarks.sound --videos FOLDER

The first stores sounds that are made by formulas in several containers, codecs, rates and volumes, and prints how far
readings of one sound are apart, how far those of different ones, and what MAX_DISTANCE_DB makes of them. The second
stores the first seconds of each video's sound anew, prints the same for those, and the processor time that frames take
with and without sound.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

import av
import numpy as np

from benchmarks.sound_set import CARRIERS, RATE, Wave, carried, sounds
from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.match.decide.sounds import MAX_DISTANCE_DB, sound_distance
from neardup.pipeline.media import container
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.sound import Sound, unpack

_SIZE = 160
_MOST_SECONDS = 20.0
_FEW_CARRIERS = CARRIERS[1::3]


def heard(content: bytes | Path) -> tuple[Sound | None, float, bytes]:
    """Return the digest of a video's sound, unpacked, its seconds, and the digest."""
    media = open_media(content, _SIZE)
    pts = [frame.pts for frame in media.frames]
    digest = media.all_extras().sound
    return unpack(digest), max(media.seconds, pts[-1]), digest


def measure(readings: Mapping[str, Sequence[tuple[str, Sound, float]]]) -> None:
    """Print distances within each sound's readings and between those of different sounds."""
    same = [
        (sound_distance(a, b, (x, y)), name, f"{one} / {other}")
        for name, some in readings.items()
        for (one, a, x), (other, b, y) in combinations(some, 2)
    ]
    different = [
        (min(sound_distance(a, b, (x, y)) for _, a, x in readings[one] for _, b, y in readings[other]), one, other)
        for one, other in combinations(readings, 2)
    ]
    for title, rows, worst in (("same", same, max), ("different", different, min)):
        if not rows:
            continue
        values = np.array([row[0] for row in rows])
        quantiles = " ".join(f"{value:.2f}" for value in np.quantile(values, (0.0, 0.01, 0.5, 0.99, 1.0)))
        print(f"{title:10} pairs {len(rows):6}  dB at 0, 1, 50, 99, 100 %: {quantiles}   {worst(rows)[1:]}")
    refused = sum(row[0] > MAX_DISTANCE_DB for row in same)
    taken = sum(row[0] <= MAX_DISTANCE_DB for row in different)
    print(f"at {MAX_DISTANCE_DB} dB: {refused} of {len(same)} readings of one sound are called other sound,")
    print(f"{taken} of {len(different)} pairs of different names the same, by their closest readings")
    for row in sorted(different)[:6]:
        print(f"  {row[0]:.2f}  {row[1]} / {row[2]}")


def synthetic(seconds: float) -> None:
    """Measure sounds made by formulas."""
    readings: dict[str, list[tuple[str, Sound, float]]] = {}
    longest = 0
    for name, wave in sounds(seconds).items():
        for carrier in CARRIERS:
            sound, long, digest = heard(carried(wave, carrier))
            longest = max(longest, len(digest))
            if sound is None or not len(sound.levels):
                print(f"nothing heard of {name} in {carrier}")
                continue
            label = f"{carrier.codec} {carrier.bitrate // 1000}k {carrier.container} {carrier.delay:g} s"
            readings.setdefault(name, []).append((label, sound, long))
    print(f"{len(readings)} sounds of {seconds:g} s, {len(CARRIERS)} carriers, digests of {longest} bytes at most")
    measure(readings)


def real(folder: Path) -> None:
    """Measure the videos of a folder, and what hearing them costs."""
    readings: dict[str, list[tuple[str, Sound, float]]] = {}
    counts, with_sound, without = {"audible": 0, "silent": 0, "unknown": 0, "unreadable": 0}, 0.0, 0.0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            heard(path)  # once to warm the disk
            started = time.process_time()
            sound, long, _ = heard(path)
            took = time.process_time() - started
        except (InvalidFrame, IndexError):
            counts["unreadable"] += 1
            continue
        if sound is None or not len(sound.levels):
            counts["unknown" if sound is None else "silent"] += 1
            continue
        counts["audible"] += 1
        with_sound += took
        without += _deaf(path)
        wave = _wave(path)
        readings[path.name] = [("as it is", sound, long)]
        for carrier in _FEW_CARRIERS if len(wave) else ():
            again, seconds, _ = heard(carried(wave, carrier, min(long, _MOST_SECONDS)))
            if again is not None and len(again.levels):
                readings[path.name].append((f"{carrier.codec} {carrier.container}", again, seconds))
    print(f"{folder.name}: {counts}")
    if readings:
        ratio = with_sound / without
        print(f"frames of audible ones: {without:.2f} s, with sound {with_sound:.2f} s, ratio {ratio:.3f}")
        measure(readings)


def _deaf(path: Path) -> float:
    """Return the seconds that frames take without sound."""
    with patch.object(container, "_sound", lambda _: None):
        started = time.process_time()
        heard(path)
        return time.process_time() - started


def _wave(path: Path) -> Wave:
    """Return the first seconds of a video's sound, from where its pictures begin."""
    with av.open(str(path)) as file:
        stream = container._sound(file)
        assert stream is not None
        resampler = av.AudioResampler("flt", "mono", RATE)
        pieces, origin = [np.zeros(0, np.float32)], file.streams.video[0].start_time
        begin = float(origin * (file.streams.video[0].time_base or 1)) if origin else 0.0
        for frame in file.decode(stream):
            if len(pieces) == 1 and frame.time is not None:
                pieces.append(np.zeros(max(0, int((frame.time - begin) * RATE)), np.float32))
            frame.pts = None
            pieces += [one.to_ndarray()[0] for one in resampler.resample(frame)]
            if sum(map(len, pieces)) > _MOST_SECONDS * RATE:
                break
    return np.concatenate(pieces)[: int(_MOST_SECONDS * RATE)].astype(np.float64)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12.0, help="length of the synthetic sounds")
    parser.add_argument("--videos", type=Path, help="measure the videos of a folder instead")
    options = parser.parse_args()
    real(options.videos) if options.videos else synthetic(options.seconds)


if __name__ == "__main__":
    main()
