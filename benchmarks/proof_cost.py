"""What proofs cost a scan of photographs and edited copies of some, with proofs and without, in turn.

    python -m benchmarks.proof_cost DATA … [--pictures 2000] [--copies 400] [--rounds 3]

Copies are made by every edit of the evaluation in turn, one or a chain. Prints medians of processor seconds and elapsed
seconds, their ratio, how many copies were found, and what the proofs of the last run were made of: by kind of pair, and
of these loading pictures and finding key points. Without proofs the scan decides by evidence alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from unittest import mock

import numpy as np
from PIL import Image

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.learn.edits import Draw
from neardup.pipeline.learn.evaluate.queries import WAYS, edit_in
from neardup.pipeline.match.apply.make import make_state
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.prove.files import FilePictures
from neardup.pipeline.prove.finding import Proved
from neardup.pipeline.prove.keypoints import Keypoints
from neardup.pipeline.prove.prover import Prover
from neardup.pipeline.report.result import ScanResult
from neardup.pipeline.scan.catalog import Catalog
from neardup.pipeline.scan.choose import describing
from neardup.pipeline.scan.run import scan
from neardup.pipeline.settings import load
from neardup.pipeline.types import Decision
from neardup.workers.cli.reader import lazy_embedder

T = TypeVar("T")
SEED = 20261130
COPY = "copy-"
TYPES = frozenset({".jpg", ".jpeg", ".png"})


class Silent:
    """Shows no progress."""

    def start(self, files: int) -> None:
        """Do nothing."""

    def advance(self, files: int) -> None:
        """Do nothing."""


@dataclass
class Noted(Prover):
    """Notes processor seconds of each proof, by what the two pictures are and at which stage it ended."""

    seconds: ClassVar[dict[str, list[float]]] = defaultdict(list)
    parts: ClassVar[dict[str, float]] = defaultdict(float)

    def _prove(self, query: str, reference: str, *asked: Any) -> Proved | None:
        before = time.thread_time()
        proved = super()._prove(query, reference, *asked)
        spent = time.thread_time() - before
        assert isinstance(self.pictures, FilePictures)
        names = {Path(str(self.pictures.source(item))).stem.removeprefix(COPY) for item in (query, reference)}
        laid = proved is not None and proved.transform is not None
        stage = f"stage {proved.summary.stage}" if proved is not None and laid else "no transform"
        self.seconds[f"{'a copy' if len(names) == 1 else 'strangers'}, {stage}"].append(spent)
        return proved


def timed(part: str, call: Callable[..., T]) -> Callable[..., T]:
    """Return a function that adds its processor seconds to a part of what proofs take."""

    @wraps(call)
    def measured(*given: Any) -> T:
        before = time.thread_time()
        try:
            return call(*given)
        finally:
            Noted.parts[part] += time.thread_time() - before

    return measured


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="folders of pictures")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--copies", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        edits = fill(folder, options.data, options.pictures, options.copies)
        taken: dict[bool, list[tuple[float, float]]] = defaultdict(list)
        found: dict[bool, ScanResult] = {}
        run(folder, options.model, proofs=True)  # files into the cache of the system, and compiled networks
        for _ in range(options.rounds):
            for proofs in (False, True):
                Noted.seconds.clear()
                Noted.parts.clear()
                before = cpu_seconds(), time.monotonic()
                found[proofs] = run(folder, options.model, proofs)
                taken[proofs].append((cpu_seconds() - before[0], time.monotonic() - before[1]))
    print("| | processor s | elapsed s | copies `duplicate` | `unsure` | other pairs |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for proofs, name in ((False, "evidence alone"), (True, "with proofs")):
        cpu, elapsed = (statistics.median(times) for times in zip(*taken[proofs], strict=True))
        print(f"| {name} | {cpu:.1f} | {elapsed:.1f} | {row(found[proofs])} |")
    for column, name in enumerate(("processor", "elapsed")):
        with_proofs, without = (statistics.median(one[column] for one in taken[proofs]) for proofs in (True, False))
        print(f"{name}: {with_proofs / without:.2f} times as much with proofs")
    print("\n| proofs | number | ms each | s |\n| --- | ---: | ---: | ---: |")
    for name, spent in sorted(Noted.seconds.items()):
        print(f"| {name} | {len(spent)} | {1000 * statistics.mean(spent):.1f} | {sum(spent):.1f} |")
    whole = sum(map(sum, Noted.seconds.values()))
    print(
        "\nof these " + ", ".join(f"{name} {spent:.1f} s ({spent / whole:.0%})" for name, spent in Noted.parts.items())
    )
    print("\nedits: " + ", ".join(f"{name} {count}" for name, count in sorted(edits.items())))


def fill(folder: Path, data: list[Path], pictures: int, copies: int) -> Counter[str]:
    """Fill a folder with pictures and edited copies of the first; return how many copies each family of edits made."""
    files = sorted(path for one in data for path in one.rglob("*") if path.suffix.lower() in TYPES)
    order = np.random.default_rng(SEED).permutation(len(files))[: pictures + 8]
    chosen = [files[place] for place in order.tolist()]
    pasted = [np.asarray(Image.open(path).convert("RGB")) for path in chosen[pictures:]]
    for number, path in enumerate(chosen[:pictures]):
        shutil.copyfile(path, folder / f"{number:05d}{path.suffix.lower()}")
    made = Counter[str]()
    for number, path in enumerate(chosen[:copies]):
        way = WAYS[number % len(WAYS)]
        draw = Draw(np.random.default_rng((SEED, number)), pasted)
        pixels, _ = edit_in(way, np.asarray(Image.open(path).convert("RGB")), draw)
        Image.fromarray(pixels).save(folder / f"{COPY}{number:05d}.jpg", quality=90)
        made[way.family] += 1
    return made


def run(folder: Path, model: str, proofs: bool) -> ScanResult:
    """Scan a folder with nothing known before."""
    settings = load(model=model)
    checkpoint = load_checkpoint(model)
    with closing(Catalog(None, checkpoint.space)) as catalog, without_proofs(not proofs), noted():
        describe = describing(checkpoint, settings, lazy_embedder(checkpoint, settings))
        return scan([folder], catalog, checkpoint, settings, describe, Silent())


@contextmanager
def noted() -> Iterator[None]:
    """Have proofs and what they need of each picture noted."""
    parts = {name: vars(Keypoints)[name] for name in ("corners", "mirrored", "spread_mirrored")}
    with ExitStack() as patched:
        patched.enter_context(mock.patch("neardup.pipeline.scan.run.Prover", Noted))
        patched.enter_context(
            mock.patch.object(FilePictures, "__call__", timed("loading pictures", FilePictures.__call__))
        )
        for name, attribute in parts.items():
            part = "key points" if name == "corners" else "key points as a mirror shows them"
            patched.enter_context(mock.patch.object(attribute, "_compute", timed(part, attribute._compute)))
        yield


@contextmanager
def without_proofs(wanted: bool) -> Iterator[None]:
    """Have scans decide by evidence alone."""
    if not wanted:
        yield
        return

    def make(*arguments: Any, **options: Any) -> State:
        return make_state(*arguments, **options | {"prover": None})

    with mock.patch("neardup.pipeline.scan.run.make_state", make):
        yield


def row(result: ScanResult) -> str:
    """Return how many copies were found with what they copy, as what, and how many other pairs are listed."""
    sure, unsure, other = 0, 0, 0
    for group in result.groups:
        for match in group.matches:
            names = [Path(one.path).stem for one in (group.original, match.file)]
            numbers = {name.removeprefix(COPY) for name in names}
            if len(numbers) == 1:
                sure += match.decision is Decision.DUPLICATE
                unsure += match.decision is Decision.UNSURE
            else:
                other += 1
    return f"{sure} | {unsure} | {other}"


def cpu_seconds() -> float:
    """Return the processor time of this process and of its children that ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


if __name__ == "__main__":
    main()
