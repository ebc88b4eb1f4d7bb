"""What rectangles within films cost: descriptors of each film and processor time of decoding it, without and with them.

    python -m benchmarks.video_regions FOLDER …

Prints means over all videos below the folders, and how many of them have rectangles.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.media.reader import open_media
from neardup.pipeline.media.regions import Mode
from neardup.pipeline.types import Kind

SIZE = 224
MODES: tuple[Mode, ...] = ("none", "boxes")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    options = parser.parse_args()
    files = sorted(path for folder in options.folders for path in folder.rglob("*") if path.is_file())
    measured = [one for path in files if (one := measure(path)) is not None]
    if not measured:
        parser.error("no videos below these folders")
    print("| regions | descriptors a film | ms a film | films with rectangles |")
    print("| --- | ---: | ---: | ---: |")
    for place, mode in enumerate(MODES):
        counts, boxed, seconds = zip(*(one[place] for one in measured), strict=True)
        count = len(measured)
        print(f"| {mode} | {sum(counts) / count:.1f} | {1e3 * sum(seconds) / count:.0f} | {sum(boxed)} of {count} |")


def measure(path: Path) -> list[tuple[int, bool, float]] | None:
    """Return descriptors, whether any is of a rectangle, and processor seconds, by mode; None for what is no video."""
    found = []
    for mode in (MODES[0], *MODES):  # the first time warms up
        start = time.process_time()
        try:
            media = open_media(path, SIZE, regions=mode)
            if media.kind is not Kind.VIDEO:
                return None
            frames = [frame.box is not None for frame in media.frames]
        except InvalidFrame:
            return None
        found.append((len(frames), any(frames), time.process_time() - start))
    return found[1:]


if __name__ == "__main__":
    main()
